// The big value: the newest reading, and how far it may be trusted to be the present one.

import { TARGET, freshness } from './readings.js';
import { limits, unit } from './units.js';
import * as words from './words.js';

const byId = (id) => document.getElementById(id);
const NOTES = {
  delayed: 'This is not the value of this moment.',
  stale: 'No newer reading has arrived. Check the sensor and its app.',
};

/** Shows the newest reading (or null). `note` is a sentence about the vendor's delay, or ''. */
export function showCurrent(reading, connections, note, now) {
  const state = freshness(reading, connections, now);
  const box = byId('current');
  box.dataset.state = state;
  box.dataset.range = reading && state === 'current' ? rangeOf(reading) : '';
  byId('current-title').textContent = state === 'delayed' || state === 'stale' ? 'Glucose' : 'Glucose now';
  byId('current-number').textContent = reading ? words.figure(reading) : '–';
  byId('current-unit').textContent = reading ? unitOf(reading) : '';
  showArrow(state === 'current' ? reading.trend : '');
  setText('current-age', reading ? ageLine(reading, state, now) : 'No readings yet');
  showNote(state === 'delayed' && note ? note : NOTES[state] ?? '');
  setText('current-spoken', reading ? spoken(reading, state) : '');
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
