// The live stream of one person: an EventSource, opened anew for as long as it is wanted. It fetches and shows nothing.

const AGAIN_FIRST_MS = 2_000;
const AGAIN_AT_MOST_MS = 60_000;
// A connected sensor tells something every five minutes: a stream that is silent for longer may be dead.
const QUIET_MS = 6 * 60_000;
const KINDS = ['reading', 'connection', 'sync'];
// Over HTTP/1.1 a browser has six connections to one server for all its windows; some must stay free for calls.
const STREAMS_OF_A_BROWSER = 4;

/**
 * Makes the stream. `host` gives `address(personId)`, `told(kind, what, personId)` for each event, `opened()`, and
 * `lost()` when a stream ends that was open. An EventSource gives up for good at the first answer that is not 200, and
 * does not say which: we open a new one, at first after 2 s, at last once a minute.
 */
export function makeLive(host) {
  let wanted = null;
  let attempt = null;
  let failures = 0;
  let timer = 0;

  /** Follows a person from now on; the one before is followed no more. Nothing happens where it is so already. */
  function follow(personId) {
    const dead = attempt?.open && Date.now() - attempt.heardAt > QUIET_MS;
    if (personId === wanted && !dead) return;
    wanted = personId;
    restart();
  }

  /** Opens the stream at once, whatever has failed before; nothing where nobody is followed. */
  function restart() {
    failures = 0;
    end();
    if (wanted !== null) open();
  }

  function stop() {
    wanted = null;
    end();
  }

  function end() {
    clearTimeout(timer);
    attempt?.source?.close();
    attempt?.free?.();
    attempt = null;
  }

  async function open() {
    const made = { open: false, heardAt: Date.now(), source: null, free: null };
    attempt = made;
    const free = await takePlace();
    if (made !== attempt) return free?.();
    if (!free) return failed();
    made.free = free;
    listen(made, wanted);
  }

  /** Only the present attempt may speak: whoever was followed before must not get into this one's view. */
  function listen(made, personId) {
    made.source = new EventSource(host.address(personId));
    made.source.onopen = () => {
      if (made !== attempt) return;
      made.open = true;
      failures = 0;
      host.opened();
    };
    made.source.onerror = () => { if (made === attempt) failed(); };
    for (const kind of KINDS) {
      made.source.addEventListener(kind, (event) => {
        if (made !== attempt) return;
        made.heardAt = Date.now();
        host.told(kind, JSON.parse(event.data), personId);
      });
    }
  }

  function failed() {
    const wasOpen = attempt.open;
    end();
    timer = setTimeout(open, Math.min(AGAIN_AT_MOST_MS, AGAIN_FIRST_MS * 2 ** failures));
    failures += 1;
    if (wasOpen) host.lost();
  }

  return { follow, restart, stop, isOpen: () => attempt?.open ?? false };
}

/** A place among this browser's streams: what gives it back, or null where all are taken. */
async function takePlace() {
  if (!navigator.locks) return () => {};
  for (let place = 1; place <= STREAMS_OF_A_BROWSER; place += 1) {
    const free = await lock(`evercgm.stream.${place}`);
    if (free) return free;
  }
  return null;
}

function lock(name) {
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (got) => (got ? new Promise(resolve) : resolve(null)))
      .catch(() => resolve(() => {}));
  });
}
