// Readings as a line to draw: sorted, with its gaps, and summed up. Plain functions, no document.

export const TARGET = { low: 70, high: 180 };
const GAP_S = 11 * 60;

/**
 * Readings (any order) as parallel arrays for the chart. `times` are seconds, `values` null in a gap
 * (where the next reading is more than 11 minutes away), `flags` 'low', 'high' or null.
 */
export function asLine(readings) {
  const sorted = readings
    .map((reading) => ({ at: Date.parse(reading.measured_at) / 1000, value: reading.value, flag: reading.flag }))
    .filter((point) => Number.isFinite(point.at) && Number.isFinite(point.value))
    .sort((a, b) => a.at - b.at);
  const line = { times: [], values: [], flags: [], gaps: 0, points: 0 };
  let before = null;
  for (const point of sorted) {
    if (before !== null && point.at === before) continue;
    if (before !== null && point.at - before > GAP_S) {
      add(line, (before + point.at) / 2, null, null);
      line.gaps += 1;
    }
    add(line, point.at, point.value, point.flag ?? null);
    line.points += 1;
    before = point.at;
  }
  return line;
}

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

/**
 * How a value may be shown: 'current' only when the service calls its connection current (or the
 * connection is gone) and it is at most 15 minutes old by this clock; else 'delayed', 'stale', 'none'.
 */
export function freshness(reading, connections, now) {
  if (!reading) return 'none';
  const own = connections.find((connection) => connection.id === reading.connection_id);
  const age = now - Date.parse(reading.measured_at);
  const told = own ? own.freshness : 'current';
  if (told === 'stale' || age > 3 * 3600_000) return 'stale';
  if (told !== 'current' || age > 15 * 60_000) return 'delayed';
  return 'current';
}
