"""Which windows one sync reads, in which order, whether an answer may be believed, and what is then known. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from evercgm.core import ladder
from evercgm.core import sync as schedule
from evercgm.core.ladder import Scans
from evercgm.core.reading import UNREAD, Batch
from evercgm.core.sync import Window
from evercgm.provider_kit.contract import Provider, Survey
from evercgm.storage.connections import Loaded
from evercgm.storage.runs import Run

# Old windows give way to other people's new readings for so long, and then no more: late data have their promise, too.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Step:
    """A window to read, and what is known once it is stored: how far down history is, whether it is done.

    ``gives_way``: what is old waits for a later sync while other people's new readings wait for a worker.
    """

    window: Window
    history_start: datetime | None = None
    history_done: bool = False
    moves_high_water: bool = True
    gives_way: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """How far reading has come. ``believed``: no window of this sync was doubtful so far."""

    high_water: datetime | None
    scans: Scans
    believed: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows of one sync in order; all are read after ``made_at``. ``marks``: before the first of them.

    ``survey``: what the vendor says it holds, where it was asked.
    """

    steps: list[Step]
    marks: Marks
    made_at: datetime
    survey: Survey | None


def plan(
    loaded: Loaded,
    run: Run,
    survey: Survey | None,
    provider: Provider,
    now: datetime,
    news: datetime | None = None,
) -> Plan:
    """An asked window alone; else what is new, then what is read again, then older history.

    ``news``: when the first of what the vendor calls new was measured.
    """
    end = now + schedule.CLOCK_ALLOWANCE
    marks = Marks(loaded.high_water, loaded.scans)
    if is_asked(run):
        return Plan(_asked(loaded, run, survey, provider, end), marks, now, survey)
    steps: list[Step] = []
    if loaded.high_water is not None:
        scans = ladder.begin_due(provider.rereads, loaded.scans, loaded.high_water, now, news)
        marks = replace(marks, scans=scans)
        steps += [Step(window) for window in ladder.catch_up(provider.rereads, loaded.high_water, end)]
        patient = not ladder.hangs(scans, now, PATIENCE)
        steps += [
            Step(window, moves_high_water=False, gives_way=patient)
            for window in ladder.to_read(provider.rereads, scans)
        ]
    return Plan(steps + _history(loaded, survey, end, provider.longest_window, now), marks, now, survey)


def after(
    marks: Marks, step: Step, plan: Plan, provider: Provider, now: datetime, *, newest: datetime | None, doubtful: bool
) -> Marks:
    """What is known once a step of the plan is stored; ``newest`` of what it showed.

    From the first doubtful one on the cursor stays, so that it is read again; a scan reads its doubtful windows again.
    """
    believed = marks.believed and not doubtful
    scans = marks.scans if doubtful else ladder.stored(marks.scans, step.window)
    high_water = marks.high_water
    if believed and step.moves_high_water:
        high_water = schedule.advance(high_water, newest, now)
    if marks.high_water is None and high_water is not None:
        # The first of history: from here on everything is being read, each depth of it.
        scans = ladder.all_read(provider.rereads, plan.made_at)
    return Marks(high_water, scans, believed)


def news_since(loaded: Loaded, run: Run, provider: Provider, now: datetime) -> datetime | None:
    """From when on to ask what came new; None where no scan of a complete history begins, or it cannot be asked."""
    if provider.news is None or is_asked(run) or not is_complete(loaded):
        return None
    return ladder.ask_news_since(provider.rereads, loaded.scans, now, provider.news.reach)


def believable_news(loaded: Loaded, news: datetime | None) -> datetime | None:
    """``news``, unless it is the first reading of all: then the vendor did not look at what is new."""
    return None if news == loaded.history_start else news


def is_asked(run: Run) -> bool:
    """Whether somebody asked for a window."""
    return run.window_from is not None or run.window_to is not None


def _asked(loaded: Loaded, run: Run, survey: Survey | None, provider: Provider, end: datetime) -> list[Step]:
    end = min(run.window_to or end, end)
    start = run.window_from or (loaded.high_water or end) - provider.rereads[0].back
    if survey is not None and survey.first is not None:
        # Nothing is older than this: a window from long ago must not spend the vendor's limits.
        start = max(start, survey.first)
    windows = schedule.backward_windows(start, end, provider.longest_window)
    return [Step(window, moves_high_water=False) for window in windows]


def _history(loaded: Loaded, survey: Survey | None, end: datetime, longest: timedelta, now: datetime) -> list[Step]:
    """From where history ended last time down to the vendor's first reading, newest first; the first of all at once."""
    if survey is None or survey.first is None or is_complete(loaded):
        return []
    # Without a cursor nothing was ever stored, whatever the marks say.
    upper = (loaded.history_start if loaded.high_water is not None else None) or end
    windows = schedule.backward_windows(survey.first, upper, longest)
    last = len(windows) - 1
    patient = loaded.connected_at is None or now - loaded.connected_at < PATIENCE
    return [
        Step(
            window,
            history_start=window.start,
            history_done=n == last,
            gives_way=patient and (n > 0 or loaded.high_water is not None),
        )
        for n, window in enumerate(windows)
    ]


def is_complete(loaded: Loaded) -> bool:
    """Whether the history was read down to the vendor's first reading."""
    return loaded.history_done and loaded.high_water is not None


def is_empty(batch: Batch) -> bool:
    """Whether an answer holds nothing at all, no present value either."""
    return not (batch.readings or batch.rejected or batch.live)


def hides_readings(window: Window, batch: Batch, survey: Survey | None) -> bool:
    """Whether the vendor says that its first or last reading lies in the window, and then shows nothing there."""
    if survey is None or not is_empty(batch):
        return False
    ends = (instant for instant in (survey.first, survey.last) if instant is not None)
    return any(window.start <= instant < window.end for instant in ends)


def none_readable(batch: Batch) -> bool:
    """Whether there were records, and all in units, times or forms that we do not know."""
    shown = batch.readings or batch.live
    return not shown and bool(batch.rejected) and all(record.reason in UNREAD for record in batch.rejected)
