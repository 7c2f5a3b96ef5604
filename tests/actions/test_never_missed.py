"""Whatever order readings come in and however syncs end, what is below the horizon is read; plans and marks, no I/O."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from hypothesis import given, settings
from hypothesis import strategies as st

from evercgm.actions import windows
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Survey
from evercgm.providers.dexcom import PROVIDER
from evercgm.storage.connections import Loaded
from evercgm.storage.runs import Run

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NO_NEWS = replace(PROVIDER, news=None)
FRESH = Loaded(
    id="c", person_id="p", provider="dexcom", region="us", account_id="a",
    tokens=Tokens(Secret(""), Secret(""), START, 7200), status="connected", high_water=None, device_id=None,
    generation=0, history_start=None, history_done=False, scans={}, next_sync_at=None, failure_count=0, reason=None,
    adopted=False, previous_kept=False, refreshing=False, connected_at=START, quiet=0,
    due=True, side_due=False, keep_alive_due=False, has_side_routes=False, read_at=START,
)  # fmt: skip
_MEASURED = attrgetter("measured")
UNASKED = Run("r", "c", "schedule", "running", None, None, job_id=None, starts=1, fresh=True)


@dataclass(frozen=True)
class Late:
    """A reading, when the vendor has it, and how often its record comes in a form that cannot be read."""

    measured: datetime
    came: datetime
    odd: int = 0


@dataclass(frozen=True)
class Turn:
    """A sync after a pause, by a clock that is off, cut off after so many windows; perhaps of an asked window."""

    pause: timedelta
    clock: timedelta = timedelta(0)
    stops_after: int | None = None
    asked: tuple[timedelta, timedelta] | None = None


@dataclass
class Life:
    """One connection: what its vendor has and gets (by time), what is stored, and where its marks are."""

    readings: Sequence[Late]
    at: datetime = START
    loaded: Loaded = FRESH
    stored: set[Late] = field(default_factory=set)
    oddly_seen: dict[Late, int] = field(default_factory=dict)
    order: list[datetime] = field(default_factory=list)

    def take(self, turn: Turn) -> None:
        self.at += turn.pause
        now = self.at + turn.clock
        run = UNASKED
        if turn.asked is not None:
            run = replace(run, window_from=now - turn.asked[0], window_to=now - turn.asked[1])
        complete = windows.is_complete(self.loaded) and not windows.is_asked(run)
        plan = windows.plan(self.loaded, run, None if complete else self._survey(), NO_NEWS, now)
        marks = plan.marks
        for step in plan.steps[: turn.stops_after]:
            newest, doubtful = self._read(step)
            marks = windows.after(marks, step, plan, NO_NEWS, now, newest=newest, doubtful=doubtful)
            self.loaded = replace(
                self.loaded,
                high_water=marks.high_water,
                scans=marks.scans,
                history_start=(step.history_start if marks.believed else None) or self.loaded.history_start,
                history_done=self.loaded.history_done or (marks.believed and step.history_done),
            )
            self.order.append(step.window.start)

    def _read(self, step: windows.Step) -> tuple[datetime | None, bool]:
        """Store what a window shows; the newest of it, and whether a record of it could not be read."""
        ends = (bisect_left(self.readings, at, key=_MEASURED) for at in (step.window.start, step.window.end))
        shown = [one for one in self.readings[slice(*ends)] if one.came <= self.at]
        odd = [one for one in shown if self.oddly_seen.get(one, 0) < one.odd]
        for one in odd:
            self.oddly_seen[one] = self.oddly_seen.get(one, 0) + 1
        read = [one for one in shown if one not in odd]
        self.stored.update(read)
        return max((one.measured for one in read), default=None), bool(odd)

    def _survey(self) -> Survey:
        there = [one.measured for one in self.readings if one.came <= self.at]
        return Survey("a", min(there, default=None), max(there, default=None), None)

    def missing(self, came_by: datetime) -> list[Late]:
        return [one for one in self.readings if one.came <= came_by and one not in self.stored]


@dataclass(frozen=True)
class Stream:
    """Readings that all come as late, from some days before the first sync on; some records are odd at first."""

    late: timedelta
    every: timedelta
    odd: int = 0
    first_day: int = 3

    def readings(self, days: int = 110) -> Iterator[Late]:
        first = START - self.first_day * DAY
        for n in range((self.first_day + days) * DAY // self.every):
            measured = first + n * self.every
            yield Late(measured, measured + self.late, self.odd if n % 17 == 5 else 0)


def by_time(streams: Iterable[Stream], days: int = 110) -> list[Late]:
    return sorted((one for each in streams for one in each.readings(days)), key=_MEASURED)


STREAMS = st.lists(
    st.builds(
        Stream,
        st.sampled_from([0 * HOUR, 3 * HOUR, 23 * HOUR, 26 * HOUR, 6 * DAY, 12 * DAY, 29 * DAY, 30 * DAY]),
        st.sampled_from([9 * HOUR, 23 * HOUR]),
        st.integers(0, 3),
        st.sampled_from([0, 3, 100]),
    ),
    min_size=1,
    max_size=3,
)
TURNS = st.lists(
    st.builds(
        Turn,
        st.sampled_from([5 * MINUTE, HOUR, 9 * HOUR, DAY, 30 * HOUR, 4 * DAY, 7 * DAY, 40 * DAY]),
        st.integers(-14, 14).map(lambda minutes: minutes * MINUTE),
        st.none() | st.integers(0, 4),
        st.none() | st.none() | st.tuples(st.just(50 * DAY), st.integers(0, 10).map(lambda days: days * DAY)),
    ),
    max_size=20,
)
# What any service does in the end: it syncs. Odd records need a few tries, and a week holds each kind of scan.
IN_THE_END = [Turn(HOUR)] * 6 + [Turn(6 * HOUR)] * 28


@given(STREAMS, TURNS)
def test_what_comes_within_30_days_of_being_measured_is_stored_a_week_after_it_came(
    streams: list[Stream], turns: list[Turn]
) -> None:
    life = Life(by_time(streams))

    for turn in turns:
        life.take(turn)
    came_by = life.at
    for turn in IN_THE_END:
        life.take(turn)

    assert life.missing(came_by) == []


@settings(max_examples=30)
@given(STREAMS, TURNS)
def test_at_rest_a_sync_is_one_window_and_scans_come_at_their_time_only(
    streams: list[Stream], turns: list[Turn]
) -> None:
    turns = [*turns, *IN_THE_END]
    # Of a person who wears a sensor all the time: without new readings the stretch to catch up with grows.
    worn = sum((turn.pause for turn in turns), 8 * DAY)
    life = Life(by_time([*streams, Stream(HOUR, 6 * HOUR)], worn // DAY))
    for turn in turns:
        life.take(turn)
    life.order.clear()

    for _ in range(7 * 24):
        life.take(Turn(HOUR))

    assert 7 * 24 + 7 <= len(life.order) <= 7 * 24 + 7 + 3 + 6


@given(STREAMS)
def test_the_first_history_is_read_newest_first_and_counts_as_a_scan_of_each_kind(streams: list[Stream]) -> None:
    life = Life(by_time(streams))

    life.take(Turn(DAY))

    assert life.order == sorted(life.order, reverse=True)
    if life.loaded.high_water is not None:
        assert {scan.done for scan in life.loaded.scans.values()} == {life.at}
