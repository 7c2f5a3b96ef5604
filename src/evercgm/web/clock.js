// The service's time: what its answers say, carried on by this browser's clocks. A clock that is wrong here must not
// make an old value look young. No document here.

// The Date header has whole seconds, and a server renews it only about once a second.
const HEADER_LAG_MS = 2_500;

let anchor = null;

/**
 * Learns the time from an answer: its Date header and the instant (`Date.now()`) at which it was asked for. The header
 * was written while the answer was on its way, or up to 2.5 s before: the latest instant that it may mean is taken, so
 * that an age is never told too small.
 */
export function learn(header, askedAt) {
  const told = Date.parse(header ?? '');
  if (!Number.isFinite(told)) return;
  const here = Date.now();
  anchor = { service: told + HEADER_LAG_MS + Math.max(0, here - askedAt), here, steady: performance.now() };
}

/**
 * Now in ms since 1970, as the service has it; this browser's own clock before the first answer. One clock here may
 * stand still while the machine sleeps and the other may be set back: the one that has run on further counts.
 */
export function now() {
  if (!anchor) return Date.now();
  return anchor.service + Math.max(0, Date.now() - anchor.here, performance.now() - anchor.steady);
}
