// Deleting all that is held of a person: counted first, asked for by a typed word, told afterwards.

import * as api from './api.js';
import { isBusy, setBusy } from './focus.js';
import * as words from './words.js';

const byId = (id) => document.getElementById(id);

/**
 * Makes the button and its dialog. `host` gives `person()`, who is shown ({id, label}); `erased()`, called once the
 * data are gone; `notice(kind, text)` and `failed(error)`, which turns an error into a sentence.
 */
export function makeErase(host) {
  const dialog = byId('erase-dialog');
  const word = byId('erase-word');
  const yes = byId('erase-yes');
  let asked = null;

  async function ask() {
    asked = host.person();
    const { id } = asked;
    byId('erase-title').textContent = `Delete the data of ${asked.label}?`;
    byId('erase-hint').textContent = '';
    byId('erase-all').checked = false;
    word.value = '';
    setBusy(yes, true);
    showCounts(null);
    dialog.showModal();
    byId('erase-no').focus();
    try {
      const counts = await api.personData(id);
      if (asked?.id !== id) return;
      showCounts(counts);
      setBusy(yes, false);
    } catch (error) {
      if (asked?.id === id) byId('erase-hint').textContent = host.failed(error);
    }
  }

  async function erase() {
    if (isBusy(yes)) return;
    if (word.value.trim().toLowerCase() !== 'delete') {
      byId('erase-hint').textContent = 'Type the word delete first. Nothing is deleted until then.';
      word.focus();
      return;
    }
    const { id } = asked;
    setBusy(yes, true);
    byId('erase-hint').textContent = '';
    try {
      const answer = await api.erasePerson(id, byId('erase-all').checked);
      dialog.close();
      host.erased();
      host.notice('plain', words.erased(answer));
    } catch (error) {
      byId('erase-hint').textContent = host.failed(error);
      setBusy(yes, false);
    }
  }

  byId('erase-open').addEventListener('click', ask);
  byId('erase-no').addEventListener('click', () => dialog.close());
  byId('erase-form').addEventListener('submit', (event) => {
    event.preventDefault();
    erase();
  });
  dialog.addEventListener('close', () => {
    // Told late, when the dialog may already be open for the next question.
    if (!dialog.open) asked = null;
  });
  return { close: () => dialog.close() };
}

/** What goes, and what is the host app's own; null while it is being counted. */
function showCounts(counts) {
  const gone = counts ? words.rowsGone(counts.ours) : ['Counting…'];
  const kept = counts ? words.readingsBySource(counts.host.readings) : [];
  byId('erase-gone').replaceChildren(...gone.map(line));
  byId('erase-kept').replaceChildren(...kept.map(line));
  byId('erase-others').hidden = kept.length === 0;
  byId('erase-theirs').hidden = !counts?.host.connections;
}

function line(text) {
  const item = document.createElement('li');
  item.textContent = text;
  return item;
}
