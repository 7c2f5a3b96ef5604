"""The same as in tests/e2e, twenty times as often and with twenty persons."""

from kills import VICTIMS, besieged

KILLS, PERSONS = 200, 20


def test_after_two_hundred_kills_nothing_is_lost_and_nothing_doubled() -> None:
    with besieged(persons=PERSONS, kills=KILLS, seed=200) as siege:
        assert sum(siege.deaths.values()) >= KILLS
        assert min(siege.deaths[victim] for victim in VICTIMS) > KILLS / 10, siege.deaths
        assert siege.resumed() > KILLS / 10
        assert siege.doubled() == []
