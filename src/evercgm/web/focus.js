// Keyboard focus stays somewhere sensible: no button that works is switched off under it, nothing that goes takes it along.

/** Makes a change of the page; the focus goes to `place` where what had it is hidden or gone afterwards. */
export function keepFocus(place, change) {
  const had = document.activeElement;
  change();
  if (![had, document.body].includes(document.activeElement)) return;
  if (had && (!had.isConnected || had.closest('[hidden]'))) place.focus({ preventScroll: true });
}

/** Marks a button that is at work. Not `disabled`: that would take the focus from whoever has just pressed it. */
export function setBusy(button, busy) {
  if (busy) button.setAttribute('aria-disabled', 'true');
  else button.removeAttribute('aria-disabled');
}

export const isBusy = (button) => button.getAttribute('aria-disabled') === 'true';
