"""Imports on a real PostgreSQL: all or nothing, nothing twice, and in any order the same series as with a cloud."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from export_files import carelink, cases, clarity, libreview
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from import_world import CLOUD, PERSON, ImportWorld, open_import_world

from evercgm.actions.import_file import AT_ONCE
from evercgm.core.errors import BadInput, CellRefused
from evercgm.core.reading import Reading
from evercgm.storage.readings import Owner

START = datetime(2026, 11, 24, 8, 0, 4, 567000, tzinfo=UTC)
LIBRE = Owner(PERSON, "c-2", "libre/libre/account")


@pytest.fixture
async def world(database: Any) -> AsyncIterator[ImportWorld]:
    async with open_import_world(database) as opened:
        yield opened


def seconds(n: int, shift_s: float = 0) -> str:
    return f"{(START + timedelta(minutes=5 * n, seconds=shift_s)).replace(tzinfo=None, microsecond=0)}"


def minutes(n: int) -> str:
    return f"{(START + timedelta(minutes=5 * n)):%d-%m-%Y %H:%M}"


def of_cloud(n: int, value: int, key: str | None = None, **more: Any) -> Reading:
    return Reading(key or f"r-{n}", START + timedelta(minutes=5 * n), value, **more)


async def test_the_same_file_again_adds_nothing(world: ImportWorld) -> None:
    body = clarity([(seconds(n - AT_ONCE - 10), 100 + n % 50, 300 * n) for n in range(AT_ONCE + 10)])

    first = await world.take(body)
    before = world.stored()
    again = await world.take(body)

    assert (first.imported, first.known, again.imported, again.known) == (AT_ONCE + 10, 0, 0, AT_ONCE + 10)
    assert (again.first, again.last) == (first.first, first.last)
    assert world.stored() == before


async def test_a_line_that_cannot_be_taken_takes_nothing(world: ImportWorld) -> None:
    rows: list[tuple[str, object, object]] = [(seconds(n), 100, 300 * n) for n in range(50)]

    with pytest.raises(CellRefused, match="line 54, column 8"):
        await world.take(clarity([*rows, (seconds(50), "?", 1)]))

    assert world.stored() == []
    assert world.sql("select count(*) from cgm_private.audit_events where action = 'imported'") == [(0,)]


async def test_an_import_that_fails_while_it_is_stored_leaves_nothing(world: ImportWorld) -> None:
    world.sql(
        """create function public.fail() returns trigger language plpgsql as $$
           begin raise exception 'no'; end $$;
           create trigger fail before insert on cgm_private.sync_runs execute function public.fail()"""
    )

    with pytest.raises(Exception, match="no"):
        await world.take(clarity([(seconds(n), 100, 300 * n) for n in range(50)]))

    assert world.stored() == []


async def test_libreview_makes_one_connection_without_tokens_that_is_never_due(world: ImportWorld) -> None:
    body = libreview([(minutes(n), 0, 100 + n) for n in range(3)])

    reports = [await world.take(body), await world.take(body)]

    connections = world.sql(
        """select c.id, c.provider::text, c.status::text, c.access_token, c.refresh_token, c.token_expires_at::text,
                  s.provider, s.region, s.next_sync_at, c.last_sync_at is not null
           from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id
           where c.provider = 'abbott'"""
    )
    assert [one[1:] for one in connections] == [
        ("abbott", "connected", "", "", "9999-12-31 00:00:00", "abbott", "file", None, True)
    ]
    assert {report.connection_id for report in reports} == {connections[0][0]}
    assert world.sql("select distinct cgm_connection_id from public.glucose_readings") == [(connections[0][0],)]
    runs = world.sql(
        "select trigger, state, outcome, inserted, fetched from cgm_private.sync_runs order by requested_at"
    )
    assert runs == [("import", "done", "succeeded", 3, 3), ("import", "done", "nothing_new", 0, 3)]


async def test_clarity_belongs_to_the_dexcom_connection_if_there_is_one(world: ImportWorld) -> None:
    body = clarity([(seconds(0), 100, 300)])

    with_one, without = await world.take(body), await world.take(body, person="p-2")

    assert (with_one.connection_id, without.connection_id) == ("c-1", None)
    assert world.sql("select person_id, cgm_connection_id from public.glucose_readings order by 1") == [
        ("p-1", "c-1"), ("p-2", None),
    ]  # fmt: skip
    assert world.sql("select connection_id from cgm_private.sync_runs") == [("c-1",)]
    assert (await world.take(body, person="p-2")).known == 1


async def test_carelink_makes_no_connection_and_zero_readings_are_a_result(world: ImportWorld) -> None:
    empty = next(case["body"] for case in cases("carelink_csv") if case["case"].startswith("pump without"))

    report = await world.take(empty)
    some = await world.take(carelink([("2026/11/24", "08:00:04", 117)]))

    assert (report.imported, report.known, report.first, report.connection_id) == (0, 0, None, None)
    assert (some.imported, some.connection_id) == (1, None)
    assert world.sql("select provider::text from public.cgm_connections") == [("dexcom",)]


async def test_an_import_is_a_deed_with_counts_alone(world: ImportWorld) -> None:
    await world.take(clarity([(seconds(0), 100, 300), (seconds(1), "", 600)]))

    deeds = world.sql("select actor, action, person_id, detail from cgm_private.audit_events")

    assert deeds == [("operator", "imported", PERSON, {"imported": 1, "known": 0, "skipped": 1})]


async def test_another_zone_for_the_same_file_moves_its_readings_and_adds_none(world: ImportWorld) -> None:
    body = libreview([(minutes(n), 0, 100 + n) for n in range(20)])

    await world.take(body, "America/New_York")
    mended = await world.take(body, "Europe/Berlin")

    assert (mended.imported, mended.known, mended.corrected) == (0, 20, 20)
    assert world.stored()[0] == ("2026-11-24T07:00:00", 100)
    assert len(world.stored()) == 20


CLOUDS = {
    "clarity": (CLOUD, 0.0, clarity([(seconds(n), 100 + n, 300 * n) for n in range(12)])),
    "clarity in mmol/L": (
        CLOUD, 0.0, clarity([(seconds(n), f"{(100 + n) / 18.0156:.1f}", 300 * n) for n in range(12)], "mmol/L"),
    ),
    "libreview": (LIBRE, 40.0, libreview([(minutes(n), 0, 100 + n) for n in range(12)])),
    "libreview in mmol/L": (
        LIBRE, 85.0, libreview([(minutes(n), 0, f"{(100 + n) / 18.0156:.1f}") for n in range(12)], "mmol/L"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("file_first", [True, False])
async def test_a_file_and_a_cloud_end_in_the_clouds_series_whichever_comes_first(
    world: ImportWorld, name: str, file_first: bool
) -> None:
    owner, late_s, body = CLOUDS[name]
    world.sql(
        "insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at,"
        " updated_at) values ('c-2', 'p-1', 'libre', '', '', now(), now())"
    )
    cloud = [
        Reading(f"r-{n}", START + timedelta(minutes=5 * n, seconds=late_s), 100 + n, trend="flat") for n in range(12)
    ]
    steps = [lambda: world.take(body), lambda: world.cloud(*cloud, owner=owner)]

    for step in steps if file_first else reversed(steps):
        await step()
    settled = world.stored()
    for step in (*steps, *steps):
        await step()

    series = [(datetime.fromisoformat(at).replace(tzinfo=UTC), value) for at, value in settled]
    assert series == [(one.measured_at, one.glucose_mg_dl) for one in cloud]
    assert world.stored() == settled


async def test_a_receivers_late_clock_is_known_by_the_sensors_seconds(world: ImportWorld) -> None:
    late = clarity([(seconds(n, 240), 100 + n, 300 * n) for n in range(5)])
    cloud = [of_cloud(n, 100 + n, transmitter_hash=b"t" * 32, transmitter_ticks=300 * n) for n in range(5)]

    for steps in itertools.permutations((lambda: world.take(late), lambda: world.cloud(*cloud))):
        world.sql("delete from public.glucose_readings")
        for step in steps:
            await step()
        assert len(world.stored()) == 5


async def test_equal_seconds_of_another_sensor_are_another_reading(world: ImportWorld) -> None:
    await world.cloud(of_cloud(0, 100, transmitter_hash=b"t" * 32, transmitter_ticks=300))

    await world.take(clarity([("2026-11-14 08:00:04", 100, 300)]))

    assert len(world.stored()) == 2


async def test_two_files_of_one_sensor_in_both_units_are_one_series(world: ImportWorld) -> None:
    exact = libreview([(minutes(n), 0, 90 + n) for n in range(40)])
    rounded = libreview([(minutes(n), 0, f"{(90 + n) / 18.0156:.1f}") for n in range(40)], "mmol/L")

    await world.take(exact)
    second = await world.take(rounded)

    assert (second.imported, second.known) == (0, 40)


async def test_an_equal_value_further_away_than_the_rule_is_another_reading(world: ImportWorld) -> None:
    await world.cloud(Reading("r", datetime(2026, 11, 24, 8, 1, 31, tzinfo=UTC), 100))

    near = await world.take(carelink([("2026/11/24", "08:00:30", 100)]))
    further = await world.take(libreview([("24-11-2026 08:00", 0, 100)]))

    assert (near.imported, further.imported) == (1, 0)
    assert (await world.take(libreview([("24-11-2026 07:58", 0, 100)]))).imported == 1


async def test_a_later_correction_of_the_cloud_still_reaches_what_a_file_told_first(world: ImportWorld) -> None:
    await world.take(clarity([(seconds(0), 100, 300)]))
    await world.cloud(of_cloud(0, 100))

    corrected = await world.cloud(of_cloud(0, 117))
    again = await world.take(clarity([(seconds(0), 100, 300)]))

    assert (corrected.updated, again.imported, again.corrected) == (1, 0, 0)
    assert [value for _, value in world.stored()] == [117]


async def test_a_reading_of_the_host_app_is_linked_and_never_rewritten(world: ImportWorld) -> None:
    world.sql(
        """insert into public.glucose_readings (id, person_id, "timestamp", value, source)
           values ('host-1', 'p-1', '2026-11-24 08:01:10', 100, 'cgm')"""
    )

    report = await world.take(libreview([(minutes(0), 0, 100)]))

    assert (report.imported, report.known) == (0, 1)
    assert world.stored() == [("2026-11-24T08:01:10", 100)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(["clarity", "mmol", "cloud", "part"]), st.integers(0, 5))
async def test_any_order_of_files_and_cloud_ends_in_the_same_series(
    world: ImportWorld, order: list[str], repeated: int
) -> None:
    world.sql("delete from public.glucose_readings")
    values = [80 + 3 * n for n in range(10)]
    steps = {
        "clarity": lambda: world.take(clarity([(seconds(n), v, 300 * n) for n, v in enumerate(values)])),
        "mmol": lambda: world.take(
            clarity([(seconds(n), f"{v / 18.0156:.1f}", 300 * n) for n, v in enumerate(values)], "mmol/L")
        ),
        "cloud": lambda: world.cloud(*(of_cloud(n, v) for n, v in enumerate(values))),
        "part": lambda: world.take(clarity([(seconds(n), values[n], 300 * n) for n in range(3, 6)])),
    }

    for name in (*order, *order[:repeated]):
        await steps[name]()

    assert world.stored() == [
        ((START + timedelta(minutes=5 * n)).replace(tzinfo=None).isoformat(), v) for n, v in enumerate(values)
    ]


async def test_nobody_can_be_imported_for_who_is_not_there(world: ImportWorld) -> None:
    with pytest.raises(BadInput, match="no such person"):
        await world.take(clarity([(seconds(0), 100, 300)]), person="p-9")


async def test_a_pause_of_what_files_fill_ends_with_the_next_file(world: ImportWorld) -> None:
    body = libreview([(minutes(0), 0, 100)])
    await world.take(body)
    world.sql("update public.cgm_connections set status = 'disconnected' where provider = 'abbott'")

    await world.take(body)

    assert world.sql("select status::text from public.cgm_connections where provider = 'abbott'") == [("connected",)]
