"""Worker, API and PostgreSQL killed at random moments in a running sync: at the end the series is the vendor's."""

from demo_process import passable_folder
from kills import besiege

KILLS, PERSONS = 10, 6


def test_after_ten_kills_nothing_is_lost_and_nothing_doubled() -> None:
    with passable_folder() as folder:
        siege = besiege(folder, persons=PERSONS, kills=KILLS, seed=10)
        try:
            assert sum(siege.deaths.values()) >= KILLS
            assert siege.doubled() == []
        finally:
            siege.demo.stop()
