"""After a month with everything in it the stored series is the vendor's, and no hole is without a reason."""

import os
import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import database_clock
import pytest
from month import FACTS, Month, Wearer
from month_plan import BEGAN, ENDS, OFFSETS, accounts, share_accounts
from sync_world import World, open_world
from two_ways import share_beside

from evercgm.core.gaps import explain
from evercgm.storage import gaps

# Another one: MONTH_SEED=7 pytest tests/proof/test_month.py
SEED = int(os.environ.get("MONTH_SEED", "1"))
EXPLAINED = {"signal_lost", "sensor_changed"}
PERSONS = int(os.environ.get("MONTH_PERSONS", "30"))
STORED = """
select r."timestamp", r.value, min(d.display_offset_min), max(d.display_offset_min)
from public.glucose_readings r
left join cgm_private.reading_details d on d.reading_id = r.id and d.stream like 'dexcom/dexcom/%%'
where r.person_id = %s
group by r.id
order by 1, 2
"""
# What must have happened, or it was no such month: days of the latest, copies, receivers, corrections, zones; and
# readings that Share told first.
MET = r"""
select (select max(extract(epoch from d.received_at - r."timestamp" at time zone 'UTC')) / 86400
        from cgm_private.reading_details d
        join public.glucose_readings r on r.id = d.reading_id
        where r."timestamp" >= %s),
       (select count(*) from cgm_private.reading_details) - (select count(*) from public.glucose_readings),
       (select count(*) from public.glucose_readings where device_id like '%%/receiver'),
       (select sum(updated) from cgm_private.sync_runs),
       (select array_agg(distinct display_offset_min) from cgm_private.reading_details
        where stream like 'dexcom/dexcom/%%'),
       (select count(*) from cgm_private.reading_details s
        join cgm_private.reading_details o using (reading_id)
        where s.stream like 'dexcom/dexcom\_share/%%' and o.stream like 'dexcom/dexcom/%%'
          and s.received_at < o.received_at)
"""


def stored(world: World, wearer: Wearer) -> Counter[tuple[Any, ...]]:
    """Instant, value, and what the device showed from UTC, by all copies of the reading alike."""
    return Counter(world.sql(STORED, wearer.person_id))


async def truth(world: World, wearer: Wearer) -> Counter[tuple[Any, ...]]:
    answer = await world.http.get(f"http://cloud.test/dexcom/control/accounts/{wearer.username}/truth")
    rows: Counter[tuple[Any, ...]] = Counter()
    for row in answer.json():
        at, shown = datetime.fromisoformat(row["systemTime"]), datetime.fromisoformat(row["displayTime"])
        offset_min = (shown.utcoffset() or timedelta()) // timedelta(minutes=1)
        rows[at.replace(tzinfo=None), row["value"], offset_min, offset_min] += 1
    return rows


async def reasons(world: World, wearer: Wearer) -> set[str]:
    """Of all holes between the first day and the last reading."""
    holes, known = await gaps.evidence(world.db, wearer.caller, wearer.person_id, BEGAN, ENDS, lambda *_: FACTS)
    closed = [hole for hole in holes if hole.after is not None]
    return {gap.reason for gap in explain(closed, known, BEGAN, ENDS)}


def began() -> datetime:
    """What the clouds take for the machine's clock."""
    return BEGAN


@pytest.mark.parametrize("seed", [SEED], ids=[f"MONTH_SEED={SEED}"])
async def test_after_a_month_of_everything_the_series_is_the_vendors(database: Any, tmp_path: Path, seed: int) -> None:
    database_clock.install(database.admin_dsn, BEGAN)
    async with (
        open_world(
            database.admin_dsn, database.service_dsn, tmp_path / "cloud", accounts=accounts(PERSONS), clock=began
        ) as world,
        share_beside(world, tmp_path / "share", accounts=share_accounts(PERSONS), clock=began) as ways,
    ):
        month = Month(ways, random.Random(seed))
        await month.live(PERSONS)

        wrong: dict[str, list[Any]] = {"mistold": month.mistold}
        for wearer in month.wearers:
            found, right = stored(world, wearer), await truth(world, wearer)
            wrong[f"lost by {wearer.number}"] = sorted((right - found).elements(), key=str)
            wrong[f"too many of {wearer.number}"] = sorted((found - right).elements(), key=str)
            wrong[f"unexplained of {wearer.number}"] = sorted(await reasons(world, wearer) - EXPLAINED)
        assert {name: (len(cases), cases[:5]) for name, cases in wrong.items() if cases} == {}
        assert {"vendor_unavailable", "vendor_changed", "rate_limited", "sign_in_refused", "reconnect_needed"} <= set(
            month.reasons
        )
        latest_days, copies, receivers, corrections, offsets, share_first = world.sql(MET, BEGAN.replace(tzinfo=None))[
            0
        ]
        assert latest_days > 20
        assert min(copies, receivers, corrections, share_first) > 100
        assert set(offsets) == OFFSETS
