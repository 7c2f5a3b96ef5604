// Why readings are missing: the stretches of the chart's range, the newest first, as a list below it.

import { span, stretch } from './words.js';

const byId = (id) => document.getElementById(id);
const MOST = 50;

/** Shows stretches (api.js `gapsBetween`). Where only the vendor's usual delay is left there is nothing to explain. */
export function showGaps(gaps) {
  const told = JSON.stringify(gaps);
  const place = byId('gaps');
  if (place.dataset.print === told) return;
  place.dataset.print = told;
  place.hidden = gaps.every((gap) => gap.reason === 'vendor_delay');
  const newest = gaps.slice(-MOST).reverse();
  byId('gaps-summary').textContent = `Why readings are missing (${gaps.length})`;
  byId('gaps-list').replaceChildren(...newest.map(line));
  if (gaps.length > MOST) byId('gaps-list').append(line({ message: `Older ones are not shown: ${gaps.length - MOST}.` }));
}

function line(gap) {
  const item = document.createElement('li');
  const when = document.createElement('span');
  const why = document.createElement('small');
  when.textContent = gap.from ? `${stretch(gap.from, gap.to)} (${span((gap.to - gap.from) * 1000)})` : '';
  why.textContent = gap.message;
  item.dataset.reason = gap.reason ?? '';
  item.append(when, why);
  return item;
}
