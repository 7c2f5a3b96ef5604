// The cards of connections: status in words, sync, disconnect, connect. Cards are kept and filled again,
// so that focus and open histories survive a refresh; the focus of a card that goes is the heading's.

import * as api from './api.js';
import { isBusy, keepFocus, setBusy } from './focus.js';
import * as words from './words.js';

const RUNS_SHOWN = 8;
const BY_CONSENT_PAGE = new Set(['dexcom']);
const byId = (id) => document.getElementById(id);
const part = (card, name) => card.querySelector(`[data-part="${name}"]`);

function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes the list of cards. `host` gives `providers()` (the last answer), `refresh()` (now), `notice(kind,
 * text)` and `failed(error)`, which turns an error into a sentence.
 */
export function makeConnections(host) {
  const cards = new Map();
  const connectCards = new Map();
  const dialog = makeDialog(host);

  function show(connections, syncsById, personId, now) {
    keepOnly(cards, new Set(connections.map((connection) => connection.id)));
    for (const connection of connections) {
      const card = cards.get(connection.id) ?? makeCard(connection, host, dialog);
      if (!cards.has(connection.id)) {
        cards.set(connection.id, card);
        byId('connections').append(card.element);
      }
      card.fill(connection, syncsById.get(connection.id) ?? [], now);
    }
    showConnect(connections, personId);
  }

  function showConnect(connections, personId) {
    const taken = new Set(connections.map((connection) => connection.provider));
    const offered = host.providers().filter(
      (provider) => BY_CONSENT_PAGE.has(provider.id) && !taken.has(provider.id),
    );
    keepOnly(connectCards, new Set(offered.map((provider) => `${personId}/${provider.id}`)));
    for (const provider of offered) {
      const key = `${personId}/${provider.id}`;
      if (connectCards.has(key)) continue;
      const card = makeConnectCard(provider, personId, host);
      connectCards.set(key, card);
      byId('connect').append(card.element);
    }
  }

  /** Takes all cards away, and a question that is open. */
  function forget() {
    dialog.close();
    keepOnly(cards, new Set());
    keepOnly(connectCards, new Set());
  }

  return { show, forget };
}

function keepOnly(cards, wanted) {
  for (const [key, card] of cards) {
    if (wanted.has(key)) continue;
    keepFocus(byId('connections-title'), () => card.element.remove());
    cards.delete(key);
  }
}

function makeCard(first, host, dialog) {
  const element = fromTemplate('connection-template');
  const title = part(element, 'title');
  title.id = `connection-${first.id}`;
  element.setAttribute('aria-labelledby', title.id);
  let connection = first;
  let asked = false;
  let askedRun = '';

  const name = () => nameOf(host.providers(), connection.provider);
  const hint = (text) => say(part(element, 'hint'), text);

  part(element, 'sync').addEventListener('click', async (event) => {
    if (isBusy(event.currentTarget)) return;
    asked = true;
    hint('');
    working(element, true);
    try {
      const runs = await api.syncNow(connection.id);
      askedRun = runs[0]?.id ?? '';
    } catch (error) {
      working(element, false);
      hint(tooSoon(error) ?? host.failed(error));
    } finally {
      asked = false;
      await host.refresh();
    }
  });
  const rest = part(element, 'rest');
  const restWords = part(element, 'rest-words');
  restWords.id = `rest-${first.id}`;
  rest.addEventListener('click', () => toggleRest(rest, connection, name(), host, hint));

  part(element, 'disconnect').addEventListener('click', () => dialog.ask(connection, name()));
  part(element, 'reconnect').addEventListener('click', (event) =>
    goToVendor(event.currentTarget, connection.provider, connection.person_id, connection.region, host, hint));

  function fill(next, runs, now) {
    connection = next;
    say(title, name());
    const status = part(element, 'status');
    say(status, words.status(connection.status));
    status.dataset.status = connection.status;
    const byFile = words.isByFile(connection);
    const late = byFile ? '' : lateWords(connection, now);
    const said = words.statusMessage(connection);
    // A consent that ends in some weeks must not hide for weeks that nothing comes today.
    const message = connection.reason === 'consent_ends_soon' ? `${late} ${said}`.trim() : said || late;
    say(part(element, 'message'), message);
    part(element, 'message').hidden = message === '';
    fillFacts(connection, now);
    const mendable = needsSignIn(connection);
    const renewable = mendable || connection.reason === 'consent_ends_soon';
    part(element, 'reconnect').hidden = !(renewable && BY_CONSENT_PAGE.has(connection.provider));
    part(element, 'sync').hidden = byFile || mendable || connection.status === 'disconnected';
    fillRest(rest, restWords, connection);
    if (byFile) rest.hidden = true;
    const open = runs.find((run) => run.state !== 'done');
    working(element, asked || open !== undefined);
    const progress = words.progress(open);
    say(part(element, 'progress-text'), progress);
    part(element, 'progress').hidden = progress === '';
    tellResult(runs);
    fillHistory(part(element, 'history'), runs);
  }

  /** Says once how the sync ended that was asked for here. */
  function tellResult(runs) {
    const ended = runs.find((run) => run.id === askedRun && run.state === 'done');
    if (!ended) return;
    askedRun = '';
    hint(`Sync done: ${words.sync(ended)}.`);
  }

  function fillFacts(facts, now) {
    say(part(element, 'newest'), facts.newest_reading_at ? words.ago(new Date(facts.newest_reading_at), now) : 'none yet');
    say(part(element, 'last-sync'), facts.last_sync_at ? words.ago(new Date(facts.last_sync_at), now) : 'not yet');
    const next = facts.next_sync_at && !needsSignIn(facts) && facts.status !== 'disconnected';
    part(element, 'next-row').hidden = words.isByFile(facts);
    say(part(element, 'last-label'), words.isByFile(facts) ? 'Last import' : 'Last sync');
    say(part(element, 'next-sync'), next ? words.ahead(new Date(facts.next_sync_at), now) : 'not planned');
    const region = regionOf(host.providers(), facts);
    say(part(element, 'region'), region);
    part(element, 'region-row').hidden = region === '';
    say(part(element, 'device'), facts.device_id ?? '');
    part(element, 'device-row').hidden = !facts.device_id;
  }

  return { element, fill: (...facts) => keepFocus(title, () => fill(...facts)) };
}

/** Whether only a new consent mends it, also where the vendor's no came during a pause. */
function needsSignIn(connection) {
  return connection.status === 'expired' || ['not_adopted', 'reconnect_needed', 'no_tokens'].includes(connection.reason);
}

/** One button for both ways, so that focus stays where it is. */
function fillRest(button, meaning, connection) {
  const paused = connection.status === 'disconnected';
  button.hidden = needsSignIn(connection);
  button.dataset.test = paused ? 'resume' : 'pause';
  button.className = paused ? 'primary' : 'secondary';
  say(button, paused ? 'Resume' : 'Pause');
  button.title = paused ? '' : meaning.textContent;
  if (paused) button.removeAttribute('aria-describedby');
  else button.setAttribute('aria-describedby', meaning.id);
}

async function toggleRest(button, connection, name, host, hint) {
  if (isBusy(button)) return;
  const resuming = connection.status === 'disconnected';
  setBusy(button, true);
  hint('');
  try {
    await setRest(connection.id, name, !resuming, host);
  } catch (error) {
    hint(host.failed(error));
  }
  await host.refresh();
  setBusy(button, false);
}

/** Pauses or resumes, and says so; a pause can be taken back right there. */
async function setRest(id, name, pausing, host) {
  await (pausing ? api.pause(id) : api.resume(id));
  if (!pausing) return host.notice('good', words.resumed(name));
  const undo = async () => {
    await setRest(id, name, false, host).catch((error) => host.notice('bad', host.failed(error)));
    await host.refresh();
  };
  return host.notice('plain', words.paused(name), { label: 'Resume', run: undo });
}

function working(element, busy) {
  const button = part(element, 'sync');
  setBusy(button, busy);
  say(button, busy ? 'Syncing…' : 'Sync now');
}

function lateWords(connection, now) {
  if (connection.freshness !== 'stale' || !connection.newest_reading_at) return '';
  return `Nothing new for ${words.span(now - Date.parse(connection.newest_reading_at))}. Check the sensor and the vendor’s app.`;
}

function fillHistory(list, runs) {
  const shown = runs.slice(0, RUNS_SHOWN).map((run) => {
    const at = run.started_at ?? run.finished_at;
    return [run.outcome ?? run.state, at ? words.dayAndClock(new Date(at)) : '', words.sync(run), words.syncAside(run)];
  });
  const print = JSON.stringify(shown);
  if (list.dataset.print === print) return;
  list.dataset.print = print;
  list.replaceChildren(...(shown.length ? shown.map(historyLine) : [historyLine(['', '', 'No sync yet', ''])]));
}

function historyLine([outcome, when, text, aside]) {
  const item = document.createElement('li');
  item.dataset.outcome = outcome;
  const time = document.createElement('span');
  time.textContent = when;
  const what = document.createElement('span');
  what.textContent = text;
  item.append(time, what);
  if (aside) {
    const small = document.createElement('small');
    small.textContent = aside;
    item.append(small);
  }
  return item;
}

function makeConnectCard(provider, personId, host) {
  const element = fromTemplate('connect-template');
  const button = part(element, 'connect');
  const regions = part(element, 'region');
  const ready = provider.regions.length > 0;
  say(part(element, 'title'), provider.name);
  say(part(element, 'text'), ready ? connectWords(provider) : `${provider.name} is not set up on this service yet. Whoever runs it can add its credentials.`);
  say(button, `Connect ${provider.name}`);
  button.dataset.test = `connect-${provider.id}`;
  button.parentElement.hidden = !ready;
  part(element, 'region-row').hidden = provider.regions.length < 2;
  regions.id = `region-${provider.id}`;
  part(element, 'region-label').htmlFor = regions.id;
  for (const region of provider.regions) regions.append(new Option(region.name, region.id));
  button.addEventListener('click', () =>
    goToVendor(button, provider.id, personId, regions.value, host, (text) => say(part(element, 'hint'), text)));
  return { element };
}

function connectWords(provider) {
  const delays = new Set(provider.regions.map((region) => words.delay(region.delayMinutes)));
  const [first] = delays;
  const delay = delays.size === 1 && first ? ` Readings arrive with a delay of ${first}.` : '';
  return `You sign in at ${provider.name} and give your consent there. We never see your password.${delay}`;
}

async function goToVendor(button, provider, personId, region, host, hint) {
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

function makeDialog(host) {
  const dialog = byId('disconnect-dialog');
  let asked = null;

  async function ask(connection, name) {
    asked = { connection, name };
    byId('disconnect-title').textContent = `Disconnect ${name}?`;
    byId('disconnect-kept').textContent = words.kept(null);
    byId('disconnect-gone').textContent = `The stored access is deleted, and no new readings arrive until you connect ${name} again.`;
    byId('disconnect-hint').textContent = '';
    setBusy(byId('disconnect-yes'), false);
    dialog.showModal();
    byId('disconnect-no').focus();
    const one = await api.connection(connection.id).catch(() => null);
    const total = one?.readings?.total;
    if (asked?.connection === connection && Number.isFinite(total)) byId('disconnect-kept').textContent = words.kept(total);
  }

  byId('disconnect-no').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => {
    // Told late, when the dialog may already be open for the next question.
    if (dialog.open) return;
    asked = null;
    byId('disconnect-kept').textContent = '';
    // The card whose button had opened it may be gone by now.
    if (document.activeElement === document.body) byId('connections-title').focus();
  });
  byId('disconnect-yes').addEventListener('click', async (event) => {
    const button = event.currentTarget;
    if (isBusy(button)) return;
    const { connection, name } = asked;
    setBusy(button, true);
    try {
      const answer = await api.disconnect(connection.id);
      dialog.close();
      host.notice('good', words.disconnected(name, answer));
    } catch (error) {
      byId('disconnect-hint').textContent = host.failed(error);
      setBusy(button, false);
    }
    await host.refresh();
  });
  return { ask, close: () => dialog.close() };
}

function tooSoon(error) {
  if (!(error instanceof api.Problem) || error.status !== 429) return null;
  return error.retryAfter ? `Synced a moment ago. Again possible in ${error.retryAfter} s.` : error.detail;
}

function nameOf(providers, id) {
  return providers.find((provider) => provider.id === id)?.name ?? words.fileName(id);
}

/** The region's name where there is a choice of regions, else ''. */
function regionOf(providers, connection) {
  const regions = providers.find((one) => one.id === connection.provider)?.regions ?? [];
  return regions.length < 2 ? '' : regions.find((one) => one.id === connection.region)?.name ?? '';
}
