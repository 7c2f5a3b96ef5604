// The cards of what a person may connect: one for each way in that is set up here and not connected yet.

import * as api from './api.js';
import { byId, fromTemplate, keepOnly, part, say } from './cards.js';
import { isBusy, setBusy } from './focus.js';
import * as words from './words.js';

/** Makes them. `host` gives `providers()`, `signIn` (the dialog), `failed(error)`. */
export function makeConnectCards(host) {
  const cards = new Map();

  function show(connections, personId) {
    const offered = host.providers().filter((way) => isOffered(way, connections));
    keepOnly(cards, new Set(offered.map((way) => `${personId}/${way.id}`)));
    for (const way of offered) {
      const key = `${personId}/${way.id}`;
      if (cards.has(key)) continue;
      const card = makeConnectCard(way, personId, host);
      cards.set(key, card);
      byId('connect').append(card.element);
    }
  }

  return { show, forget: () => keepOnly(cards, new Set()) };
}

/**
 * A way beside another is offered on its own only where the other one is not connected: else on its card. What is not
 * set up here is told of the official way alone.
 */
function isOffered(way, connections) {
  const taken = connections.some((connection) => connection.provider === way.provider);
  return !taken && way.connect !== 'import' && (way.official || way.regions.length > 0);
}

function makeConnectCard(way, personId, host) {
  const element = fromTemplate('connect-template');
  const button = part(element, 'connect');
  const regions = part(element, 'region');
  const ready = way.regions.length > 0;
  const byConsent = way.connect === 'consent';
  say(part(element, 'title'), way.name);
  part(element, 'unofficial').hidden = way.official;
  say(part(element, 'text'), ready ? connectWords(way) : `${way.name} is not set up on this service yet. Whoever runs it can add its credentials.`);
  say(button, byConsent ? `Connect ${way.name}` : 'Connect');
  if (!byConsent) button.setAttribute('aria-label', `Connect ${way.name}`);
  button.dataset.test = `connect-${way.id}`;
  button.className = byConsent ? 'primary' : 'secondary';
  button.parentElement.hidden = !ready;
  part(element, 'region-row').hidden = !byConsent || way.regions.length < 2;
  regions.id = `region-${way.id}`;
  part(element, 'region-label').htmlFor = regions.id;
  for (const region of way.regions) regions.append(new Option(region.name, region.id));
  button.addEventListener('click', () => {
    if (!byConsent) host.signIn.ask(way, personId);
    else goToVendor(button, way.id, personId, regions.value, host, (text) => say(part(element, 'hint'), text));
  });
  return { element };
}

function connectWords(way) {
  const delays = new Set(way.regions.map((region) => words.delay(region.delayMinutes)));
  const [first] = delays;
  const delay = delays.size === 1 && first ? ` Readings arrive with a delay of ${first}.` : '';
  if (way.connect === 'consent') return `You sign in at ${way.name} and give your consent there. We never see your password.${delay}`;
  const soon = delay || ' Readings arrive within minutes.';
  if (way.connect === 'paste') return `You sign in on the vendor’s own page and bring back the address it ends at. We never see your password.${soon}`;
  return `You sign in with a user name and password.${soon}`;
}

/** To the vendor's consent page; the browser comes back by itself. */
export async function goToVendor(button, provider, personId, region, host, hint) {
  if (isBusy(button)) return;
  setBusy(button, true);
  hint('');
  try {
    const answer = await api.startLogin(provider, personId, region);
    location.assign(answer.authorization_url);
  } catch (error) {
    setBusy(button, false);
    hint(host.failed(error));
  }
}
