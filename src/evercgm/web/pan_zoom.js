// Which part of the loaded range the chart shows, and every way to move it: pointers, wheel, keys, buttons.
// It draws nothing and knows no readings. Windows are `{from, to}` in seconds.

import { clock, day } from './words.js';

const SHORTEST_S = 30 * 60;
const STEP = 0.25;
const FACTOR = 2;
const TOUCHING_S = 1;
const DRAG_PX = 4;
const TAP_MS = 350;
const TAP_PX = 30;
const PINCH_AT_LEAST = 0.02;
const WHEEL_LINE_PX = 16;
const NOTCH_PX = 25;
const SPEAK_MS = 700;

const length = (view) => view.to - view.from;
const between = (value, low, high) => Math.max(low, Math.min(value, high));

// --- windows -------------------------------------------------------------------------------------

/** The window nearest to `view` that lies within `whole` and is not shorter than 30 minutes. */
export function fit(view, whole) {
  const long = between(length(view), Math.min(SHORTEST_S, length(whole)), length(whole));
  const from = between(view.from, whole.from, whole.to - long);
  return { from, to: from + long };
}

/** Moves by a share of the window's own length; less than 0 is earlier. */
export function panned(view, whole, share) {
  const by = share * length(view);
  return fit({ from: view.from + by, to: view.to + by }, whole);
}

/** Makes the window `factor` times as long; what lies at the share `at` (0 left, 1 right) stays there. */
export function zoomed(view, whole, factor, at) {
  return placed(view.from + at * length(view), at, length(view) * factor, whole);
}

/** The window of a length that has an instant at a share of its width. */
function placed(time, share, long, whole) {
  const possible = between(long, Math.min(SHORTEST_S, length(whole)), length(whole));
  return fit({ from: time - share * possible, to: time + (1 - share) * possible }, whole);
}

/**
 * Where a window goes when the loaded range moves from `before` to `whole`: all of it stays all of it, what
 * ended now goes on ending now, anything else stays where it is for as long as it can.
 */
export function followed(view, before, whole) {
  if (isWhole(view, before)) return whole;
  if (!endsWith(view, before)) return fit(view, whole);
  return fit({ from: whole.to - length(view), to: whole.to }, whole);
}

export const isWhole = (view, whole) => length(view) >= length(whole) - TOUCHING_S;
const endsWith = (view, whole) => view.to >= whole.to - TOUCHING_S;
const beginsWith = (view, whole) => view.from <= whole.from + TOUCHING_S;

/** "Tue 24, 06:00 to 12:00", or with both days where there are two. */
export function windowWords(view) {
  const [from, to] = [view.from, view.to].map((seconds) => new Date(seconds * 1000));
  const days = [day(from), day(to)];
  return `${days[0]}, ${clock(from)} to ${days[0] === days[1] ? '' : `${days[1]}, `}${clock(to)}`;
}

// --- the window that is shown --------------------------------------------------------------------

/**
 * Keeps the window of the chart in `frame` and moves it as people wish. `area` is what they drag; the buttons
 * (`data-move`) and the words for screen readers (`data-part="window"`) are looked for around the frame.
 * `draw(view)` is called at most once a frame; `describe(view)` gives the words; `touched()` is told of a touch.
 */
export function makePanZoom({ frame, area, draw, describe, touched }) {
  const around = frame.closest('[role="group"]');
  const buttons = [...around.querySelectorAll('[data-move]')];
  const spoken = around.querySelector('[data-part="window"]');
  let whole = { from: 0, to: 1 };
  let view = whole;
  let asked = 0;
  let speaking = 0;

  function show(next) {
    view = next;
    if (!asked) asked = requestAnimationFrame(drawNow);
    clearTimeout(speaking);
    speaking = setTimeout(() => { spoken.textContent = describe(view); }, SPEAK_MS);
  }

  function drawNow() {
    asked = 0;
    publish();
    draw(view);
  }

  function publish() {
    frame.dataset.from = view.from.toFixed(1);
    frame.dataset.to = view.to.toFixed(1);
    frame.dataset.zoomed = String(!isWhole(view, whole));
    const rests = {
      earlier: beginsWith(view, whole),
      later: endsWith(view, whole),
      closer: length(view) <= SHORTEST_S + TOUCHING_S,
      wider: isWhole(view, whole),
      whole: isWhole(view, whole),
    };
    // Not `disabled`: a button that rests keeps the focus of whoever has just pressed it.
    for (const button of buttons) button.setAttribute('aria-disabled', String(rests[button.dataset.move]));
  }

  const pan = (share) => show(panned(view, whole, share));
  const zoom = (factor, at = endsWith(view, whole) ? 1 : 0.5) => show(zoomed(view, whole, factor, at));
  const moves = {
    earlier: () => pan(-STEP),
    later: () => pan(STEP),
    closer: () => zoom(1 / FACTOR),
    wider: () => zoom(FACTOR),
    whole: () => show(whole),
    oldest: () => show(fit({ from: whole.from, to: whole.from + length(view) }, whole)),
    newest: () => show(fit({ from: whole.to - length(view), to: whole.to }, whole)),
    pan,
    zoom,
    timeAt: (share) => view.from + share * length(view),
    /** Puts instants back under the fingers that hold them: `[{time, share}]`, one or two. */
    hold: (fingers) => show(held(fingers, view, whole)),
    isWhole: () => isWhole(view, whole),
    touched,
  };

  for (const button of buttons) button.addEventListener('click', () => moves[button.dataset.move]());
  listenToKeys(frame, moves);
  listenToWheel(area, moves);
  listenToPointers(area, moves);

  return {
    view: () => view,
    isWhole: moves.isWhole,
    /** Takes a new loaded range without losing the person's window, unless it is a range of another length. */
    load(next) {
      const other = Math.abs(length(next) - length(whole)) > TOUCHING_S;
      view = other ? next : followed(view, whole, next);
      whole = next;
      publish();
    },
    /** Back to all that is loaded, without a word. */
    reset() {
      clearTimeout(speaking);
      spoken.textContent = '';
      view = whole;
      drawNow();
    },
  };
}

function held([one, other], view, whole) {
  if (!other) return placed(one.time, one.share, length(view), whole);
  const [left, right] = one.time <= other.time ? [one, other] : [other, one];
  const long = (right.time - left.time) / Math.max(right.share - left.share, PINCH_AT_LEAST);
  return placed((left.time + right.time) / 2, (left.share + right.share) / 2, long, whole);
}

// --- ways to move it -----------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: 'earlier',
  ArrowRight: 'later',
  '+': 'closer',
  '=': 'closer',
  '-': 'wider',
  _: 'wider',
  Home: 'oldest',
  End: 'newest',
  Escape: 'whole',
  0: 'whole',
};

/** Keys with ctrl, alt or ⌘ are the browser's own. */
function listenToKeys(frame, moves) {
  frame.addEventListener('keydown', (event) => {
    const move = event.ctrlKey || event.metaKey || event.altKey ? undefined : KEYS[event.key];
    if (!move) return;
    event.preventDefault();
    moves[move]();
  });
}

/** Sideways moves, with ctrl or ⌘ zooms; up and down alone goes on scrolling the page. */
function listenToWheel(area, moves) {
  area.addEventListener('wheel', (event) => {
    const pixels = event.deltaMode === 0 ? 1 : WHEEL_LINE_PX;
    const turned = event.shiftKey && event.deltaX === 0;
    const across = (turned ? event.deltaY : event.deltaX) * pixels;
    const down = (turned ? 0 : event.deltaY) * pixels;
    const { left, width } = area.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      moves.zoom(Math.exp(between(down, -NOTCH_PX, NOTCH_PX) / 100), between((event.clientX - left) / width, 0, 1));
    } else if (Math.abs(across) > Math.abs(down) && !moves.isWhole()) {
      event.preventDefault();
      moves.pan(across / width);
    }
  }, { passive: false });
}

/** One pointer drags, two pinch, two quick clicks or taps show all. */
function listenToPointers(area, moves) {
  const fingers = new Map();
  let box = area.getBoundingClientRect();
  let dragging = false;
  let tap = { at: -TAP_MS, x: 0 };

  const shareOf = (event) => (event.clientX - box.left) / box.width;
  const holdOn = () => fingers.forEach((finger) => { finger.time = moves.timeAt(finger.share); });

  function down(event) {
    if (event.button !== 0 || fingers.size === 2) return;
    box = area.getBoundingClientRect();
    area.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { share: shareOf(event), x: event.clientX });
    holdOn();
  }

  function move(event) {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.share = shareOf(event);
    if (!dragging) {
      if (fingers.size === 1 && Math.abs(event.clientX - finger.x) < DRAG_PX) return;
      dragging = true;
      if (event.pointerType !== 'mouse') moves.touched();
    }
    moves.hold([...fingers.values()]);
  }

  function up(event) {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    fingers.delete(event.pointerId);
    holdOn();
    if (!dragging && event.type === 'pointerup' && event.pointerType !== 'mouse') tapped(event);
    dragging = dragging && fingers.size > 0;
  }

  function tapped(event) {
    const second = event.timeStamp - tap.at < TAP_MS && Math.abs(event.clientX - tap.x) < TAP_PX;
    tap = { at: second ? -TAP_MS : event.timeStamp, x: event.clientX };
    if (second) moves.whole();
  }

  area.addEventListener('pointerdown', down);
  area.addEventListener('pointermove', move);
  area.addEventListener('pointerup', up);
  area.addEventListener('pointercancel', up);
  area.addEventListener('dblclick', moves.whole);
}
