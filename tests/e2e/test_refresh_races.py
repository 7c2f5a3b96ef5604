"""Two worker processes that want the same token fresh at the same moment: the vendor is asked once."""

from pathlib import Path
from typing import Any

from refresh_racer import TOGETHER, Tally, run_races

ROUNDS = 10


async def test_a_hundred_races_of_two_processes_are_a_hundred_refreshes(database: Any, tmp_path: Path) -> None:
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
