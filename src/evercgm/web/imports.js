// Importing a vendor's exported file: chosen, sent, told how it ended. What only the person can tell is asked for then.

import * as api from './api.js';
import { isBusy, setBusy } from './focus.js';
import * as words from './words.js';

const LARGEST = 64 * 1024 * 1024;
// Fields that are shown once the service asks for them.
const QUESTIONS = ['date_order', 'unit'];
const byId = (id) => document.getElementById(id);
const rowOf = (name) => byId(`import-${name.replace('_', '-')}-row`);
const fieldOf = (name) => byId(`import-${name.replace('_', '-')}`);

/**
 * Makes the form. `host` gives `person()`, who is shown ({id, label}); `refresh()`; `notice(kind, text)` and
 * `failed(error)`, which turns an error into a sentence.
 */
export function makeImports(host) {
  const form = byId('import-form');
  const file = byId('import-file');
  const button = byId('import-send');
  let sending = null;

  async function send() {
    if (isBusy(button)) return;
    const chosen = file.files[0];
    const refusal = refused(chosen);
    if (refusal) return ask(file, refusal);
    const { id } = host.person();
    sending = new AbortController();
    const { signal } = sending;
    working(true);
    try {
      const answer = await api.importFile(id, chosen, answers(), progress, signal);
      if (signal.aborted) return undefined;
      forget();
      host.notice('good', words.imported(answer));
    } catch (error) {
      if (!signal.aborted) showRefusal(error);
    } finally {
      if (!signal.aborted) working(false);
    }
    return host.refresh();
  }

  /** A question is shown and gets the focus; anything else is said where it was asked for. */
  function showRefusal(error) {
    const [first] = error.fields ?? [];
    const field = first && fieldOf(first.field);
    const text = host.failed(error);
    if (!field) return say(text);
    if (QUESTIONS.includes(first.field)) rowOf(first.field).hidden = false;
    return ask(field, words.importRefusal(first));
  }

  function ask(field, text) {
    say(text);
    field.setAttribute('aria-invalid', 'true');
    field.focus();
  }

  /** Nothing of one person stays in another's form; what is being sent is given up. */
  function forget() {
    sending?.abort();
    sending = null;
    form.reset();
    chooseOwnZone();
    for (const name of QUESTIONS) rowOf(name).hidden = true;
    say('');
    working(false);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    send();
  });
  form.addEventListener('change', (event) => {
    say('');
    // Another file may have another answer.
    if (event.target === file) for (const name of QUESTIONS) { rowOf(name).hidden = true; fieldOf(name).value = ''; }
  });
  fillZones();
  chooseOwnZone();
  return { forget };

  function working(busy) {
    setBusy(button, busy);
    form.setAttribute('aria-busy', String(busy));
    byId('import-progress').hidden = !busy;
    if (busy) progress(0);
  }
}

/** Why a file is not sent at all, or ''. */
function refused(chosen) {
  if (!chosen) return 'Choose a file first.';
  if (chosen.size > LARGEST) return 'This file is larger than 64 MB. Export a shorter period.';
  return '';
}

function answers() {
  const given = { time_zone: byId('import-time-zone').value };
  for (const name of QUESTIONS) if (!rowOf(name).hidden && fieldOf(name).value) given[name] = fieldOf(name).value;
  return given;
}

/** `share` of the file is sent; then the service reads it, for as long as that takes. */
function progress(share) {
  const bar = byId('import-bar');
  if (share < 1) bar.value = share;
  else bar.removeAttribute('value');
  byId('import-progress-text').textContent = share < 1 ? 'Sending the file…' : 'Reading the file…';
}

function say(text) {
  byId('import-hint').textContent = text;
  for (const field of byId('import-form').querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid');
}

function fillZones() {
  const known = Intl.supportedValuesOf?.('timeZone') ?? [];
  const zones = [...new Set(['UTC', ownZone(), ...known])].sort();
  byId('import-time-zone').replaceChildren(...zones.map((zone) => new Option(zone.replaceAll('_', ' '), zone)));
}

function chooseOwnZone() {
  byId('import-time-zone').value = ownZone();
}

const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
