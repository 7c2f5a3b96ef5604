// What the cards of the page share: made from templates, filled part by part, taken away without losing the focus.

import { keepFocus } from './focus.js';

export const byId = (id) => document.getElementById(id);
export const part = (card, name) => card.querySelector(`[data-part="${name}"]`);

export function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Only what changes is written: nothing is spoken again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Takes the cards away that are not wanted any more; their focus is the heading's. */
export function keepOnly(cards, wanted) {
  for (const [key, card] of cards) {
    if (wanted.has(key)) continue;
    keepFocus(byId('connections-title'), () => card.element.remove());
    cards.delete(key);
  }
}
