// When to look: at once when asked, soon when something was told, else every now and then, ever more rarely while it
// fails. It does not know what a look is.

const SOON_MS = 300;
const BACK_OFF_FIRST_MS = 5_000;
const BACK_OFF_AT_MOST_MS = 60_000;

/**
 * Makes the planner. `host` gives `look()`, a promise; `every()`, the ms until the next look after one that went well;
 * `failed(error)`, called for one that did not. While the page is hidden no look is planned.
 */
export function makeLooks(host) {
  let timer = 0;
  let soonTimer = 0;
  let failures = 0;
  let running = null;
  let again = false;

  /** Looks now. Never two looks at once: a wish during one is one more look after it. */
  function now() {
    clearTimeout(timer);
    clearTimeout(soonTimer);
    soonTimer = 0;
    if (running) {
      again = true;
      return running;
    }
    running = once().finally(() => {
      running = null;
      if (again) {
        again = false;
        now();
      }
    });
    return running;
  }

  /** Looks within 300 ms: what is told in one burst needs one look. */
  function soon() {
    if (!soonTimer && !document.hidden) soonTimer = setTimeout(now, SOON_MS);
  }

  async function once() {
    try {
      await host.look();
      failures = 0;
      plan(host.every());
    } catch (error) {
      plan(Math.min(BACK_OFF_AT_MOST_MS, BACK_OFF_FIRST_MS * 2 ** failures));
      failures += 1;
      host.failed(error);
    }
  }

  function plan(wait) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(now, wait);
  }

  /** Plans nothing more until somebody asks; what failed before is forgotten. */
  function rest() {
    clearTimeout(timer);
    clearTimeout(soonTimer);
    soonTimer = 0;
    failures = 0;
  }

  return { now, soon, rest };
}
