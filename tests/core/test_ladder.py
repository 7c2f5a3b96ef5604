"""The re-read ladder: no reading below the horizon is missed, whenever it comes and however syncs end."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core import ladder
from evercgm.core.ladder import CLOCK_DOUBT, Reread, Scan, Scans
from evercgm.core.sync import CLOCK_ALLOWANCE, OVERLAP, Window, advance
from evercgm.providers.dexcom import PROVIDER

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEXCOM = PROVIDER.rereads
EACH_SYNC, DAILY, WEEKLY = DEXCOM
# Ends of windows that were read are no instants of readings here.
BEGINNING = NOW - 400 * DAY
JUST_READ = ladder.all_read(DEXCOM, NOW)


def begun(scans: Scans, high_water: datetime, now: datetime, **more: Any) -> Scans:
    return ladder.begin_due(DEXCOM, scans, high_water, now, **more)


def test_what_arrives_30_days_late_is_promised_within_7_days_and_there_is_room_for_an_outage() -> None:
    assert WEEKLY.back - WEEKLY.every >= 31 * DAY
    assert WEEKLY.every <= 7 * DAY - 12 * HOUR
    assert [rung.back for rung in DEXCOM] == [DAY, 8 * DAY, 38 * DAY]
    assert all(rung.window < 30 * DAY for rung in DEXCOM)


def test_each_sync_reads_the_last_day_again_oldest_first() -> None:
    assert ladder.catch_up(DEXCOM, NOW - HOUR, NOW) == [Window(NOW - HOUR - DAY, NOW)]
    after_a_long_rest = ladder.catch_up(DEXCOM, NOW - 40 * DAY, NOW)
    assert (after_a_long_rest[0].start, after_a_long_rest[-1].end) == (NOW - 41 * DAY, NOW)
    assert all(older.end == newer.start + OVERLAP for older, newer in pairwise(after_a_long_rest))


def test_no_scan_begins_before_its_time() -> None:
    scans = begun(JUST_READ, NOW, NOW + DAY - timedelta(minutes=1))

    assert scans == JUST_READ
    assert ladder.to_read(DEXCOM, scans) == []


def test_after_a_day_the_daily_scan_reads_down_to_8_days_and_what_each_sync_reads_is_not_in_it() -> None:
    high_water = NOW + DAY - HOUR

    scans = begun(JUST_READ, high_water, NOW + DAY)

    window = Window(high_water - 8 * DAY, high_water - DAY + OVERLAP)
    assert scans == {"daily": Scan(NOW, NOW + DAY, (window,)), "weekly": Scan(NOW)}
    assert ladder.to_read(DEXCOM, scans) == [window]
    assert ladder.stored(scans, window) == {"daily": Scan(NOW + DAY), "weekly": Scan(NOW)}


def test_after_a_week_the_weekly_scan_is_two_windows_and_reads_for_the_daily_one_too() -> None:
    high_water = now = NOW + WEEKLY.every

    scans = begun({**JUST_READ, "daily": Scan(now - HOUR)}, high_water, now)

    newer, older = ladder.to_read(DEXCOM, scans)
    assert (older.start, newer.end) == (high_water - 38 * DAY, high_water - DAY + OVERLAP)
    assert older.end == newer.start + OVERLAP
    assert max(newer.end - newer.start, older.end - older.start) <= 30 * DAY
    assert (scans["daily"].left, scans["weekly"].left) == ((newer,), (newer, older))


def test_a_scan_that_is_cut_off_goes_on_with_its_next_window() -> None:
    now = NOW + 7 * DAY
    scans = begun(JUST_READ, now, now)
    newer, older = ladder.to_read(DEXCOM, scans)

    half = ladder.stored(scans, newer)
    later = begun(half, now + HOUR, now + HOUR)

    assert later == {"daily": Scan(now), "weekly": Scan(NOW, now, (older,))}
    assert ladder.to_read(DEXCOM, later) == [older]
    # Counted from its beginning: what came since to a window that was read already is for the next one.
    assert ladder.stored(later, older) == {"daily": Scan(now), "weekly": Scan(now)}


def test_a_scan_that_hangs_in_a_window_is_begun_anew_after_its_period() -> None:
    begun_at = NOW + 7 * DAY
    scans = begun(JUST_READ, begun_at, begun_at)
    hanging = ladder.stored(scans, ladder.to_read(DEXCOM, scans)[0])
    now = begun_at + WEEKLY.every

    again = begun(hanging, now, now)

    assert (again["weekly"].done, again["weekly"].begun) == (NOW, now)
    assert again["weekly"].left[0].end == now - DAY + OVERLAP
    assert again["weekly"].left[-1].start == NOW - (WEEKLY.back - WEEKLY.every)


@pytest.mark.parametrize("days", [3, 10, 200])
def test_a_time_without_syncs_deepens_the_next_scan_and_makes_it_one(days: int) -> None:
    now = NOW + days * DAY
    high_water = now - HOUR

    scans = begun(JUST_READ, high_water, now)

    deepest = ladder.to_read(DEXCOM, {"daily": scans["daily"]})[-1].start
    assert deepest <= NOW - 7 * DAY
    finished = scans
    for window in ladder.to_read(DEXCOM, scans):
        finished = ladder.stored(finished, window)
    assert ladder.to_read(DEXCOM, begun(finished, high_water, now + HOUR)) == []


def test_scans_of_which_nothing_is_known_begin_at_once() -> None:
    scans = begun({}, NOW, NOW)

    assert scans["weekly"].left[-1].start == NOW - 38 * DAY


def test_a_scan_that_a_wrong_clock_noted_is_not_believed_and_small_differences_are() -> None:
    ahead = ladder.all_read(DEXCOM, NOW + 365 * DAY)
    near = ladder.all_read(DEXCOM, NOW + CLOCK_DOUBT)

    assert begun(ahead, NOW, NOW)["weekly"].left[-1].start == NOW - 38 * DAY
    assert begun(near, NOW, NOW) == near
    assert ladder.ask_news_since(DEXCOM, ahead, NOW, 30 * DAY) is None


def test_scans_that_begin_together_keep_to_the_shorter_window() -> None:
    rungs = (EACH_SYNC, replace(DAILY, window=3 * DAY), WEEKLY)

    windows = ladder.to_read(rungs, ladder.begin_due(rungs, JUST_READ, NOW + 8 * DAY, NOW + 8 * DAY))

    assert max(window.end - window.start for window in windows) == 3 * DAY


def test_news_from_far_below_deepen_what_begins_and_begin_nothing() -> None:
    late = NOW - 90 * DAY

    assert begun(JUST_READ, NOW, NOW + HOUR, news=late) == JUST_READ
    scans = begun(JUST_READ, NOW + DAY, NOW + DAY, news=late)
    assert scans["daily"].left[-1].start == late
    near = begun(JUST_READ, NOW + DAY, NOW + DAY, news=NOW)
    assert near["daily"].left[-1].start == NOW - 7 * DAY


def test_news_are_asked_for_where_a_scan_begins_and_the_last_is_not_too_long_ago() -> None:
    def since(scans: Scans, now: datetime) -> datetime | None:
        return ladder.ask_news_since(DEXCOM, scans, now, 30 * DAY)

    assert since(JUST_READ, NOW + HOUR) is None
    assert since(JUST_READ, NOW + DAY) == NOW - CLOCK_DOUBT
    assert since({**JUST_READ, "daily": Scan(NOW + 6 * DAY)}, NOW + 7 * DAY) == NOW + 6 * DAY - CLOCK_DOUBT
    assert since(JUST_READ, NOW + 30 * DAY - CLOCK_DOUBT) is None
    assert since({}, NOW) is None


@pytest.mark.parametrize(
    "rungs",
    [
        (),
        (DAILY, WEEKLY),
        (EACH_SYNC, replace(DAILY, every=timedelta(0))),
        (EACH_SYNC, WEEKLY, DAILY),
        (EACH_SYNC, DAILY, replace(WEEKLY, name="daily")),
        (EACH_SYNC, replace(DAILY, back=DAILY.every)),
        (EACH_SYNC, replace(DAILY, back=EACH_SYNC.back, every=HOUR)),
        (EACH_SYNC, replace(DAILY, window=OVERLAP)),
    ],
)
def test_rungs_that_are_no_ladder_are_refused_by_the_record_of_a_provider(rungs: tuple[Reread, ...]) -> None:
    with pytest.raises(ValueError, match=r"rung|sync"):
        replace(PROVIDER, rereads=rungs)


@dataclass(frozen=True)
class Late:
    """A reading and when the vendor has it."""

    measured: datetime
    came: datetime

    @property
    def late(self) -> timedelta:
        return self.came - self.measured


@dataclass
class Keeper:
    """Syncs one after another over a vendor's readings, on the ladder alone; what is stored and where the marks are."""

    rungs: tuple[Reread, ...]
    readings: Sequence[Late]
    high_water: datetime | None = None
    scans: Scans = field(default_factory=dict)
    stored: set[Late] = field(default_factory=set)

    def sync(self, at: datetime, clock: timedelta, stops_after: int | None) -> None:
        """At a true moment, by a clock that goes wrong by ``clock``; cut off after so many windows."""
        now = at + clock
        deep: list[Window] = []
        if self.high_water is None:
            new, scans = [Window(BEGINNING, now + CLOCK_ALLOWANCE)], self.scans
        else:
            scans = ladder.begin_due(self.rungs, self.scans, self.high_water, now)
            new = ladder.catch_up(self.rungs, self.high_water, now + CLOCK_ALLOWANCE)
            deep = ladder.to_read(self.rungs, scans)
        for window in [*new, *deep][:stops_after]:
            shown = [one for one in self.readings if one.came <= at and window.start <= one.measured < window.end]
            self.stored.update(shown)
            newest = max((one.measured for one in shown), default=None)
            if self.high_water is None and newest is not None:
                scans = self.scans = ladder.all_read(self.rungs, now)
            self.high_water = advance(self.high_water, newest, now)
            scans = ladder.stored(scans, window)
            if window in deep:
                self.scans = scans
        self.check()

    def check(self) -> None:
        """What a scan says is done, is."""
        for rung in self.rungs[1:]:
            done = self.scans.get(rung.name, Scan()).done
            if done is not None:
                came, late = done - A_LITTLE, rung.back - rung.every - A_LITTLE
                assert [one for one in self.missing() if one.came <= came and one.late <= late] == []

    def missing(self) -> list[Late]:
        return [one for one in self.readings if one not in self.stored]


# More than clocks differ by here.
A_LITTLE = timedelta(minutes=30)
CLOCKS = st.integers(-14, 14).map(lambda minutes: timedelta(minutes=minutes))
LATENESS = st.sampled_from([23 * HOUR, 26 * HOUR, 6 * DAY, 7 * DAY - A_LITTLE, 12 * DAY, 29 * DAY, 30 * DAY])
PAUSES = st.sampled_from([timedelta(minutes=5), 6 * HOUR, 17 * HOUR, DAY, 30 * HOUR, 4 * DAY, 7 * DAY, 35 * DAY])
SYNCS = st.lists(st.tuples(PAUSES, CLOCKS, st.none() | st.integers(0, 3)), min_size=5, max_size=30)
LADDERS = st.builds(
    lambda each, first, second, every_first, every_second, window: (
        Reread("each", each, timedelta(0), window),
        Reread("first", each + first + every_first, every_first, window),
        Reread("second", each + first + every_first + second + every_second, every_second, window),
    ),
    *[st.timedeltas(HOUR, 20 * DAY)] * 3,
    *[st.timedeltas(HOUR, 9 * DAY)] * 2,
    st.timedeltas(3 * DAY, 40 * DAY),
)


def stream(late: timedelta, every: timedelta, days: int = 120) -> list[Late]:
    """Readings that all come as late, from before the first sync on."""
    first = NOW - 20 * DAY
    return [Late(first + n * every, first + n * every + late) for n in range((days + 20) * DAY // every)]


def two_phones(late: list[timedelta]) -> list[Late]:
    """One uploads within the hour, so that the high water is always near; others as late as is said."""
    return [one for n, lateness in enumerate(late) for one in stream(lateness, (7 + n) * HOUR)] + stream(HOUR, 5 * HOUR)


PHONES = st.lists(LATENESS, min_size=1, max_size=3)


@given(LADDERS | st.just(DEXCOM), PHONES, SYNCS)
def test_what_a_scan_counts_as_read_is_stored_whatever_the_ladder_and_however_syncs_end(
    rungs: tuple[Reread, ...], late: list[timedelta], syncs: list[tuple[timedelta, timedelta, int | None]]
) -> None:
    keeper = Keeper(rungs, two_phones(late))
    at = NOW

    for pause, clock, stops_after in syncs:
        at += pause
        keeper.sync(at, clock, stops_after)


@given(PHONES, SYNCS)
def test_what_comes_within_30_days_is_stored_by_the_first_whole_sync_half_a_day_before_its_week_is_over(
    late: list[timedelta], syncs: list[tuple[timedelta, timedelta, int | None]]
) -> None:
    keeper = Keeper(DEXCOM, two_phones(late))
    at = NOW

    for pause, clock, stops_after in [*syncs, (WEEKLY.every, timedelta(0), None)]:
        at += pause
        keeper.sync(at, clock, stops_after)
        if stops_after is None:
            assert [one for one in keeper.missing() if one.came <= at - WEEKLY.every - A_LITTLE] == []


@given(st.integers(1, 300))
def test_scans_cost_one_window_a_day_and_one_more_a_week_however_often_is_synced(every_minutes: int) -> None:
    scans, read, days = JUST_READ, 0, 14
    at = NOW

    while at < NOW + days * DAY:
        scans = begun(scans, at - HOUR, at)
        for window in ladder.to_read(DEXCOM, scans):
            read += 1
            scans = ladder.stored(scans, window)
        at += timedelta(minutes=every_minutes)

    assert days - 4 <= read <= days + 3
