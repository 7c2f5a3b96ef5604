"""Two processes at one vendor that counts for itself: together they never make a call too many."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import budget_racer
from refresh_racer import Racer, serve_cloud, start_racers

from evercgm.providers.dexcom.simulator.app import create_app

AN_HOUR, FOR_PEOPLE = 300, 0.2


async def both(racers: list[Racer], caller: str, times: int) -> Counter[str]:
    for racer in racers:
        racer.tell({"caller": caller, "times": times})
    found = await asyncio.gather(*(racer.hear() for racer in racers))
    return sum((Counter(json.loads(line)) for line in found), Counter())


async def test_two_processes_never_exceed_the_budget_and_leave_people_their_part(database: Any, tmp_path: Path) -> None:
    cloud = create_app(tmp_path / "cloud", clients=[])
    cloud.state.cloud.set_fault("calls_per_hour", {"limit": AN_HOUR})
    try:
        async with serve_cloud(cloud) as url:
            settings: dict[str, Any] = {
                "dsn": database.service_dsn, "vendor_url": url, "an_hour": AN_HOUR, "for_people": FOR_PEOPLE,
            }  # fmt: skip
            with start_racers(settings, tmp_path / "racers.log", budget_racer.__file__) as racers:
                assert [await racer.hear() for racer in racers] == ["ready\n", "ready\n"]
                background = await both(racers, "background", 200)
                people = await both(racers, "person", 100)
    finally:
        cloud.state.cloud.state.close()

    assert background["429"] == people["429"] == 0
    # What a block holds when its two seconds are over is lost, never more than a handful so near the end.
    assert 225 <= background["401"] <= 240
    assert 285 <= background["401"] + people["401"] <= 300
    assert background["held back"] > 0 < people["held back"]
