// What is known of the person who is shown: loaded by looks, added to by what the live stream tells. No document here.

import * as api from './api.js';
import * as clock from './clock.js';
import { AHEAD_MS, asLine, withReading } from './readings.js';

const LONG_RANGE_RELOAD_MS = 20_000;
const LONG_RANGE_S = 24 * 3600;
const MINUTE_MS = 60_000;

/**
 * Nothing yet. `gaps` are the stretches without readings, as api.js gives them. `line` is drawn from `readings`, which were loaded for `lineOf` (person, range, newest reading, what the
 * syncs had brought) at `lineAt`; `newest` is a reading or null; `runs` has a list of syncs for each connection's id;
 * `told` counts the readings that came by the stream.
 */
export const nothing = () => ({
  readings: [], line: asLine([], []), gaps: [], lineOf: '', lineAt: 0, newest: null, connections: [], runs: new Map(), told: 0,
});

/**
 * Loads all of it for `state.personId` and `state.range` into `state`. False where meanwhile a reading was told or
 * another person chosen: these answers are older than that, and are dropped.
 */
export async function load(state) {
  const { personId, told } = state;
  const isWanted = () => personId === state.personId && told === state.told;
  const [connections, newest] = await Promise.all([
    api.connections(personId), api.newestReading(personId, new Date(clock.now() + AHEAD_MS)),
  ]);
  const runs = await Promise.all(connections.map(async (one) => [one.id, await runsOf(one.id)]));
  const line = isWanted() ? await loadLine(state, newest, runs.flatMap(([, of]) => of)) : {};
  if (!isWanted()) return false;
  Object.assign(state, line, { connections, newest, runs: new Map(runs) });
  return true;
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

/** The chart's range, or {} where it need not change. Long ones are loaded only for something new or after 20 s. */
async function loadLine(state, newest, runs) {
  const { range } = state;
  const brought = runs.reduce((sum, run) => sum + run.inserted + run.updated, 0);
  const lineOf = `${state.personId}/${range.id}/${newest?.id ?? ''}/${brought}`;
  const isFresh = lineOf === state.lineOf && Date.now() - state.lineAt < LONG_RANGE_RELOAD_MS;
  if (isFresh && range.seconds > LONG_RANGE_S) return {};
  const minute = Math.floor(clock.now() / MINUTE_MS) * MINUTE_MS;
  const from = new Date(minute - range.seconds * 1000);
  const before = new Date(minute + MINUTE_MS + AHEAD_MS);
  const [readings, gaps] = newest
    ? await Promise.all([api.readingsBetween(state.personId, from, before), api.gapsBetween(state.personId, from, before)])
    : [[], []];
  return range === state.range ? { readings, gaps, line: asLine(readings, gaps), lineOf, lineAt: Date.now() } : {};
}

/**
 * Takes in what the stream told; false where it is no news. A new reading is there at once, all the rest needs a look.
 */
export function take(state, kind, what) {
  const { person_id: personId, ...reading } = what;
  if (personId !== state.personId) return false;
  if (kind === 'reading') return takeReading(state, reading);
  if (kind === 'connection') return !isKnown(what, state.connections.find((one) => one.id === what.id));
  return !isKnown(what, state.runs.get(what.connection_id)?.find((one) => one.id === what.id));
}

/** Into the picture, if there is one. What is dated far ahead of the clock is never the newest. */
function takeReading(state, reading) {
  if (isKnown(reading, state.newest)) return false;
  const at = Date.parse(reading.measured_at);
  if (!state.lineOf || at > clock.now() + AHEAD_MS) return true;
  const readings = withReading(state.readings, reading);
  const isNewest = !state.newest || at >= Date.parse(state.newest.measured_at);
  Object.assign(state, { readings, line: asLine(readings, state.gaps), newest: isNewest ? reading : state.newest, told: state.told + 1 });
  return true;
}

const isKnown = (what, known) => Boolean(known) && Object.keys(what).every((name) => what[name] === known[name]);
