"""Budgets and pauses as arithmetic: tables, and properties over any order of wishes."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evercgm.core.limits import (
    ASK_AGAIN_S,
    BLOCK_LASTS,
    COUNTED_FOR,
    FORGIVEN_AFTER,
    LARGEST_BLOCK,
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    Books,
    CallLimits,
    Grant,
    Pause,
    Urgency,
    Wait,
    after_429,
    circuit,
    grant,
    next_block,
    pause_s,
)

NOW = datetime(2026, 11, 24, 8, 0, 20, tzinfo=UTC)
LIMITS = CallLimits(an_hour=1000, for_people=0.1)
HOUR = timedelta(hours=1)


def books(used: int = 0, pause: Pause | None = None, oldest: datetime | None = None) -> Books:
    return Books(NOW, used, oldest, pause)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("used", "caller", "wanted", "calls"),
    [
        (0, "background", 5, 5),
        (0, "person", 5, 5),
        (860, "background", 10, 5),  # an eighth of what is left
        (899, "background", 10, 1),
        (900, "background", 10, 0),
        (900, "person", 10, 10),
        (999, "person", 10, 1),
        (1000, "person", 10, 0),
        (1005, "person", 1, 0),
    ],
)
def test_the_last_part_of_the_budget_waits_for_people(used: int, caller: Urgency, wanted: int, calls: int) -> None:
    assert grant(books(used), LIMITS, caller, wanted).calls == calls


def test_who_gets_nothing_waits_until_the_oldest_calls_are_an_hour_and_two_minutes_old() -> None:
    oldest = NOW - timedelta(minutes=50)

    assert grant(books(1000, oldest=oldest), LIMITS, "person", 1) == Grant(0, "used_up", 12 * 60)


def test_without_a_known_limit_only_a_pause_holds_calls_back() -> None:
    assert grant(books(10**9), None, "background", 7).calls == 7
    assert grant(books(pause=Pause(NOW + seconds(30))), None, "person", 7) == Grant(0, "paused", 30)


@pytest.mark.parametrize(("an_hour", "for_people"), [(0, 0.1), (-1, 0.1), (10, 1.0), (10, -0.1), (10, 7)])
def test_limits_that_leave_nothing_are_refused(an_hour: int, for_people: float) -> None:
    with pytest.raises(ValueError, match="at least one call"):
        CallLimits(an_hour, for_people)


@pytest.mark.parametrize(
    ("pause", "state", "granted"),
    [
        (None, "closed", Grant(4)),
        (Pause(NOW - seconds(1), over=True), "closed", Grant(4)),
        (Pause(NOW + seconds(90)), "open", Grant(0, "paused", 90)),
        (Pause(NOW), "half_open", Grant(1, probe_of=NOW)),
        (Pause(NOW, probe_until=NOW + seconds(1)), "half_open", Grant(0, "paused", ASK_AGAIN_S)),
        # A probe that never came back.
        (Pause(NOW - seconds(70), probe_until=NOW), "half_open", Grant(1, probe_of=NOW - seconds(70))),
    ],
)
def test_a_pause_ends_with_one_probe_at_a_time(pause: Pause | None, state: str, granted: Grant) -> None:
    assert circuit(pause, NOW) == state
    assert grant(books(pause=pause), LIMITS, "background", 4) == granted


def test_a_probe_counts_as_a_call() -> None:
    assert grant(books(1000, Pause(NOW)), LIMITS, "person", 1).why == "used_up"


@pytest.mark.parametrize(
    ("asked_s", "strikes", "expected"),
    [
        (None, 1, 60),
        (None, 2, 120),
        (None, 3, 240),
        (None, 7, 3600),
        (0, 1, 30),
        (0, 2, 60),
        (29, 1, 30),
        (120, 1, 120),
        (120, 4, 240),
        (1800, 2, 1800),
        (3600, 1, 3600),
        (3600, 99, 3600),
        (0, 10**6, 3600),
    ],
)
def test_a_pause_is_what_the_vendor_asks_within_bounds_and_grows(
    asked_s: int | None, strikes: int, expected: int
) -> None:
    assert pause_s(asked_s, strikes) == expected


@given(st.one_of(st.none(), st.integers(0, LONGEST_PAUSE_S)), st.integers(1, 10**6))
def test_whatever_is_asked_a_pause_has_its_bounds(asked_s: int | None, strikes: int) -> None:
    assert SHORTEST_PAUSE_S <= pause_s(asked_s, strikes) <= LONGEST_PAUSE_S


def test_calls_that_were_under_way_when_a_pause_began_are_no_new_strikes() -> None:
    first = after_429(None, NOW, None, 0.2)
    second = after_429(first, NOW + seconds(5), None, 6)

    assert (first.strikes, first.until) == (1, NOW + seconds(60))
    assert (second.strikes, second.until) == (1, NOW + seconds(65))


def test_a_shorter_wish_does_not_shorten_a_pause_and_a_longer_one_lengthens_it() -> None:
    pause = Pause(NOW + seconds(600))

    assert after_429(pause, NOW, 30, 1) == pause
    assert after_429(pause, NOW, 900, 1).until == NOW + seconds(900)


def test_a_refused_probe_and_a_429_soon_after_a_pause_are_strikes() -> None:
    probed = after_429(Pause(NOW - seconds(1), 1, probe_until=NOW + seconds(59)), NOW, None, 0.5)
    soon = after_429(Pause(NOW - seconds(300), 2, over=True), NOW, 0, 0.5)

    assert probed == Pause(NOW + seconds(120), 2)
    assert soon == Pause(NOW + seconds(120), 3)


def test_an_hour_without_a_429_is_a_new_beginning() -> None:
    assert after_429(Pause(NOW - FORGIVEN_AFTER, 5, over=True), NOW, None, 1) == Pause(NOW + seconds(60), 1)


@pytest.mark.parametrize(
    ("size", "used", "in_time", "expected"), [(2, 2, True, 4), (32, 32, True, 32), (8, 3, False, 3), (8, 0, False, 1)]
)
def test_a_process_asks_for_as_many_calls_as_it_used(size: int, used: int, in_time: bool, expected: int) -> None:
    assert next_block(size, used, in_time=in_time) == expected


# A wish: seconds since the one before, who, how many; of those granted, how many are made and how late they arrive.
WISHES = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 400), st.floats(3450, 3750)), st.sampled_from(["person", "background"]),
        st.integers(1, LARGEST_BLOCK), st.floats(0, 1), st.one_of(st.floats(0, 55), st.just(55.0)),
    ),
    max_size=60,
)  # fmt: skip


@given(WISHES, st.integers(0, 59), st.one_of(st.integers(1, 3), st.integers(1, 60)), st.sampled_from([0.0, 0.1, 0.5]))
@example([(0, "person", 1, 1, 55), (3541, "person", 1, 1, 0)], 59, 1, 0.0)
def test_in_no_hour_do_more_calls_arrive_than_the_limit(
    wishes: list[tuple[float, Urgency, int, float, float]], second: int, an_hour: int, for_people: float
) -> None:
    limits = CallLimits(an_hour, for_people)
    counted: Counter[datetime] = Counter()
    arrivals: list[datetime] = []
    now = NOW.replace(second=second)
    for waited, caller, wanted, share, late in wishes:
        now += seconds(waited)
        alive = {minute: calls for minute, calls in counted.items() if calls and minute > now - COUNTED_FOR}
        found = Books(now, sum(alive.values()), min(alive, default=None), None)
        granted = grant(found, limits, caller, wanted)
        if granted.calls and caller == "background":
            assert found.used + granted.calls <= limits.most("background")
        # What is not made is handed back.
        made = round(granted.calls * share)
        counted[now.replace(second=0, microsecond=0)] += made
        arrivals += [now + BLOCK_LASTS + seconds(late)] * made

    arrivals.sort()
    assert all(
        sum(1 for other in arrivals if start <= other < start + HOUR) <= an_hour for start in dict.fromkeys(arrivals)
    )


@pytest.mark.parametrize(
    ("asked_s", "strikes", "wait", "expected"),
    [
        (None, 1, Wait(first_s=600), 600),
        (None, 2, Wait(first_s=600), 1200),
        (None, 9, Wait(first_s=600), 3600),
        (40, 1, Wait(first_s=600), 40),
        (None, 1, Wait(3600, 3600), 3600),
        (5, 1, Wait(3600, 3600), 3600),
        (5, 1, Wait(900, 900, 86_400), 900),
        (None, 4, Wait(900, 900, 86_400), 7200),
        (65_620, 1, Wait(900, 900, 86_400), 65_620),
        (10**9, 1, Wait(900, 900, 86_400), 86_400),
        (None, 10**6, Wait(900, 900, 86_400), 86_400),
    ],
)
def test_a_place_may_have_waits_of_its_own(asked_s: int | None, strikes: int, wait: Wait, expected: int) -> None:
    assert pause_s(asked_s, strikes, wait) == expected
    assert after_429(None, NOW, asked_s, 0, wait).until == NOW + seconds(pause_s(asked_s, 1, wait))
