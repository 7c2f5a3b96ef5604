"""Worker, API and PostgreSQL killed at random moments in a running sync: at the end the series is the vendor's."""

from kills import besieged

KILLS, PERSONS = 10, 6


def test_after_ten_kills_nothing_is_lost_and_nothing_doubled() -> None:
    with besieged(persons=PERSONS, kills=KILLS, seed=10) as siege:
        assert sum(siege.deaths.values()) >= KILLS
        assert siege.doubled() == []
