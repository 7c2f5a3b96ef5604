"""The same as in tests/e2e, ten times as often."""

from pathlib import Path
from typing import Any

from refresh_racer import TOGETHER, Tally, run_races

ROUNDS = 100


async def test_a_thousand_races_of_two_processes_are_a_thousand_refreshes(database: Any, tmp_path: Path) -> None:
    tally = await run_races(database, tmp_path, ROUNDS)

    assert tally == Tally(
        races=ROUNDS * TOGETHER,
        refreshes=ROUNDS * TOGETHER,
        reuses=0,
        disagreed=0,
        unchanged=0,
        statuses={"connected"},
        generations={ROUNDS},
    )
