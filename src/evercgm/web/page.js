// The page's own life: who is signed in, which person, which range; refreshes every few seconds.

import * as api from './api.js';
import { makeChart } from './chart.js';
import { makeConnections } from './connections.js';
import { showCurrent } from './current.js';
import { asLine, summary } from './readings.js';
import * as units from './units.js';
import * as words from './words.js';

const REFRESH_MS = 5_000;
const BUSY_REFRESH_MS = 1_000;
const BACK_OFF_AT_MOST_MS = 60_000;
const LONG_RANGE_RELOAD_MS = 20_000;
const SESSION_RELOAD_MS = 60_000;
const GOOD_NEWS_MS = 30_000;
const AGE_MS = 10_000;
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
  line: asLine([]),
  lineOf: '',
  lineAt: 0,
  newest: null,
  connections: [],
  failures: 0,
  busy: false,
};

let chart = null;
let timer = 0;
let noticeTimer = 0;
let running = null;
let again = false;

const connectionCards = makeConnections({ providers: () => state.providers, refresh, notice, failed });

// --- what is shown -------------------------------------------------------------------------------

function showView(name) {
  for (const view of ['loading', 'sign-in', 'nobody', 'person']) byId(`view-${view}`).hidden = view !== name;
  byId('sign-out').hidden = name === 'sign-in' || name === 'loading';
  if (name === 'sign-in') byId('person').hidden = true;
  if (name === 'person' && !chart) chart = makeChart(byId('chart'), (text) => { byId('chart-readout').textContent = text; });
}

function notice(kind, text, action = null) {
  byId('notice').dataset.kind = kind;
  byId('notice-text').textContent = text;
  byId('notice').hidden = false;
  const button = byId('notice-action');
  button.hidden = action === null;
  button.textContent = action?.label ?? '';
  button.onclick = action?.run ?? null;
  clearTimeout(noticeTimer);
  if (kind === 'good') noticeTimer = setTimeout(closeNotice, GOOD_NEWS_MS);
}

function closeNotice() {
  byId('notice').hidden = true;
}

function offline(text) {
  if (byId('offline').textContent !== text) byId('offline').textContent = text;
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
  const person = persons.find((one) => one.id === state.personId);
  byId('person-title').textContent = `Glucose of ${person.label}`;
  document.title = persons.length < 2 ? 'evercgm' : `${person.label} · evercgm`;
}

function showReadings() {
  const now = Date.now();
  const own = state.newest && state.connections.find((one) => one.id === state.newest.connection_id);
  showCurrent(state.newest, state.connections, own ? delayNote(own) : '', now);
  chart.show(state.line, now / 1000 - state.range.seconds, now / 1000);
  showSummary(summary(state.line));
  const empty = state.line.points === 0;
  byId('chart-empty').hidden = !empty;
  byId('chart-empty').textContent = emptyWords();
  byId('chart').setAttribute('aria-label', chartWords());
}

function emptyWords() {
  if (state.newest) return `No readings in the last ${state.range.label}.`;
  return state.connections.length ? 'Waiting for the first readings…' : 'Connect a sensor to see its readings here.';
}

function chartWords() {
  const sum = summary(state.line);
  if (!sum) return emptyWords();
  const { points, gaps } = state.line;
  return `Glucose of the last ${state.range.label}: ${points} readings, lowest ${units.number(sum.lowest)}, `
    + `highest ${units.withUnit(sum.highest)}, ${gaps === 1 ? '1 gap' : `${gaps} gaps`}.`;
}

function showSummary(sum) {
  byId('summary').hidden = sum === null;
  if (sum === null) return;
  byId('summary-average').textContent = units.number(sum.average);
  byId('summary-lowest').textContent = sum.beyond.low ? `< ${units.limits().floor}` : units.number(sum.lowest);
  byId('summary-highest').textContent = sum.beyond.high ? `> ${units.limits().ceiling}` : units.number(sum.highest);
  byId('summary-target').textContent = `${Math.round(sum.inTarget * 100)} %`;
}

function delayNote(connection) {
  const provider = state.providers.find((one) => one.id === connection.provider);
  const region = provider?.regions.find((one) => one.id === connection.region);
  const delay = words.delay(region?.delayMinutes ?? 0);
  return delay ? `${provider.name} hands readings over with a delay of ${delay}.` : '';
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
  Object.assign(state, { line: asLine([]), lineOf: '', newest: null, connections: [] });
  showPersons();
  connectionCards.show([], new Map(), id, Date.now());
  byId('current').dataset.state = 'loading';
  byId('current-number').textContent = '–';
  for (const part of ['current-unit', 'current-age', 'current-spoken', 'chart-readout']) byId(part).textContent = '';
  byId('current-note').hidden = true;
  byId('current-arrow').setAttribute('hidden', '');
  chart?.show(state.line, Date.now() / 1000 - state.range.seconds, Date.now() / 1000);
  byId('chart-empty').hidden = true;
  showSummary(null);
  refresh();
}

// --- what is fetched -----------------------------------------------------------------------------

/** One look at everything; false where the person was changed meanwhile and the answers are no longer wanted. */
async function look() {
  const old = !state.session || Date.now() - state.sessionAt > SESSION_RELOAD_MS;
  if (old || state.session.persons.length === 0) await openSession();
  if (state.session.persons.length === 0) return showView('nobody');
  const { personId } = state;
  const [connections, newest] = await Promise.all([api.connections(personId), api.newestReading(personId)]);
  const runs = await Promise.all(connections.map(async (one) => [one.id, await runsOf(one.id)]));
  if (personId !== state.personId) return false;
  Object.assign(state, { connections, newest, busy: runs.some(([, of]) => of.some((run) => run.state !== 'done')) });
  await loadLine(personId);
  if (personId !== state.personId) return false;
  showView('person');
  showReadings();
  byId('chart').dataset.range = state.lineOf.split('/')[1];
  connectionCards.show(connections, new Map(runs), personId, Date.now());
  return true;
}

async function openSession() {
  const [session, providers] = await Promise.all([api.session(), api.providers()]);
  Object.assign(state, { session, providers, sessionAt: Date.now() });
  if (state.session.persons.length === 0) return;
  const ids = state.session.persons.map((person) => person.id);
  const wanted = [state.personId, recall('person')].find((id) => ids.includes(id));
  state.personId = wanted ?? ids[0];
  showPersons();
}

/** A connection that has just gone has no history; that is no failure of the look. */
async function runsOf(connectionId) {
  try {
    return await api.syncs(connectionId);
  } catch (error) {
    if (error instanceof api.Problem && error.status === 404) return [];
    throw error;
  }
}

/** Loads the chart's range. Long ranges are loaded again only when something is new or 20 s have gone. */
async function loadLine(personId) {
  const { range } = state;
  const of = `${personId}/${range.id}/${state.newest?.id ?? ''}`;
  const long = range.seconds > 24 * 3600;
  if (long && of === state.lineOf && Date.now() - state.lineAt < LONG_RANGE_RELOAD_MS) return;
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const readings = state.newest ? await api.readingsSince(personId, new Date(minute - range.seconds * 1000)) : [];
  if (personId !== state.personId || range !== state.range) return;
  Object.assign(state, { line: asLine(readings), lineOf: of, lineAt: Date.now() });
}

// --- when ----------------------------------------------------------------------------------------

/** Looks now. Never two looks at once: a wish during one is one more look after it. */
function refresh() {
  clearTimeout(timer);
  if (running) {
    again = true;
    return running;
  }
  running = lookOnce().finally(() => {
    running = null;
    if (again) {
      again = false;
      refresh();
    }
  });
  return running;
}

async function lookOnce() {
  try {
    await look();
    state.failures = 0;
    offline('');
    plan(state.busy ? BUSY_REFRESH_MS : REFRESH_MS);
  } catch (error) {
    if (error instanceof api.Problem && error.status === 401) return signedOut();
    state.failures += 1;
    const wait = Math.min(BACK_OFF_AT_MOST_MS, REFRESH_MS * 2 ** (state.failures - 1));
    offline(error instanceof api.Unreachable
      ? 'Offline, trying again. What you see may be old.'
      : 'The service has trouble, trying again. What you see may be old.');
    if (!(error instanceof api.Unreachable || error instanceof api.Problem)) console.error(error);
    age();
    plan(wait);
  }
}

/** The value on the page grows old by itself, whether or not the service answers. */
function age() {
  if (!document.hidden && chart && state.newest) showReadings();
}

function plan(wait) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, wait);
}

function signedOut() {
  if (state.session) closeNotice();
  state.session = null;
  state.failures = 0;
  offline('');
  showView('sign-in');
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
byId('notice-close').addEventListener('click', closeNotice);
byId('sign-in-retry').addEventListener('click', refresh);
byId('sign-out').addEventListener('click', async () => {
  try {
    await api.signOut();
    location.reload();
  } catch (error) {
    notice('bad', failed(error));
  }
});
document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  if (document.hidden) return;
  age();
  refresh();
});
addEventListener('online', refresh);

window.evercgm = { chart: () => chart?.data() ?? { times: [], values: [] } };
setInterval(age, AGE_MS);
byId('time-zone').textContent = words.timeZone(new Date());
showRanges();
showUnits();
readReturn();
refresh();
