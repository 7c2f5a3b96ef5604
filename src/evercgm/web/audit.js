// Who did what with the person's data: asked for once the reader opens it, then kept up to date. It changes nothing.

import * as api from './api.js';
import { isBusy, keepFocus, setBusy } from './focus.js';
import * as words from './words.js';

const byId = (id) => document.getElementById(id);

/** Makes the list. `host` gives `failed(error)`, which turns an error into a sentence. */
export function makeAudit(host) {
  let personId = null;
  let events = [];
  let next = null;

  /** Of this person from now on; while the list is open, a look brings what is new. */
  function show(id) {
    personId = id;
    if (byId('audit').open) load().catch(() => { /* the look itself says that the service does not answer */ });
  }

  /** Nothing of one person stays in another's view. */
  function forget() {
    personId = null;
    events = [];
    next = null;
    say('');
    byId('audit-list').replaceChildren();
    showMore();
  }

  async function load() {
    const asked = personId;
    if (asked === null) return;
    const page = await api.audit(asked);
    if (asked !== personId) return;
    take(page);
  }

  /** What is known stays, with the older pages that were asked for; a page that does not reach it begins anew. */
  function take(page) {
    const known = new Set(events.map((event) => event.id));
    const fresh = page.events.filter((event) => !known.has(event.id));
    const reaches = fresh.length < page.events.length;
    if (!reaches) next = page.next;
    events = reaches ? [...fresh, ...events] : page.events;
    if (events.length === 0) byId('audit-list').replaceChildren(line('', 'Nothing yet.', ''));
    else if (reaches) byId('audit-list').prepend(...fresh.map(eventLine));
    else byId('audit-list').replaceChildren(...fresh.map(eventLine));
    showMore();
  }

  async function more() {
    const from = next;
    const page = await api.auditAfter(from);
    // Another person was chosen, or the list has begun anew.
    if (from !== next) return;
    const lines = page.events.map(eventLine);
    events = [...events, ...page.events];
    next = page.next;
    byId('audit-list').append(...lines);
    // The button may go: whoever pressed it reads on at what it brought.
    lines[0]?.setAttribute('tabindex', '-1');
    keepFocus(lines[0] ?? byId('audit-summary'), showMore);
    say(next ? `${lines.length} more are shown.` : 'That is all.');
  }

  function showMore() {
    byId('audit-more').hidden = next === null;
  }

  byId('audit').addEventListener('toggle', () => {
    say('');
    if (byId('audit').open) load().catch((error) => say(host.failed(error)));
  });
  byId('audit-more').addEventListener('click', async (event) => {
    const button = event.currentTarget;
    if (isBusy(button)) return;
    setBusy(button, true);
    await more().catch((error) => say(host.failed(error)));
    setBusy(button, false);
  });
  return { show, forget };
}

function say(text) {
  byId('audit-hint').textContent = text;
}

const eventLine = (event) => line(event.at, event.message, words.by(event.by));

function line(at, message, by) {
  const item = document.createElement('li');
  const time = document.createElement('time');
  time.dateTime = at;
  time.textContent = at ? words.dayYearAndClock(new Date(at), new Date()) : '';
  const [what, who] = [message, by].map((text) => {
    const part = document.createElement('span');
    part.textContent = text;
    return part;
  });
  item.append(time, what, who);
  return item;
}
