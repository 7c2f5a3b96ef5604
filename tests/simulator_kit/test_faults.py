"""Switches: which call is struck, how often, for whom; and what is said about a wrong one."""

from datetime import UTC, datetime, timedelta

import pytest

from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.faults import Fault, FaultError, FaultKind, Switchboard, read_text

RAIN: FaultKind[int] = FaultKind(
    "rain", int, "whole millimetres", "rain=3", "It rains.", places=("street", "garden", "cellar"),
    only_if_named=("cellar",),
)  # fmt: skip
NAME: FaultKind[str] = FaultKind("name", str, "any text", "name=x", "A text.")
FLOOD: FaultKind[bool] = FaultKind("flood", bool, "true", "flood=true", "The ground.", per_call=False, lasting=True)
KINDS = (RAIN, NAME, FLOOD)


def test_a_switch_that_is_off_strikes_nobody() -> None:
    assert Switchboard(KINDS).take(RAIN, "street") is None


def test_a_count_strikes_the_next_calls_and_then_rests() -> None:
    board = Switchboard(KINDS)
    fault = board.add(Fault(RAIN, 3, count=2))

    struck = [board.take(RAIN, "street") for _ in range(4)]

    assert struck == [3, 3, None, None]
    assert (fault.count, fault.hits) == (0, 2)
    assert board.active == [fault]


def test_chance_is_seeded() -> None:
    def struck(seed: int) -> list[int | None]:
        board = Switchboard(KINDS, seed)
        board.add(Fault(RAIN, 3, probability=0.5))
        return [board.take(RAIN, "street") for _ in range(40)]

    assert struck(1) == struck(1) != struck(2)
    assert 10 < struck(1).count(3) < 30


def test_a_path_and_a_user_narrow_it() -> None:
    board = Switchboard(KINDS)
    board.add(Fault(RAIN, 1, path="garden"))
    board.add(Fault(RAIN, 2, username="ann"))

    assert board.take(RAIN, "garden", "bob") == 1
    assert board.take(RAIN, "street", "bob") is None
    assert board.take(RAIN, "street", "ann") == 2
    assert board.has_username_scope()


def test_some_paths_are_struck_only_when_named() -> None:
    board = Switchboard(KINDS)
    board.add(Fault(RAIN, 1))

    assert board.take(RAIN, "cellar") is None
    board.add(Fault(RAIN, 2, path="cellar"))
    assert board.take(RAIN, "cellar") == 2
    assert board.take(RAIN, "elsewhere") is None


def test_the_later_replaces_the_earlier_of_the_same_scope() -> None:
    board = Switchboard(KINDS)
    board.add(Fault(RAIN, 1))
    board.add(Fault(RAIN, 2))

    assert [fault.value for fault in board.active] == [2]


def test_false_turns_it_off_and_clearing_turns_off_one_or_all() -> None:
    board = Switchboard(KINDS)
    board.add(Fault(FLOOD, True))
    board.add(Fault(FLOOD, False))
    assert board.active == []

    board.add(Fault(FLOOD, True))
    board.add(Fault(RAIN, 1))
    board.clear("rain")
    assert [fault.kind for fault in board.active] == [FLOOD]
    board.clear()
    assert board.active == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(RAIN, 1, count=0), "fault rain: count 0; right is a whole number from 1"),
        (Fault(RAIN, 1, probability=1.5), "fault rain: probability 1.5; right is above 0, at most 1"),
        (Fault(RAIN, 1, path="roof"), "fault rain: path 'roof'; right is street, garden, cellar"),
        (Fault(FLOOD, True, count=1), "fault flood: is not about single calls; right is no count, probability or path"),
    ],
)
def test_a_senseless_limit_is_refused_in_one_line(fault: Fault, said: str) -> None:
    with pytest.raises(FaultError) as refused:
        Switchboard(KINDS).add(fault)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("text", "value"), [("rain=3", 3), ("name=120", "120"), ("name=a=b", "a=b"), ("flood=true", True)]
)
def test_a_command_line_gives_name_and_value(text: str, value: object) -> None:
    assert read_text(KINDS, text)[1] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("snow=1", "fault 'snow': there is none with this name; there are flood, name, rain"),
        ("rain", "fault rain: has no value; right is whole millimetres, as in rain=3"),
        ("rain=much", "fault rain: Expected `int`, got `str`; right is whole millimetres, as in rain=3"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(FaultError) as refused:
        read_text(KINDS, text)
    assert str(refused.value) == said


def test_a_clock_moves_on_and_ticks_from_there() -> None:
    base = datetime(2026, 3, 1, tzinfo=UTC)
    clock = VirtualClock(lambda: base)

    clock.advance(timedelta(hours=2))
    assert clock() == base + timedelta(hours=2)
    clock.set_now(datetime(2027, 1, 1, tzinfo=UTC))
    base += timedelta(seconds=1)
    assert clock() == datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC)

    with pytest.raises(OverflowError):
        clock.advance(timedelta(days=9_000_000))
    assert clock() == datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC)
