"""Workers with the settings they come with: the promises of docs/operation.md, in full length."""

import signal
from collections.abc import Callable, Iterator

import pytest
from demo_process import passable_folder
from fleet import Fleet, open_fleet
from machines import namespaces_work
from test_many_workers import ENDS_WITHIN_S, PERSONS, TAKEN_OVER_WITHIN, begin, broken_rules, takeovers

CLOCKS = {"one": 0, "two": 0}


@pytest.fixture
def fleet(record_property: Callable[[str, object], None]) -> Iterator[Fleet]:
    apart = namespaces_work()
    record_property("told", f"workers as shipped: {'network namespaces' if apart else 'plain processes'}")
    with (
        passable_folder() as folder,
        open_fleet(folder, apart=apart, clocks=CLOCKS, persons=PERSONS, options=()) as all_,
    ):
        yield all_


def test_what_a_killed_one_had_in_hand_is_taken_over_within_a_minute(fleet: Fleet) -> None:
    victim = fleet.workers[0]
    fleet.slow(3)
    in_hand = begin(fleet, victim)

    victim.signal(signal.SIGKILL)
    since = fleet.now()
    fleet.slow(None)
    fleet.come_to_rest()

    took = takeovers(fleet, in_hand, since)
    assert len(took) == len(in_hand) > 0
    assert max(took) < TAKEN_OVER_WITHIN
    assert broken_rules(fleet) == []


def test_one_that_is_cut_off_and_told_to_go_leaves_within_ten_seconds_and_others_go_on(fleet: Fleet) -> None:
    going = fleet.workers[0]
    fleet.slow(3)
    in_hand = begin(fleet, going)

    going.machine.cut_off()
    since = fleet.now()
    going.signal(signal.SIGTERM)
    going.process.wait(ENDS_WITHIN_S)
    fleet.slow(None)
    fleet.come_to_rest()

    took = takeovers(fleet, in_hand, since)
    assert len(took) == len(in_hand) > 0
    assert max(took) < TAKEN_OVER_WITHIN
    assert broken_rules(fleet) == []
