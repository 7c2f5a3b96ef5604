// The big value: the newest reading, and how far it may be trusted to be the present one.

import { AHEAD_MS, TARGET, freshness } from './readings.js';
import { limits, unit } from './units.js';
import * as words from './words.js';

const byId = (id) => document.getElementById(id);

/**
 * Shows the newest reading (or null). `from` is where it came from: `{connection, name, delayMinutes}`, the connection
 * null where it is gone. `now` is the service's time in ms.
 */
export function showCurrent(reading, from, now) {
  const state = freshness(reading, from.connection, from.delayMinutes, now);
  const box = byId('current');
  box.dataset.state = state;
  box.dataset.range = state === 'current' ? rangeOf(reading) : '';
  byId('current-title').textContent = state === 'delayed' || state === 'stale' ? 'Glucose' : 'Glucose now';
  byId('current-number').textContent = reading ? words.figure(reading) : '–';
  byId('current-unit').textContent = reading ? unitOf(reading) : '';
  showArrow(state === 'current' ? reading.trend : '');
  setText('current-age', reading ? ageLine(reading, state, now) : 'No readings yet');
  showNote(noteOf(reading, state, from, now));
  setText('current-spoken', reading ? spoken(reading, state) : '');
}

/** Shows that another person's value is on its way. */
export function clearCurrent() {
  Object.assign(byId('current').dataset, { state: 'loading', range: '' });
  byId('current-title').textContent = 'Glucose';
  byId('current-number').textContent = '–';
  for (const part of ['current-unit', 'current-age', 'current-spoken']) setText(part, '');
  showArrow('');
  showNote('');
}

function noteOf(reading, state, from, now) {
  if (state === 'current' || state === 'none') return '';
  const ahead = Date.parse(reading.measured_at) - now > AHEAD_MS;
  return words.notNow(state, ahead, from.connection, from.name, from.delayMinutes);
}

function ageLine(reading, state, now) {
  const age = words.ago(new Date(reading.measured_at), now);
  if (state !== 'current') return `Last value, ${age}`;
  return [words.trend(reading.trend), rangeWord(reading), age].filter(Boolean).join(' · ');
}

/** Said aloud by screen readers; holds no age, so that it changes only with the reading. */
function spoken(reading, state) {
  const value = `${words.figure(reading)} ${unitOf(reading)}`;
  if (state !== 'current') return `Last value ${value}, not current.`;
  return `Glucose ${[value, words.trend(reading.trend), rangeWord(reading)].filter(Boolean).join(', ')}.`;
}

function showArrow(trend) {
  const arrow = byId('current-arrow');
  const known = words.trend(trend) !== '';
  arrow.toggleAttribute('hidden', !known);
  if (known) arrow.dataset.trend = trend;
  else delete arrow.dataset.trend;
}

function showNote(text) {
  setText('current-note', text);
  byId('current-note').hidden = text === '';
}

/** Sets text only where it differs, so that live regions stay silent. */
function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

const unitOf = (reading) => {
  if (reading.flag === 'low') return `below ${limits().floor} ${unit()}`;
  return reading.flag === 'high' ? `above ${limits().ceiling} ${unit()}` : unit();
};

function rangeOf(reading) {
  if (reading.value > TARGET.high) return 'high';
  return reading.value < TARGET.low ? 'low' : 'target';
}

const rangeWord = (reading) => ({ high: 'above target', low: 'below target', target: 'in target' })[rangeOf(reading)];
