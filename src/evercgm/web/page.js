// The page's own life: who is signed in, which person, which range; looks again whenever something is told.

import * as api from './api.js';
import { makeAudit } from './audit.js';
import { makeChart } from './chart.js';
import * as clock from './clock.js';
import { makeConnections } from './connections.js';
import { clearCurrent, showCurrent } from './current.js';
import { makeErase } from './erase.js';
import { keepFocus } from './focus.js';
import { showGaps } from './gaps.js';
import { makeImports } from './imports.js';
import { load, nothing, take } from './known.js';
import { makeLive } from './live.js';
import { makeLooks } from './looks.js';
import { closeNotice, notice } from './notice.js';
import { summary } from './readings.js';
import * as units from './units.js';
import * as words from './words.js';

// How often to look where nothing was told: with the live stream, without it, and without it during a sync.
const LIVE_MS = 60_000;
const POLL_MS = 5_000;
const BUSY_POLL_MS = 1_000;
const SESSION_RELOAD_MS = 60_000;
const AGE_MS = 10_000;
const SLEPT_MS = 60_000;
const RANGES = [
  ['3h', '3 h', 3], ['6h', '6 h', 6], ['12h', '12 h', 12], ['24h', '24 h', 24], ['7d', '7 d', 168], ['14d', '14 d', 336],
].map(([id, label, hours]) => ({ id, label, seconds: hours * 3600 }));

const byId = (id) => document.getElementById(id);
const state = {
  session: null,
  sessionAt: 0,
  providers: [],
  personId: null,
  range: RANGES.find((range) => range.id === (recall('range') ?? '24h')) ?? RANGES[3],
  ...nothing(),
};

let chart = null;
let tickedAt = Date.now();

const looks = makeLooks({ look, every, failed: lookFailed });
const refresh = looks.now;
const live = makeLive({ address: api.eventsAddress, told, opened: looks.soon, lost: looks.now });
const otherWindows = new BroadcastChannel('evercgm');
const connectionCards = makeConnections({ providers: () => state.providers, refresh, notice, failed });
const audit = makeAudit({ failed });
const imports = makeImports({ person: shownPerson, refresh, notice, failed });
const eraser = makeErase({ person: shownPerson, erased, notice, failed });

// --- what is shown -------------------------------------------------------------------------------

function showView(name) {
  keepFocus(byId('main'), () => {
    for (const view of ['loading', 'sign-in', 'nobody', 'person']) byId(`view-${view}`).hidden = view !== name;
    byId('sign-out').hidden = name === 'sign-in' || name === 'loading';
    if (name === 'sign-in') byId('person').hidden = true;
  });
  if (name === 'person' && !chart) chart = makeChart(byId('chart'), (text) => { byId('chart-readout').textContent = text; });
}

/** Says it in the strip, and tells whether that is new. */
function offline(text) {
  const strip = byId('offline');
  if (strip.textContent === text) return false;
  strip.textContent = text;
  return true;
}

/** An error as a sentence that a person can act on. */
function failed(error) {
  if (error instanceof api.Problem) return error.detail;
  if (error instanceof api.Unreachable) return 'The service cannot be reached. Check the connection and try again.';
  throw error;
}

function showPersons() {
  const { persons } = state.session;
  const picker = byId('person-picker');
  if (picker.dataset.print !== JSON.stringify(persons)) {
    picker.dataset.print = JSON.stringify(persons);
    picker.replaceChildren(...persons.map((person) => new Option(person.label, person.id)));
  }
  picker.value = state.personId;
  byId('person').hidden = persons.length < 2;
  byId('person-title').textContent = `Glucose of ${shownPerson().label}`;
  document.title = persons.length < 2 ? 'evercgm' : `${shownPerson().label} · evercgm`;
}

function shownPerson() {
  return state.session.persons.find((one) => one.id === state.personId);
}

function showAll() {
  showReadings();
  connectionCards.show(state.connections, state.runs, state.personId, clock.now());
}

function showReadings() {
  const now = clock.now();
  showCurrent(state.newest, cameFrom(state.newest), now);
  chart.show(state.line, now / 1000 - state.range.seconds, now / 1000);
  chart.mark(state.gaps);
  showGaps(state.gaps);
  showSummary(summary(state.line));
  const empty = state.line.points === 0;
  byId('chart-empty').hidden = !empty;
  byId('chart-empty').textContent = emptyWords();
  byId('chart').setAttribute('aria-label', chartWords());
}

function emptyWords() {
  if (state.newest) return `No readings in the last ${shownRange().label}.`;
  return state.connections.length ? 'Waiting for the first readings…' : 'Connect a sensor to see its readings here.';
}

/** The range that the line was loaded for; another one may have been chosen since. */
function shownRange() {
  return RANGES.find((range) => range.id === state.lineOf.split('/')[1]) ?? state.range;
}

function chartWords() {
  const sum = summary(state.line);
  if (!sum) return emptyWords();
  const { points, gaps } = state.line;
  return `Glucose of the last ${shownRange().label}: ${points} readings, lowest ${units.number(sum.lowest)}, `
    + `highest ${units.withUnit(sum.highest)}, ${gaps === 1 ? '1 gap' : `${gaps} gaps`}.`;
}

function showSummary(sum) {
  byId('summary').hidden = sum === null;
  byId('summary-range').textContent = sum === null ? '' : `Last ${shownRange().label}`;
  byId('summary-average').textContent = sum === null ? '' : units.number(sum.average);
  byId('summary-lowest').textContent = sum === null ? '' : lowestWords(sum);
  byId('summary-highest').textContent = sum === null ? '' : highestWords(sum);
  byId('summary-target').textContent = sum === null ? '' : `${Math.round(sum.inTarget * 100)} %`;
}

const lowestWords = (sum) => (sum.beyond.low ? `< ${units.limits().floor}` : units.number(sum.lowest));
const highestWords = (sum) => (sum.beyond.high ? `> ${units.limits().ceiling}` : units.number(sum.highest));

/** Where a reading came from, as current.js wants it. */
function cameFrom(reading) {
  const connection = state.connections.find((one) => one.id === reading?.connection_id) ?? null;
  const provider = state.providers.find((one) => one.id === connection?.provider);
  const delayMinutes = provider?.delays[connection.region] ?? 0;
  return { connection, name: provider?.name ?? connection?.provider ?? '', delayMinutes };
}

function showRanges() {
  byId('ranges').replaceChildren(...RANGES.map((range) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = range.label;
    button.dataset.test = `range-${range.id}`;
    button.setAttribute('aria-pressed', String(range === state.range));
    button.addEventListener('click', () => chooseRange(range));
    return button;
  }));
}

function chooseRange(range) {
  state.range = range;
  remember('range', range.id);
  for (const button of byId('ranges').children) {
    button.setAttribute('aria-pressed', String(button.dataset.test === `range-${range.id}`));
  }
  chart?.reset();
  byId('chart').dataset.range = '';
  refresh();
}

function showUnits() {
  byId('units').replaceChildren(...units.UNITS.map((name) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = name;
    button.dataset.test = `unit-${name === 'mg/dL' ? 'mgdl' : 'mmol'}`;
    button.addEventListener('click', () => chooseUnit(name));
    return button;
  }));
  chooseUnit(recall('unit'));
}

/** Changes what is read, not what is known: nothing is fetched. */
function chooseUnit(name) {
  units.chooseUnit(name);
  remember('unit', units.unit());
  for (const button of byId('units').children) button.setAttribute('aria-pressed', String(button.textContent === units.unit()));
  const { low, high } = units.limits();
  byId('key-target').textContent = `Target ${low}–${high} ${units.unit()}`;
  if (!chart || !state.session) return;
  chart.relabel();
  byId('chart-readout').textContent = '';
  showReadings();
}

function choosePerson(id) {
  state.personId = id;
  remember('person', id);
  closeNotice();
  forgetPerson();
  showPersons();
  refresh();
}

/** Nothing of one person stays in another's view, or in nobody's; the old stream ends with the next look, and is not heard meanwhile. */
function forgetPerson() {
  Object.assign(state, nothing());
  connectionCards.forget();
  audit.forget();
  imports.forget();
  eraser.close();
  clearCurrent();
  chart?.reset();
  byId('chart-readout').textContent = '';
  chart?.show(state.line, clock.now() / 1000 - state.range.seconds, clock.now() / 1000);
  chart?.mark([]);
  showGaps([]);
  byId('chart').setAttribute('aria-label', 'Glucose chart');
  byId('chart-empty').hidden = true;
  showSummary(null);
}

/** Nothing is left of the person who is shown; the name may be another one. */
function erased() {
  forgetPerson();
  state.sessionAt = 0;
  refresh();
}

// --- what is fetched -----------------------------------------------------------------------------

/** One look at everything. */
async function look() {
  const old = !state.session || Date.now() - state.sessionAt > SESSION_RELOAD_MS;
  if (old || state.session.persons.length === 0) await openSession();
  if (state.session.persons.length === 0) nobody();
  else await lookAtPerson();
  if (offline('') && !live.isOpen()) live.restart();
}

function nobody() {
  live.stop();
  showView('nobody');
}

/** Listens first, so that nothing is missed between the answers and the stream. */
async function lookAtPerson() {
  if (!document.hidden) live.follow(state.personId);
  if (!await load(state)) return;
  showView('person');
  showAll();
  audit.show(state.personId);
  byId('chart').dataset.range = state.lineOf.split('/')[1] ?? '';
}

async function openSession() {
  const [session, providers] = await Promise.all([api.session(), api.providers()]);
  if (!state.session) otherWindows.postMessage('signed in');
  Object.assign(state, { session, providers, sessionAt: Date.now() });
  if (session.persons.length === 0) return;
  const ids = session.persons.map((person) => person.id);
  const chosen = [state.personId, recall('person')].find((id) => ids.includes(id)) ?? ids[0];
  if (chosen !== state.personId) {
    state.personId = chosen;
    forgetPerson();
  }
  showPersons();
}

/** What the stream of `personId` tells: a reading is shown at once, the rest by a look. */
function told(kind, what, personId) {
  if (personId !== state.personId || !take(state, kind, what)) return;
  if (kind === 'reading') showAgain();
  looks.soon();
}

// --- when ----------------------------------------------------------------------------------------

function every() {
  if (live.isOpen()) return LIVE_MS;
  return [...state.runs.values()].flat().some((run) => run.state !== 'done') ? BUSY_POLL_MS : POLL_MS;
}

function lookFailed(error) {
  if (error instanceof api.Problem && error.status === 401) return signedOut();
  // Somebody else may have signed in: the next look asks who it is.
  state.sessionAt = 0;
  offline(error instanceof api.Unreachable
    ? 'Offline, trying again. What you see may be old.'
    : 'The service has trouble, trying again. What you see may be old.');
  if (!(error instanceof api.Unreachable || error instanceof api.Problem)) console.error(error);
  return showAgain();
}

/** What is on the page grows old by itself, whether or not the service answers. */
function showAgain() {
  if (!document.hidden && state.session && chart && state.lineOf) showAll();
}

function tick() {
  const slept = Date.now() - tickedAt > SLEPT_MS;
  tickedAt = Date.now();
  if (slept) wake();
  else showAgain();
}

/** After a time away whatever is shown is old, and a stream may be dead without having said so. */
function wake() {
  showAgain();
  live.restart();
  refresh();
}

/** Nobody sees the page: others may need the stream's place. */
function sleep() {
  live.stop();
  looks.rest();
}

function signedOut() {
  if (state.session) closeNotice();
  Object.assign(state, { session: null, providers: [], personId: null });
  sleep();
  offline('');
  forgetPerson();
  forgetPersons();
  showView('sign-in');
}

/** Nobody is signed in: no name and no title tells who was. */
function forgetPersons() {
  byId('person-picker').replaceChildren();
  delete byId('person-picker').dataset.print;
  byId('person-title').textContent = 'Glucose';
  document.title = 'evercgm';
}

/** Says what a consent page sent back in the address, and takes it out of the address. */
function readReturn() {
  const address = new URL(location.href);
  const result = address.searchParams.get('cgm');
  if (!result) return;
  const attempt = address.searchParams.get('attempt');
  const said = words.returned(result, address.searchParams.get('code'));
  for (const name of ['cgm', 'code', 'attempt']) address.searchParams.delete(name);
  history.replaceState(null, '', address.pathname + address.search);
  if (!said) return;
  const use = { label: 'Use this account from now on', run: () => useOtherAccount(attempt) };
  notice(said[0], said[1], result === 'confirm' && attempt ? use : null);
}

async function useOtherAccount(attempt) {
  try {
    await api.confirmAccount(attempt);
    notice('good', words.returned('connected')[1]);
  } catch (error) {
    notice('bad', failed(error));
  }
  refresh();
}

function remember(name, value) {
  try { localStorage.setItem(`evercgm.${name}`, value); } catch { /* private windows may refuse */ }
}

function recall(name) {
  try { return localStorage.getItem(`evercgm.${name}`); } catch { return null; }
}

byId('person-picker').addEventListener('change', (event) => choosePerson(event.target.value));
byId('sign-in-retry').addEventListener('click', refresh);
byId('sign-out').addEventListener('click', async () => {
  try {
    await api.signOut();
    location.reload();
  } catch (error) {
    notice('bad', failed(error));
  }
});
document.addEventListener('visibilitychange', () => (document.hidden ? sleep() : wake()));
addEventListener('online', wake);
addEventListener('pagehide', sleep);
addEventListener('pageshow', (event) => { if (event.persisted) wake(); });
otherWindows.addEventListener('message', () => {
  state.sessionAt = 0;
  refresh();
});

window.evercgm = { chart: () => chart?.data() ?? { times: [], values: [] } };
setInterval(tick, AGE_MS);
byId('time-zone').textContent = words.timeZone(new Date());
showRanges();
showUnits();
readReturn();
refresh();
