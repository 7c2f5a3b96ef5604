// Readings as a line to draw: sorted, with its gaps, and summed up. Plain functions, no document.

import { bringsReadings } from './ways.js';

export const TARGET = { low: 70, high: 180 };
const MINUTE_MS = 60_000;
/** How far a value's time may lie ahead of the service's clock: a sensor's clock is never quite ours. */
export const AHEAD_MS = 5 * MINUTE_MS;
const CURRENT_MS = 15 * MINUTE_MS;
// Beyond the usual delay, as the service counts it: one cadence, the upload, an hour.
const STALE_MS = 80 * MINUTE_MS;

/**
 * Readings (any order) as parallel arrays for the chart. `times` are seconds, `values` null in a gap, `flags` 'low',
 * 'high' or null. `gaps` as api.js gives them: the service knows how far apart a sensor's readings lie.
 */
export function asLine(readings, gaps) {
  const sorted = readings
    .map((reading) => ({ at: Date.parse(reading.measured_at) / 1000, value: reading.value, flag: reading.flag }))
    .filter((point) => Number.isFinite(point.at) && Number.isFinite(point.value))
    .sort((a, b) => a.at - b.at);
  const line = { times: [], values: [], flags: [], gaps: 0, points: 0 };
  let before = null;
  for (const point of sorted) {
    if (before !== null && point.at === before) continue;
    if (before !== null && isApart(before, point.at, gaps)) {
      add(line, (before + point.at) / 2, null, null);
      line.gaps += 1;
    }
    add(line, point.at, point.value, point.flag ?? null);
    line.points += 1;
    before = point.at;
  }
  return line;
}

const isApart = (before, after, gaps) => gaps.some((gap) => gap.from < after && gap.to > before);

function add(line, time, value, flag) {
  line.times.push(time);
  line.values.push(value);
  line.flags.push(flag);
}

/**
 * Average, lowest, highest (mg/dL) and the share within the target, or null without readings. `beyond` says
 * on which ends the sensor gave no number.
 */
export function summary(line) {
  const values = line.values.filter((value) => value !== null);
  if (values.length === 0) return null;
  const inTarget = values.filter((value) => value >= TARGET.low && value <= TARGET.high).length;
  return {
    average: values.reduce((sum, value) => sum + value, 0) / values.length,
    lowest: values.reduce((a, b) => Math.min(a, b)),
    highest: values.reduce((a, b) => Math.max(a, b)),
    inTarget: inTarget / values.length,
    beyond: { low: line.flags.includes('low'), high: line.flags.includes('high') },
  };
}

/** Readings (any order) with one more; the one told last counts where two have the same id. */
export const withReading = (readings, told) => [told, ...readings.filter((one) => one.id !== told.id)];

/**
 * How a value may be shown. 'current': at most 15 minutes old, from a connection that still brings readings and that
 * the service does not call late; 'delayed': not so, yet no older than `delayMinutes` (the vendor's usual delay) and 80
 * minutes; 'stale': older, or dated more than 5 minutes ahead; 'none': no value. `connection` is the value's own or
 * null, `now` the service's time in ms.
 */
export function freshness(reading, connection, delayMinutes, now) {
  if (!reading) return 'none';
  const measured = Date.parse(reading.measured_at);
  const age = now - measured;
  const told = connection && Date.parse(connection.newest_reading_at) >= measured ? connection.freshness : 'current';
  if (!(age >= -AHEAD_MS && age <= delayMinutes * MINUTE_MS + STALE_MS) || told === 'stale') return 'stale';
  const alive = connection && bringsReadings(connection);
  return alive && told === 'current' && age <= CURRENT_MS ? 'current' : 'delayed';
}
