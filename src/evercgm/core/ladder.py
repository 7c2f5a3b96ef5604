"""The re-read ladder: what of the past is read again now, and from when on it counts as read. Pure; aware UTC.

A vendor shows late readings below the cursor. Each rung reads down to another depth at another pace, counted from the
last scan of its kind that was read to its end: an outage, theirs or ours, makes the next one deeper, never a hole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from evercgm.core.sync import OVERLAP, Window, backward_windows

# Clocks of our machines differ: a scan from further ahead than this was noted by a clock that was wrong.
CLOCK_DOUBT = timedelta(hours=1)
NEVER_WAITS = timedelta(0)


@dataclass(frozen=True, slots=True)
class Reread:
    """One rung: ``every`` so often, what was measured since ``back`` before the high water is read again.

    ``every`` zero: at each sync. A rung that waits is a scan: whatever comes up to ``back - every`` after it was
    measured is read within ``every`` of its coming. ``window``: the longest stretch it asks for at once.
    """

    name: str
    back: timedelta
    every: timedelta
    window: timedelta


@dataclass(frozen=True, slots=True)
class Scan:
    """Where the scan of one rung stands.

    ``done``: all that had come by then, as deep as the rung promises, is stored or known to be unreadable. ``left``:
    windows still to read, newest first, of the scan that began at ``begun``; after the last one ``begun`` is ``done``.
    """

    done: datetime | None = None
    begun: datetime | None = None
    left: tuple[Window, ...] = ()


# By the rung's name.
Scans = Mapping[str, Scan]


def check(rereads: tuple[Reread, ...]) -> None:
    """Raises ValueError unless this is a ladder: the rung of each sync, then scans, each deeper than the one before."""
    if not rereads or rereads[0].every != NEVER_WAITS or any(rung.every <= NEVER_WAITS for rung in rereads[1:]):
        raise ValueError("exactly the first rung is read at each sync")
    backs = [rung.back for rung in rereads]
    if len({rung.name for rung in rereads}) < len(rereads) or sorted(set(backs)) != backs:
        raise ValueError("each rung has a name of its own and goes deeper than the one before")
    if any(rung.back <= rung.every or rung.window <= OVERLAP for rung in rereads):
        raise ValueError("a rung goes back further than its own period, in windows above their overlap")


def catch_up(rereads: tuple[Reread, ...], high_water: datetime, end: datetime) -> list[Window]:
    """What each sync reads, oldest first, so that the high water may follow each window."""
    each_sync = rereads[0]
    return backward_windows(high_water - each_sync.back, end, each_sync.window)[::-1]


def begin_due(
    rereads: tuple[Reread, ...], scans: Scans, high_water: datetime, now: datetime, news: datetime | None = None
) -> Scans:
    """The scans, with those begun whose time has come; the sync that begins them must catch up first.

    A deeper one reads for the shallower ones as well: they begin with it and share its windows. ``news``: when the
    first of what the vendor calls new was measured; what begins reaches down to it.
    """
    due = _due(rereads, scans, now)
    if not due:
        return scans
    starts = {rung.name: _start(rung, scans, high_water, now, news) for rung in due}
    # What lies above is read by the catch-up.
    end = high_water - rereads[0].back + OVERLAP
    windows = backward_windows(min(starts.values()), end, min(rung.window for rung in due))
    begun = {
        name: Scan(_done(scans, name, now), now, tuple(window for window in windows if window.end > start))
        for name, start in starts.items()
    }
    return {**scans, **begun}


def to_read(rereads: tuple[Reread, ...], scans: Scans) -> list[Window]:
    """The windows of all scans under way, each once: shallow scans first, newest windows first."""
    left = (window for rung in rereads[1:] for window in _of(scans, rung.name).left)
    return list(dict.fromkeys(left))


def stored(scans: Scans, window: Window) -> Scans:
    """The scans after what ``window`` showed was stored: for each one that waited for it, it is read."""
    return {name: _without(scan, window) for name, scan in scans.items()}


def hangs(scans: Scans, now: datetime, patience: timedelta) -> bool:
    """Whether a scan that was begun so long ago still has windows to read."""
    return any(scan.left and scan.begun is not None and now - scan.begun >= patience for scan in scans.values())


def all_read(rereads: tuple[Reread, ...], since: datetime) -> Scans:
    """The scans where everything there is was, or is being, read for the first time from ``since`` on."""
    return {rung.name: Scan(done=since) for rung in rereads[1:]}


def ask_news_since(rereads: tuple[Reread, ...], scans: Scans, now: datetime, reach: timedelta) -> datetime | None:
    """From when on a vendor may be asked what came new, before scans begin; None where none begins.

    None as well where that moment is unknown, or as long ago as ``reach``: the vendor's answer would not be sound.
    """
    done = [at for rung in _due(rereads, scans, now) if (at := _done(scans, rung.name, now)) is not None]
    if not done:
        return None
    since = max(done) - CLOCK_DOUBT
    return since if now - since < reach else None


def _due(rereads: tuple[Reread, ...], scans: Scans, now: datetime) -> tuple[Reread, ...]:
    """Down to the deepest whose time has come: it passes the others on its way."""
    places = [place for place, rung in enumerate(rereads) if place > 0 and _is_due(rung, scans, now)]
    return rereads[1 : max(places) + 1] if places else ()


def _is_due(rung: Reread, scans: Scans, now: datetime) -> bool:
    scan = _of(scans, rung.name)
    since = scan.begun if scan.left else scan.done
    # One that hangs in a window is begun anew after its period: its other windows must not wait for ever.
    return since is None or since > now + CLOCK_DOUBT or now - since >= rung.every


def _start(rung: Reread, scans: Scans, high_water: datetime, now: datetime, news: datetime | None) -> datetime:
    """As deep as the rung goes below the high water, and as it promises below the last scan that was done."""
    reaches: Iterable[datetime | None] = (high_water - rung.back, _promised(rung, _done(scans, rung.name, now)), news)
    return min(at for at in reaches if at is not None)


def _promised(rung: Reread, done: datetime | None) -> datetime | None:
    return None if done is None else done - (rung.back - rung.every)


def _done(scans: Scans, name: str, now: datetime) -> datetime | None:
    done = _of(scans, name).done
    return None if done is None or done > now + CLOCK_DOUBT else done


def _of(scans: Scans, name: str) -> Scan:
    return scans.get(name, Scan())


def _without(scan: Scan, window: Window) -> Scan:
    if window not in scan.left:
        return scan
    left = tuple(other for other in scan.left if other != window)
    return replace(scan, left=left) if left else Scan(done=scan.begun)
