"""Which windows to read and when to read again: pure arithmetic on aware UTC instants."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# A vendor's clock may run ahead of ours: ask a little past now.
CLOCK_ALLOWANCE = timedelta(minutes=5)
OVERLAP = timedelta(seconds=1)
# A sensor that is changed or out of reach for a while is no reason to look less often.
QUIET_ALLOWED = 3
LONGEST_QUIET_WAIT = 4
SHORTEST_LIVE_WAIT = timedelta(seconds=30)
LIVE_JITTER = timedelta(seconds=18)
RETRY_FIRST = timedelta(minutes=1)
RETRY_LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` inclusive to ``end`` exclusive, both aware UTC."""

    start: datetime
    end: datetime


def backward_windows(start: datetime, end: datetime, longest: timedelta) -> list[Window]:
    """Windows of at most ``longest`` over [start, end), newest first, each overlapping the next by 1 s.

    Empty when nothing lies between them. Raises ValueError if ``longest`` is not above the overlap.
    """
    if longest <= OVERLAP:
        raise ValueError("longest must be above the overlap of windows")
    windows: list[Window] = []
    while start < end:
        low = max(start, end - longest)
        windows.append(Window(low, end))
        if low == start:
            break
        end = low + OVERLAP
    return windows


def advance(high_water: datetime | None, newest: datetime | None, now: datetime) -> datetime | None:
    """The new high water: never backward; never past ``now``, whatever a record from the future says."""
    if newest is None:
        return high_water
    newest = min(newest, now)
    return newest if high_water is None else max(high_water, newest)


def next_poll(now: datetime, every: timedelta, chance: float, quiet: int = 0) -> datetime:
    """When to sync again after a success: ``every`` ± 10 %, by ``chance`` in [0, 1).

    ``quiet``: how many syncs in a row have found nothing; after a few the wait grows, to four times ``every``.
    """
    wait = every * min(max(quiet - QUIET_ALLOWED, 0) + 1, LONGEST_QUIET_WAIT)
    return now + wait * (0.9 + 0.2 * chance)


def next_live_poll(
    now: datetime, newest: datetime | None, cadence: timedelta, live: timedelta, chance: float, quiet: int = 0
) -> datetime:
    """When the next reading should be there, at a vendor that shows each one ``live`` after it was measured.

    Some seconds later by ``chance`` in [0, 1); never within half a minute. Where readings stay away: as ``next_poll``.
    """
    if newest is None or now - newest > cadence * LONGEST_QUIET_WAIT or quiet > QUIET_ALLOWED:
        return next_poll(now, cadence, chance, quiet)
    expected = newest + live + LIVE_JITTER * chance
    while expected < now + SHORTEST_LIVE_WAIT:
        expected += cadence
    return expected


def next_retry(now: datetime, failures: int, chance: float, asked: timedelta | None = None) -> datetime:
    """When to try again after ``failures`` (>= 1) in a row: 1 min doubling to 1 h, jitter up to +20 %.

    ``asked`` is the vendor's own wish (Retry-After); it is obeyed up to one hour.
    """
    wait = min(RETRY_FIRST * int(2 ** min(failures - 1, 10)), RETRY_LONGEST)
    if asked is not None:
        wait = max(wait, min(asked, RETRY_LONGEST))
    return now + wait * (1 + 0.2 * chance)
