// The glucose chart: one uPlot, coloured by the tokens of style.css. It draws a line and fetches nothing.
// Which part of the line is in view is pan_zoom.js's matter.

import uPlot from './vendor/uPlot.esm.js';
import { makePanZoom, windowWords } from './pan_zoom.js';
import { TARGET, summary } from './readings.js';
import { marks, number, withUnit } from './units.js';
import { axisClock, day, dayAndClock, gapWords } from './words.js';

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const STEPS_S = [300, 600, 900, 1800, ...[1, 2, 3, 6, 12, 24, 48, 72, 96, 168].map((hours) => hours * HOUR_S)];
const EMPTY = { times: [], values: [], flags: [], gaps: 0, points: 0 };
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/**
 * Makes the chart in `frame`. `onPoint(text)` gets the words for the point under the pointer, else for the window
 * where it is a part of the range, else ''.
 */
export function makeChart(frame, onPoint) {
  let line = EMPTY;
  let gaps = [];
  let values = valueRange([]);
  let view = { from: 0, to: 1 };
  let colours = readColours();
  const plot = new uPlot(options(), [[], []], frame);
  const panZoom = makePanZoom({ frame, area: plot.over, draw, describe, touched: hidePointer });

  function options() {
    return {
      ...size(frame),
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        bind: { dblclick: () => null },
        points: { size: 10, width: 2, fill: () => colours.surface, stroke: (u, s) => pointColour(u.cursor.idxs[s]) },
      },
      scales: {
        x: { time: true, range: () => [view.from, view.to] },
        // Of all that is loaded, so that nothing jumps up and down while the window moves.
        y: { range: () => values },
      },
      axes: [
        {
          font: FONT,
          stroke: () => colours.muted,
          space: () => (view.to - view.from < 3 * HOUR_S ? 68 : 50),
          size: 32,
          gap: 6,
          grid: { show: false },
          ticks: { stroke: () => colours.grid, size: 5, width: 1 },
          incrs: STEPS_S,
          splits: (u, axis, from, to, step) => timeTicks(from, to, step),
          values: (u, splits, axis, space, step) => splits.map((at) => wholeLabel(u, at, timeLabel(at, step))),
        },
        {
          font: FONT,
          stroke: () => colours.muted,
          size: 44,
          gap: 6,
          splits: (u, axis, low, high) => marks().filter((mark) => mark >= low && mark <= high),
          values: (u, splits) => splits.map(number),
          grid: { stroke: () => colours.grid, width: 1 },
          ticks: { show: false },
        },
      ],
      series: [
        {},
        {
          width: 2,
          spanGaps: false,
          stroke: (u) => byRange(u),
          points: { show: true, size: 5, width: 0, fill: (u) => byRange(u), stroke: (u) => byRange(u), filter: pointsToDraw },
        },
      ],
      hooks: { drawClear: [drawBand, drawGaps], draw: [drawFlagged], setCursor: [tell] },
    };
  }

  function pointColour(index) {
    const value = line.values[index];
    if (value == null) return colours.line;
    if (value > TARGET.high) return colours.high;
    return value < TARGET.low ? colours.low : colours.line;
  }

  /** The line's paint: one colour within the target, one above, one below, cut at the limits. */
  function byRange(u) {
    const { top, height } = u.bbox;
    const high = (u.valToPos(TARGET.high, 'y', true) - top) / height;
    const low = (u.valToPos(TARGET.low, 'y', true) - top) / height;
    if (!(high >= 0 && low <= 1 && high < low)) return colours.line;
    const paint = u.ctx.createLinearGradient(0, top, 0, top + height);
    for (const [from, to, colour] of [[0, high, colours.high], [high, low, colours.line], [low, 1, colours.low]]) {
      paint.addColorStop(from, colour);
      paint.addColorStop(to, colour);
    }
    return paint;
  }

  /** Dots for all readings in view where there is room, else only for those that no line reaches. */
  function pointsToDraw(u) {
    const shown = [];
    const roomy = u.width / ((view.to - view.from) / 300) > 2.8;
    const [first, end] = inView();
    for (let index = first; index < end; index += 1) {
      const alone = line.values[index - 1] == null && line.values[index + 1] == null;
      if (line.values[index] !== null && (roomy || alone)) shown.push(index);
    }
    return shown;
  }

  /** The places of the readings in view: from the first, to before the end. */
  function inView() {
    return [firstAt(line.times, view.from), firstAt(line.times, view.to)];
  }

  function drawBand(u) {
    const { left, width } = u.bbox;
    const top = u.valToPos(TARGET.high, 'y', true);
    const bottom = u.valToPos(TARGET.low, 'y', true);
    if (!(bottom > top)) return;
    u.ctx.save();
    u.ctx.fillStyle = colours.band;
    u.ctx.fillRect(left, top, width, bottom - top);
    u.ctx.restore();
  }

  /** Where readings are missing: hatched, so that it is told from the band without colour. */
  function drawGaps(u) {
    const { top, height } = u.bbox;
    u.ctx.save();
    for (const gap of gaps) {
      const left = u.valToPos(Math.max(gap.from, view.from), 'x', true);
      const right = u.valToPos(Math.min(gap.to, view.to), 'x', true);
      if (right - left < 1) continue;
      u.ctx.fillStyle = hatching(u.ctx, colours.gap);
      u.ctx.fillRect(left, top, right - left, height);
    }
    u.ctx.restore();
  }

  /** Triangles where the sensor said only "below" or "above what I measure". */
  function drawFlagged(u) {
    const half = 5 * devicePixelRatio;
    const [first, end] = inView();
    u.ctx.save();
    for (let index = first; index < end; index += 1) {
      const flag = line.flags[index];
      if (!flag) continue;
      const x = u.valToPos(line.times[index], 'x', true);
      const y = u.valToPos(line.values[index], 'y', true);
      const down = flag === 'low' ? 1 : -1;
      u.ctx.beginPath();
      u.ctx.moveTo(x - half, y - down * half);
      u.ctx.lineTo(x + half, y - down * half);
      u.ctx.lineTo(x, y + down * half);
      u.ctx.closePath();
      u.ctx.fillStyle = flag === 'low' ? colours.low : colours.high;
      u.ctx.strokeStyle = colours.surface;
      u.ctx.lineWidth = 1.5 * devicePixelRatio;
      u.ctx.fill();
      u.ctx.stroke();
    }
    u.ctx.restore();
  }

  function tell(u) {
    const gap = u.cursor.left < 0 ? null : gapAt(u.posToVal(u.cursor.left, 'x'));
    if (gap) return onPoint(gapWords(gap));
    const index = u.cursor.idx;
    const value = index == null ? null : line.values[index];
    if (value == null || u.cursor.left < 0) return onPoint(panZoom.isWhole() ? '' : windowWords(view));
    const flag = line.flags[index];
    const words = flag ? (flag === 'low' ? 'below the sensor’s range' : 'above the sensor’s range') : withUnit(value);
    return onPoint(`${dayAndClock(new Date(line.times[index] * 1000))} · ${words}`);
  }

  function gapAt(seconds) {
    return gaps.find((gap) => seconds >= gap.from && seconds < gap.to) ?? null;
  }

  function draw(next) {
    view = next;
    plot.setScale('x', { min: view.from, max: view.to });
    if (plot.cursor.left < 0) tell(plot);
  }

  function hidePointer() {
    plot.setCursor({ left: -10, top: -10 });
  }

  /** What a screen reader says of the window: its times, and what lies in it. */
  function describe() {
    const part = inView();
    const sum = summary({ values: line.values.slice(...part), flags: line.flags.slice(...part) });
    const times = `${panZoom.isWhole() ? 'Whole range, ' : ''}${windowWords(view)}`;
    return sum ? `${times}: lowest ${number(sum.lowest)}, highest ${withUnit(sum.highest)}.` : `${times}: no readings.`;
  }

  function recolour() {
    colours = readColours();
    plot.redraw(false, true);
  }

  new ResizeObserver(() => {
    const next = size(frame);
    if (next.width !== plot.width || next.height !== plot.height) plot.setSize(next);
  }).observe(frame);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolour);

  return {
    /**
     * Shows a line (readings.js `asLine`) that was loaded between two instants in seconds. A window that the person
     * has chosen stays, unless the range has another length.
     */
    show(nextLine, from, to) {
      panZoom.load({ from, to });
      if (nextLine !== line) {
        line = nextLine;
        values = valueRange(line.values);
        view = panZoom.view();
        plot.setData([line.times, line.values]);
      }
      draw(panZoom.view());
      frame.dataset.points = String(line.points);
      frame.dataset.gaps = String(line.gaps);
    },
    /** Marks stretches without readings (api.js `gapsBetween`). */
    mark(next) {
      if (next === gaps) return;
      gaps = next;
      frame.dataset.missing = String(gaps.length);
      plot.redraw(false, false);
    },
    /** Forgets the person's window: the whole range is in view again. */
    reset: panZoom.reset,
    /** Draws again with the axis in the unit that is now chosen. */
    relabel: () => plot.redraw(false, true),
    data: () => ({ times: [...line.times], values: [...line.values] }),
  };
}

/** Thin lines in one direction, as a paint. */
function hatching(ctx, colour) {
  const step = 6 * devicePixelRatio;
  const tile = new OffscreenCanvas(step, step);
  const pen = tile.getContext('2d');
  pen.strokeStyle = colour;
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  for (const shift of [-step, 0, step]) {
    pen.moveTo(shift, step);
    pen.lineTo(shift + step, 0);
  }
  pen.stroke();
  return ctx.createPattern(tile, 'repeat');
}

function size(frame) {
  return { width: Math.max(200, Math.floor(frame.clientWidth)), height: Math.max(180, Math.floor(frame.clientHeight)) };
}

/** From 40 (30 where something is that low) to the next fifty above the highest, 250 to about 400. */
function valueRange(values) {
  const real = values.filter((value) => value !== null);
  const lowest = real.reduce((a, b) => Math.min(a, b), 70);
  const highest = real.reduce((a, b) => Math.max(a, b), 230);
  return [lowest < 50 ? 30 : 40, highest > 390 ? 418 : Math.ceil((highest + 8) / 50) * 50];
}

/** The first place in a sorted array whose value is at least `value`. */
function firstAt(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Ticks that stay with their instants while the window moves: counted from midnight, whole days from one same day. */
function timeTicks(from, to, step) {
  const ticks = [];
  const day = new Date(from * 1000);
  day.setHours(0, 0, 0, 0);
  for (; day <= to * 1000; day.setDate(day.getDate() + 1)) {
    const date = [day.getFullYear(), day.getMonth(), day.getDate()];
    const seen = Date.UTC(...date) / 1000 % Math.max(step, DAY_S) === 0;
    for (let second = 0; seen && second < DAY_S; second += step) ticks.push(new Date(...date, 0, 0, second) / 1000);
  }
  return ticks.filter((at, index) => at >= from && at <= to && at > (ticks[index - 1] ?? -Infinity));
}

function timeLabel(seconds, step) {
  const date = new Date(seconds * 1000);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  return midnight || step >= DAY_S ? day(date) : axisClock(date);
}

/** A label centred at an instant, or '' where it would cross the right edge; on the left there is room beside the plot. */
function wholeLabel(u, at, label) {
  u.ctx.save();
  u.ctx.font = FONT;
  const half = u.ctx.measureText(label).width / 2;
  u.ctx.restore();
  // Drawn at a whole pixel: up to half a one further right than computed.
  return u.bbox.left / devicePixelRatio + u.valToPos(at, 'x') + half + 1 > u.width ? '' : label;
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    line: token('chart-line'),
    high: token('chart-high'),
    low: token('chart-low'),
    band: token('chart-band'),
    grid: token('chart-grid'),
    gap: token('chart-gap'),
    muted: token('ink-quiet'),
    surface: token('surface'),
  };
}
