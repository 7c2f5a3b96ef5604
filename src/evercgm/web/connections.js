// The cards of connections: status in words, sync, disconnect, connect. Cards are kept and filled again,
// so that focus and open histories survive a refresh; the focus of a card that goes is the heading's.

import * as api from './api.js';
import { byId, fromTemplate, keepOnly, part, say } from './cards.js';
import { isBusy, keepFocus, setBusy } from './focus.js';
import { goToVendor, makeConnectCards } from './connect.js';
import { fillRoutes } from './routes.js';
import { makeSignIn } from './sign_in.js';
import { canRest, canSync, needsSignIn, offersSignIn } from './ways.js';
import * as words from './words.js';

const RUNS_SHOWN = 8;

/**
 * Makes the list of cards. `host` gives `providers()` (the last answer), `refresh()` (now), `notice(kind,
 * text)` and `failed(error)`, which turns an error into a sentence.
 */
export function makeConnections(given) {
  const signIn = makeSignIn(given);
  const host = { ...given, signIn };
  const cards = new Map();
  const connectCards = makeConnectCards(host);
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
    connectCards.show(connections, personId);
  }

  /** Takes all cards away, and a question that is open. */
  function forget() {
    dialog.close();
    signIn.close();
    keepOnly(cards, new Set());
    connectCards.forget();
  }

  return { show, forget };
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
  part(element, 'reconnect').addEventListener('click', (event) => {
    const way = wayOf(host.providers(), connection);
    if (way?.connect !== 'consent') host.signIn.ask(way, connection.person_id, connection.region);
    else goToVendor(event.currentTarget, connection.provider, connection.person_id, connection.region, host, hint);
  });

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
    const way = wayOf(host.providers(), connection);
    part(element, 'reconnect').hidden = !(offersSignIn(connection) && way?.regions.length);
    // Where only files come there is nothing to fetch, nor to pause.
    part(element, 'sync').hidden = byFile || !canSync(connection);
    fillRest(rest, restWords, connection);
    rest.hidden ||= byFile;
    fillRoutes(part(element, 'routes'), connection, now, host);
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

/** One button for both, so that focus stays where it is. */
function fillRest(button, meaning, connection) {
  const paused = connection.status === 'disconnected';
  button.hidden = !canRest(connection);
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
      const way = wayOf(host.providers(), connection);
      host.notice('good', words.disconnected(name, answer, Boolean(way?.official) && way.connect !== 'import'));
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

/** A connection's own way in. */
const wayOf = (providers, connection) => providers.find((way) => way.id === connection.provider);

function nameOf(providers, id) {
  return providers.find((provider) => provider.id === id)?.name ?? words.fileName(id);
}

/** The region's name where there is a choice of regions, else ''. */
function regionOf(providers, connection) {
  const regions = providers.find((one) => one.id === connection.provider)?.regions ?? [];
  return regions.length < 2 ? '' : regions.find((one) => one.id === connection.region)?.name ?? '';
}
