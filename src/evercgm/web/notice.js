// The one line that says what has just happened, with at most one thing to do about it.

import { keepFocus } from './focus.js';

const GOOD_NEWS_MS = 30_000;
const byId = (id) => document.getElementById(id);
let timer = 0;

/** Shows `text` (kind: good, bad, …); good news goes by itself. `action`: {label, run}, or null. */
export function notice(kind, text, action = null) {
  byId('notice').dataset.kind = kind;
  byId('notice-text').textContent = text;
  byId('notice').hidden = false;
  const button = byId('notice-action');
  keepFocus(byId('notice-close'), () => { button.hidden = action === null; });
  button.textContent = action?.label ?? '';
  button.onclick = action?.run ?? null;
  clearTimeout(timer);
  if (kind === 'good') timer = setTimeout(closeNotice, GOOD_NEWS_MS);
}

export function closeNotice() {
  keepFocus(byId('main'), () => { byId('notice').hidden = true; });
  byId('notice-text').textContent = '';
}

byId('notice-close').addEventListener('click', closeNotice);
