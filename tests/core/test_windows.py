"""Windows that leave nothing out, a high water that never goes back, waits that double."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.sync import (
    OVERLAP,
    Window,
    advance,
    backward_windows,
    next_live_poll,
    next_poll,
    next_retry,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(2015, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
LONGEST = st.timedeltas(timedelta(days=1), timedelta(days=90))
CHANCES = st.floats(0, 1, exclude_max=True)


@given(INSTANTS, INSTANTS, LONGEST)
def test_windows_cover_everything_newest_first_and_none_is_too_long(
    one: datetime, other: datetime, longest: timedelta
) -> None:
    start, end = sorted([one, other])
    windows = backward_windows(start, end, longest)

    assert bool(windows) == (start < end)
    if windows:
        assert (windows[-1].start, windows[0].end) == (start, end)
    assert all(timedelta(0) < window.end - window.start <= longest for window in windows)
    assert all(newer.start + OVERLAP == older.end for newer, older in pairwise(windows))


def test_thirty_one_days_are_two_windows() -> None:
    start, longest = NOW - timedelta(days=31), timedelta(days=29, hours=23, minutes=59)
    edge = NOW - longest

    assert backward_windows(start, NOW, longest) == [Window(edge, NOW), Window(start, edge + OVERLAP)]


def test_nothing_lies_between_a_moment_and_itself_or_an_earlier_one() -> None:
    assert backward_windows(NOW, NOW, timedelta(days=30)) == []
    assert backward_windows(NOW, NOW - timedelta(days=1), timedelta(days=30)) == []


def test_windows_no_longer_than_their_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        backward_windows(NOW - timedelta(days=1), NOW, OVERLAP)


@given(st.none() | INSTANTS, st.none() | INSTANTS, INSTANTS)
def test_the_high_water_never_goes_back_nor_beyond_now(
    high_water: datetime | None, newest: datetime | None, now: datetime
) -> None:
    moved = advance(high_water, newest, now)

    if high_water is not None:
        assert moved is not None
        assert moved >= high_water
    if moved != high_water:
        assert moved is not None
        assert moved <= now
    if newest is not None and newest <= now:
        assert moved is not None
        assert moved >= newest


@given(CHANCES)
def test_the_next_poll_comes_within_a_tenth_of_its_turn(chance: float) -> None:
    wait = next_poll(NOW, timedelta(minutes=5), chance) - NOW

    assert timedelta(minutes=4.5) <= wait <= timedelta(minutes=5.5)


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_waits_double_from_a_minute_to_an_hour(failures: int, minutes: int) -> None:
    assert next_retry(NOW, failures, 0.0) == NOW + timedelta(minutes=minutes)


@given(st.integers(1, 100), CHANCES, st.none() | st.timedeltas(timedelta(0), timedelta(days=9)))
def test_a_vendors_wish_is_obeyed_up_to_an_hour(failures: int, chance: float, asked: timedelta | None) -> None:
    wait = next_retry(NOW, failures, chance, asked) - NOW

    assert timedelta(minutes=1) <= wait <= timedelta(hours=1.2)
    assert asked is None or wait >= min(asked, timedelta(hours=1))


@given(st.floats(0, 0.999), st.integers(0, 100))
def test_while_nothing_is_new_the_wait_grows_to_four_times_and_no_further(chance: float, quiet: int) -> None:
    every = timedelta(minutes=5)

    wait = next_poll(NOW, every, chance, quiet) - NOW

    factor = 1 if quiet <= 3 else min(quiet - 2, 4)
    assert every * factor * 0.89 <= wait <= every * factor * 1.11


@given(
    st.floats(0, 0.999),
    st.one_of(st.none(), st.floats(-60, 3600 * 5)),
    st.integers(0, 10),
)
def test_a_live_poll_comes_when_the_next_reading_should_be_there_and_never_at_once(
    chance: float, age_s: float | None, quiet: int
) -> None:
    newest = None if age_s is None else NOW - timedelta(seconds=age_s)
    cadence, live = timedelta(minutes=5), timedelta(seconds=20)

    at = next_live_poll(NOW, newest, cadence, live, chance, quiet)

    assert timedelta(seconds=30) <= at - NOW <= cadence * 4.5
    if newest is not None and NOW - newest <= cadence * 4 and quiet <= 3:
        after_a_reading = (at - newest - live) % cadence
        assert after_a_reading <= timedelta(seconds=18, microseconds=2) or cadence - after_a_reading < timedelta(
            microseconds=2
        )
