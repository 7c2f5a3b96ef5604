"""Which windows one sync reads, in which order, and whether an answer may be believed. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from evercgm.core import sync as schedule
from evercgm.core.reading import UNREAD, Batch
from evercgm.core.sync import Window
from evercgm.provider_kit.contract import Provider, Survey
from evercgm.storage.connections import Loaded
from evercgm.storage.runs import Run


@dataclass(frozen=True, slots=True)
class Step:
    """A window to read, and what is known once it is stored: how far down history is, whether it is done."""

    window: Window
    history_start: datetime | None = None
    history_done: bool = False
    moves_high_water: bool = True


def plan(loaded: Loaded, run: Run, survey: Survey | None, provider: Provider, now: datetime) -> list[Step]:
    """The windows of this sync, in order. An asked window alone; else what is new, then older history."""
    end = now + schedule.CLOCK_ALLOWANCE
    longest = provider.longest_window
    if run.window_from is not None or run.window_to is not None:
        asked_end = min(run.window_to or end, end)
        start = run.window_from or (loaded.high_water or asked_end) - schedule.REREAD
        if survey is not None and survey.first is not None:
            # Nothing is older than this: a window from long ago must not spend the vendor's limits.
            start = max(start, survey.first)
        return [Step(window, moves_high_water=False) for window in schedule.backward_windows(start, asked_end, longest)]
    steps = _catch_up(loaded, end, longest)
    return steps + _history(loaded, survey, end, longest)


def _catch_up(loaded: Loaded, end: datetime, longest: timedelta) -> list[Step]:
    """From 24 h before the high water to now, oldest first: the cursor may follow each window."""
    if loaded.high_water is None:
        return []
    start = schedule.incremental_start(loaded.high_water)
    return [Step(window) for window in reversed(schedule.backward_windows(start, end, longest))]


def _history(loaded: Loaded, survey: Survey | None, end: datetime, longest: timedelta) -> list[Step]:
    """From where history ended last time down to the vendor's first reading, newest first."""
    if survey is None or survey.first is None or is_complete(loaded):
        return []
    # Without a cursor nothing was ever stored, whatever the marks say.
    upper = (loaded.history_start if loaded.high_water is not None else None) or end
    windows = schedule.backward_windows(survey.first, upper, longest)
    last = len(windows) - 1
    return [Step(window, history_start=window.start, history_done=n == last) for n, window in enumerate(windows)]


def is_complete(loaded: Loaded) -> bool:
    """Whether the history was read down to the vendor's first reading."""
    return loaded.history_done and loaded.high_water is not None


def is_empty(batch: Batch) -> bool:
    """Whether an answer holds nothing at all."""
    return not batch.readings and not batch.rejected


def hides_readings(window: Window, batch: Batch, survey: Survey | None) -> bool:
    """Whether the vendor says that its first or last reading lies in the window, and then shows nothing there."""
    if survey is None or not is_empty(batch):
        return False
    ends = (instant for instant in (survey.first, survey.last) if instant is not None)
    return any(window.start <= instant < window.end for instant in ends)


def none_readable(batch: Batch) -> bool:
    """Whether there were records, and all in units, times or forms that we do not know."""
    return not batch.readings and bool(batch.rejected) and all(record.reason in UNREAD for record in batch.rejected)
