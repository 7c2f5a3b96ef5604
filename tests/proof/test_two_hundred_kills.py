"""The same as in tests/e2e, twenty times as often and with twenty persons."""

from demo_process import passable_folder
from kills import VICTIMS, besiege

KILLS, PERSONS = 200, 20


def test_after_two_hundred_kills_nothing_is_lost_and_nothing_doubled() -> None:
    with passable_folder() as folder:
        siege = besiege(folder, persons=PERSONS, kills=KILLS, seed=200)
        try:
            assert sum(siege.deaths.values()) >= KILLS
            assert min(siege.deaths[victim] for victim in VICTIMS) > KILLS / 10, siege.deaths
            assert siege.resumed() > KILLS / 10
            assert siege.doubled() == []
        finally:
            siege.demo.stop()
