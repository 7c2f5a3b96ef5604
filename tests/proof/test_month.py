"""After a month with everything in it the stored series is the vendor's, and no hole is without a reason."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from month import DAYS, QUIET_DAYS, Month, Wearer, accounts, month_ago
from sync_world import World, open_world

from evercgm.core.connection import CADENCE
from evercgm.core.gaps import explain
from evercgm.storage import gaps

PERSONS = 6


def stored(world: World, wearer: Wearer) -> list[tuple[Any, ...]]:
    query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1, 2'
    return world.sql(query, wearer.person_id)


async def truth(world: World, wearer: Wearer) -> list[tuple[Any, ...]]:
    return [(at, float(value)) for at, value in await world.truth(wearer.username)]


async def reasons(world: World, wearer: Wearer, month: Month) -> set[str]:
    """Of all holes between the first day and the last reading."""
    end = month.began + timedelta(days=DAYS + QUIET_DAYS)
    holes, known = await gaps.evidence(
        world.db, wearer.caller, wearer.person_id, month.began, end, lambda *_: gaps.Facts(timedelta(), CADENCE, None)
    )
    closed = [hole for hole in holes if hole.after is not None]
    return {gap.reason for gap in explain(closed, known, month.began, end)}


@pytest.mark.parametrize("seed", [1])
async def test_after_a_month_of_everything_the_series_is_the_vendors(database: Any, tmp_path: Path, seed: int) -> None:
    began = month_ago()
    async with open_world(
        database.admin_dsn, database.service_dsn, tmp_path / "cloud", accounts=accounts(PERSONS), clock=lambda: began
    ) as world:
        month = Month(world, began, random.Random(seed))
        await month.live(PERSONS)

        assert month.failures > PERSONS
        for wearer in month.wearers:
            assert stored(world, wearer) == await truth(world, wearer), wearer
            assert await reasons(world, wearer, month) <= {"signal_lost", "sensor_changed"}, wearer
