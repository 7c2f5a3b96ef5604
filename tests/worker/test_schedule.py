"""What is due is looked for every five seconds, as the engine reads the expression."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from croniter import croniter

from evercgm.worker.run import EVERY_FIVE_SECONDS


def test_the_schedule_turns_every_five_seconds_of_every_minute() -> None:
    start = datetime(2026, 11, 24, 8, 0, 58, tzinfo=UTC)
    turns = croniter(EVERY_FIVE_SECONDS, start)

    seen = [turns.get_next(datetime) for _ in range(30)]

    assert seen[0] == datetime(2026, 11, 24, 8, 1, 0, tzinfo=UTC)
    assert {later - earlier for earlier, later in pairwise(seen)} == {timedelta(seconds=5)}
