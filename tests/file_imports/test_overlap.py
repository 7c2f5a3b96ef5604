"""What a file and a cloud both tell of is one reading: where a clock was set late, and at the ends of a range."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from export_files import carelink, libreview
from import_world import CONNECTION, PERSON, ImportWorld, open_import_world

from evercgm.core.reading import Flag, Reading
from evercgm.storage.readings import Owner

MEDTRONIC = Owner(PERSON, CONNECTION, "medtronic/medtronic/account")
LIBRE = Owner(PERSON, "c-2", "libre/libre/account")
AT = datetime(2026, 11, 24, 8, 0, 40, tzinfo=UTC)


@pytest.fixture
async def world(database: Any) -> AsyncIterator[ImportWorld]:
    async with open_import_world(database) as opened:
        opened.sql(
            "insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token,"
            " token_expires_at, updated_at) values ('c-2', 'p-1', 'libre', '', '', now(), now())"
        )
        yield opened


@pytest.mark.parametrize("file_first", [True, False])
async def test_a_file_of_the_spring_change_adds_nothing_to_what_the_cloud_told(
    world: ImportWorld, file_first: bool
) -> None:
    """Berlin: at 01:00 UTC clocks go ahead, the pump's five hours later by hand."""
    is_set = datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
    instants = [datetime(2026, 3, 29, tzinfo=UTC) + timedelta(minutes=5 * n) for n in range(120)]
    shown = [at + timedelta(hours=2 if at >= is_set else 1) for at in instants]
    values = [100 + n * 7 % 90 for n in range(120)]
    body = carelink([(f"{at:%Y/%m/%d}", f"{at:%H:%M:%S}", v) for at, v in zip(shown, values, strict=True)][::-1])
    cloud = [Reading(f"sg:{n}", at, v) for n, (at, v) in enumerate(zip(instants, values, strict=True))]

    steps = [lambda: world.take(body, "Europe/Berlin"), lambda: world.cloud(*cloud, owner=MEDTRONIC)]
    for step in steps if file_first else reversed(steps):
        await step()

    assert world.stored() == [(at.replace(tzinfo=None).isoformat(), v) for at, v in zip(instants, values, strict=True)]


@pytest.mark.parametrize("file_first", [True, False])
@pytest.mark.parametrize(
    ("of_cloud", "flag", "of_file", "unit"),
    [
        (39, "low", "40", "mg/dL"),
        (39, "low", "2.2", "mmol/L"),
        (39, "low", "LO", "mg/dL"),
        (40, None, "40", "mg/dL"),
        (401, "high", "500", "mg/dL"),
        (401, "high", "27.8", "mmol/L"),
        (401, "high", "HI", "mg/dL"),
        (500, None, "500", "mg/dL"),
    ],
)
async def test_the_end_of_a_libres_range_is_one_reading_however_it_is_written(
    world: ImportWorld, of_cloud: int, flag: Flag | None, of_file: str, unit: str, file_first: bool
) -> None:
    body = libreview([("24-11-2026 08:00", 0, of_file)], unit)
    steps = [lambda: world.take(body), lambda: world.cloud(Reading("r", AT, of_cloud, flag=flag), owner=LIBRE)]

    for step in steps if file_first else reversed(steps):
        await step()
    settled = world.stored()
    for step in (*steps, *steps):
        await step()

    assert settled == [("2026-11-24T08:00:40", of_cloud)]
    assert world.stored() == settled


@pytest.mark.parametrize(("of_cloud", "of_file"), [(38, 40), (39, 41), (40, 41), (401, 499), (400, 500), (401, 402)])
async def test_other_values_stay_apart_as_before(world: ImportWorld, of_cloud: int, of_file: int) -> None:
    await world.cloud(Reading("r", AT, of_cloud), owner=LIBRE)

    await world.take(libreview([("24-11-2026 08:00", 0, of_file)]))

    assert len(world.stored()) == 2


async def test_a_pumps_file_writes_what_lies_below_its_range_in_words_so_40_is_another_value(
    world: ImportWorld,
) -> None:
    await world.cloud(Reading("r", AT, 39, flag="low"), owner=MEDTRONIC)

    await world.take(carelink([("2026/11/24", "08:00:40", 40)]))

    assert len(world.stored()) == 2
