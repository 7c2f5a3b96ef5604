"""Each stretch without readings is told with its reason, to its person alone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_readings

from evercgm.api.app import create_app
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.runtime import Runtime

ADDRESS = f"{BASE}/gaps"
FIVE = timedelta(minutes=5)


def ago(**span: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**span)


def steps(first: datetime, count: int) -> list[datetime]:
    return [first + n * FIVE for n in range(count)]


async def get(client: httpx2.AsyncClient, owner: Owner, **query: Any) -> Any:
    answer = await client.get(ADDRESS, params=query or None, headers=owner.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


def short(told: Any) -> list[tuple[str, int]]:
    return [(gap["reason"], gap["minutes"]) for gap in told["gaps"]]


@pytest.fixture
async def connection_id(ada: Owner, admin: Run) -> str:
    """Read up to now, with nothing that waits."""
    connection_id = await add_connection(admin, ada.person_id)
    await admin(
        "update public.cgm_connections set last_sync_at = now() at time zone 'UTC' where id = %s", (connection_id,)
    )
    await admin(
        "update cgm_private.sync_state set history_done_at = now(), connected_at = now() - interval '90 days',"
        " next_sync_at = now() + interval '10 minutes' where connection_id = %s",
        (connection_id,),
    )
    return connection_id


@pytest.fixture
async def all_vendors(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a service that knows every way in."""
    app = create_app(replace(runtime, vendors=Vendors(PROVIDERS, {}, {})))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        yield client


async def make_it(admin: Run, connection_id: str, provider: str, region: str, device_id: str | None = None) -> None:
    await admin(
        'update public.cgm_connections set provider = %s::text::"CGMProvider", device_id = %s where id = %s',
        (provider, device_id, connection_id),
    )
    await admin("update cgm_private.sync_state set region = %s where connection_id = %s", (region, connection_id))


async def add_run(
    admin: Run, owner: Owner, connection_id: str, began: timedelta, outcome: str, reason: str | None = None, **more: Any
) -> None:
    """A run that began so long ago and took a second; ``due`` as long ago, where it was later than that."""
    due = more.get("due")
    values = (str(uuid4()), connection_id, owner.person_id, more.get("trigger", "schedule"), outcome, reason)
    times = (began, began, began - timedelta(seconds=1))
    await admin(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, outcome, reason,"
        " requested_at, started_at, finished_at, due_at)"
        " values (%s, %s, %s, %s, 'done', %s, %s, now() - %s, now() - %s, now() - %s, now() - %s::interval)",
        (*values, *times, due),
    )


async def add_deed(admin: Run, owner: Owner, connection_id: str, action: str, past: timedelta) -> None:
    await admin(
        "insert into cgm_private.audit_events (at, actor, action, person_id, detail)"
        " values (now() - %s, 'service', %s, %s, jsonb_build_object('connection_id', %s::text))",
        (past, action, owner.person_id, connection_id),
    )


async def test_a_stretch_between_readings_and_the_vendors_delay_at_the_end(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    first = ago(hours=20)
    await add_readings(admin, ada.person_id, connection_id, steps(first, 12))
    await add_readings(admin, ada.person_id, connection_id, steps(first + timedelta(hours=2), 200))

    told = await get(client, ada)

    reasons = short(told)
    assert reasons[0] == ("signal_lost", 60)
    assert reasons[-1][0] == "vendor_delay"
    assert told["gaps"][0]["message"].endswith(".")
    assert told["gaps"][0]["start"] == (first + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert told["complete"] is True


async def test_before_the_first_reading_nothing_is_missing(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, steps(ago(minutes=30), 6))

    assert short(await get(client, ada, **{"from": ago(days=2).isoformat()})) == []


async def test_a_stretch_that_reaches_into_the_period_is_cut_to_it(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, [ago(hours=30), ago(hours=10)])
    start, end = ago(hours=20), ago(hours=15)

    told = await get(client, ada, **{"from": start.isoformat(), "to": end.isoformat()})

    assert short(told) == [("signal_lost", 300)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update public.cgm_connections set status = 'expired' where id = %s", "connection_expired"),
        ("update public.cgm_connections set status = 'disconnected' where id = %s", "paused"),
        (
            "with s as (update cgm_private.sync_state set reason = 'vendor_unavailable' where connection_id = %s"
            " returning connection_id) update public.cgm_connections c set status = 'error' from s"
            " where c.id = s.connection_id",
            "vendor_outage",
        ),
        (
            "update cgm_private.sync_state set next_sync_at = now() - interval '3 hours' where connection_id = %s",
            "worker_down",
        ),
        ("delete from cgm_private.sync_state where connection_id = %s", "unknown"),
    ],
)
async def test_why_nothing_came_lately(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str, change: str, reason: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, steps(ago(hours=10), 12))
    await admin(change, (connection_id,))

    told = await get(client, ada)

    assert [gap["reason"] for gap in told["gaps"]] == [reason]


async def test_another_transmitter_after_a_stretch_is_a_changed_sensor(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, [ago(hours=8), ago(hours=6)])
    await admin(
        "insert into cgm_private.reading_details (reading_id, person_id, stream, record_key, transmitter_hash)"
        " select id, person_id, 's', id, convert_to(value::text, 'UTF8') from public.glucose_readings"
        " where person_id = %s",
        (ada.person_id,),
    )

    assert short(await get(client, ada, to=ago(hours=6).isoformat())) == [("sensor_changed", 115)]


async def test_records_that_were_set_aside_explain_their_stretch(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, [ago(hours=8), ago(hours=7), ago(hours=6)])
    for hours, reason in ((7.5, "sensor_error"), (6.5, "bad_time"), (6.4, "future_time")):
        await admin(
            "insert into cgm_private.rejected_records (connection_id, person_id, stream, record_key, reason,"
            " measured_text) values (%s, %s, 's', %s, %s, %s)",
            (connection_id, ada.person_id, reason, reason, ago(hours=hours).isoformat()),
        )

    told = await get(client, ada, to=ago(hours=6).isoformat())

    assert [gap["reason"] for gap in told["gaps"]] == ["sensor_error", "unreadable"]


async def test_readings_that_the_host_app_wrote_are_no_hole_in_the_sensors_series(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await add_readings(admin, ada.person_id, connection_id, [ago(hours=8), ago(hours=7)])
    await add_readings(admin, ada.person_id, None, [ago(hours=7.5)])
    await admin(
        "update public.glucose_readings set source = 'fingerstick' where cgm_connection_id is null and person_id = %s",
        (ada.person_id,),
    )

    assert short(await get(client, ada, to=ago(hours=7).isoformat())) == [("signal_lost", 55)]


DAYS = timedelta(days=3)
NOW = timedelta(minutes=3)
LOST = [("beyond_vendor_history", 720)]


async def lost_half_of_the_day(admin: Run, owner: Owner, connection_id: str) -> dict[str, Any]:
    """Readings until three days ago and from 12 hours ago on; the 24 hours until a moment ago are asked for."""
    await add_readings(admin, owner.person_id, connection_id, [ago(days=3), *steps(ago(hours=12), 144)])
    return {"from": ago(hours=24).isoformat(), "to": ago(minutes=5).isoformat()}


@pytest.mark.parametrize(
    ("runs", "cause"),
    [
        ([(DAYS, "failed", "reconnect_needed", None), (NOW, "succeeded", None, None)], "connection_expired"),
        (
            [(DAYS + FIVE, "succeeded", None, None), (DAYS, "failed", "vendor_unavailable", None)]
            + [(timedelta(hours=n), "failed", "vendor_unavailable", None) for n in (50, 30, 2)]
            + [(NOW, "succeeded", None, None)],
            "vendor_outage",
        ),
        ([(DAYS + FIVE, "succeeded", None, None), (NOW, "succeeded", None, DAYS)], "worker_down"),
        ([(DAYS, "failed", "vendor_unavailable", None), (DAYS - FIVE, "succeeded", None, None)], None),
        # Of runs that found nothing only the last is kept: nobody knows how many there were before it.
        ([(DAYS, "failed", "vendor_unavailable", None), (NOW, "nothing_new", None, None)], None),
    ],
)
async def test_a_trouble_that_began_before_the_period_and_reaches_into_it_is_seen(
    all_vendors: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str, runs: list[Any], cause: str | None
) -> None:
    await make_it(admin, connection_id, "libre", "world")
    for began, outcome, reason, due in runs:
        await add_run(admin, ada, connection_id, began, outcome, reason, due=due)
    period = await lost_half_of_the_day(admin, ada, connection_id)

    told = await get(all_vendors, ada, **period)

    assert short(told) == (LOST if cause else [("signal_lost", 720)])
    assert told["gaps"][0]["cause"] == cause


async def test_a_trouble_that_lasted_longer_than_the_period_is_seen_from_within_it(
    all_vendors: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await make_it(admin, connection_id, "libre", "world")
    await add_run(admin, ada, connection_id, DAYS, "succeeded")
    await add_run(admin, ada, connection_id, NOW, "succeeded", due=DAYS)
    await lost_half_of_the_day(admin, ada, connection_id)

    told = await get(all_vendors, ada, **{"from": ago(hours=60).isoformat(), "to": ago(hours=59).isoformat()})

    assert [(gap["reason"], gap["cause"]) for gap in told["gaps"]] == [("beyond_vendor_history", "worker_down")]


@pytest.mark.parametrize(
    ("deeds", "told_as"),
    [
        ([("paused", DAYS), ("resumed", NOW)], ("beyond_vendor_history", "paused")),
        ([("paused", DAYS), ("reconnected", NOW)], ("beyond_vendor_history", "paused")),
        ([("paused", DAYS), ("resumed", DAYS - FIVE), ("reconnected", NOW)], ("signal_lost", None)),
        ([("paused", timedelta(hours=14)), ("resumed", timedelta(hours=13))], ("signal_lost", None)),
    ],
)
async def test_a_pause_longer_than_the_vendor_keeps_is_what_its_readings_were_lost_by(
    all_vendors: httpx2.AsyncClient,
    ada: Owner,
    admin: Run,
    connection_id: str,
    deeds: list[tuple[str, timedelta]],
    told_as: tuple[str, str | None],
) -> None:
    await make_it(admin, connection_id, "libre", "world")
    for action, past in deeds:
        await add_deed(admin, ada, connection_id, action, past)
        if action != "paused":
            await add_run(admin, ada, connection_id, past - timedelta(seconds=20), "succeeded")
    period = await lost_half_of_the_day(admin, ada, connection_id)

    told = await get(all_vendors, ada, **period)
    assert [(gap["reason"], gap["cause"]) for gap in told["gaps"]] == [told_as]

    await make_it(admin, connection_id, "dexcom", "us")
    assert short(await get(all_vendors, ada, **period)) == [("signal_lost", 720)]


@pytest.mark.parametrize(
    ("provider", "region", "code", "title"),
    [
        ("libre", "world", "libreview", "LibreView"),
        ("medtronic", "eu", "carelink", "Medtronic CareLink"),
        ("dexcom", None, "clarity", "Dexcom Clarity"),
    ],
)
async def test_what_the_vendor_keeps_no_longer_names_the_import_that_fills_it(
    all_vendors: httpx2.AsyncClient,
    ada: Owner,
    admin: Run,
    connection_id: str,
    provider: str,
    region: str | None,
    code: str,
    title: str,
) -> None:
    await make_it(admin, connection_id, provider, region or "us")
    if region is None:
        # By Share alone, which keeps a day.
        await admin("update public.cgm_connections set token_expires_at = '9999-12-31' where id = %s", (connection_id,))
    await admin("update public.cgm_connections set status = 'expired' where id = %s", (connection_id,))
    await add_readings(admin, ada.person_id, connection_id, [ago(days=3)])

    lost, rest = (await get(all_vendors, ada, **{"from": ago(days=4).isoformat(), "to": ago().isoformat()}))["gaps"]

    assert (lost["reason"], lost["import_format"]) == ("beyond_vendor_history", code)
    assert f"The CSV file of {title} " in lost["message"]
    assert (rest["reason"], rest["import_format"]) == ("connection_expired", None)


@pytest.mark.parametrize(
    ("provider", "region", "device_id", "minutes", "holes"),
    [
        ("libre", "world", "libre1", 15, 0),
        ("libre", "world", "libre2", 15, 0),
        ("libre", "world", "libre2", 25, 3),
        ("libre", "world", "libre3", 15, 3),
        ("libre", "world", None, 15, 3),
        ("libre", "file", None, 15, 0),
        ("abbott", "file", None, 15, 0),
        ("abbott", "file", None, 25, 3),
        ("medtronic", "eu", None, 15, 3),
    ],
)
async def test_a_sensor_of_fifteen_minutes_is_not_one_gap_after_another(
    all_vendors: httpx2.AsyncClient,
    ada: Owner,
    admin: Run,
    connection_id: str,
    provider: str,
    region: str,
    device_id: str | None,
    minutes: int,
    holes: int,
) -> None:
    await make_it(admin, connection_id, provider, region, device_id)
    first = ago(hours=9)
    times = [first + n * timedelta(minutes=minutes) for n in range(4)]
    await add_readings(admin, ada.person_id, connection_id, times)

    told = await get(all_vendors, ada, **{"from": first.isoformat(), "to": times[-1].isoformat()})

    assert len(told["gaps"]) == holes


async def test_a_person_without_readings_and_connections_has_no_gaps(client: httpx2.AsyncClient, bob: Owner) -> None:
    assert await get(client, bob) == {"gaps": [], "complete": True}


async def test_connected_and_nothing_there_yet(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await admin("update public.cgm_connections set last_sync_at = null where id = %s", (connection_id,))

    told = await get(client, ada)

    assert [gap["reason"] for gap in told["gaps"]] == ["not_read_yet", "vendor_delay"]


async def test_where_share_is_the_only_way_its_holes_are_its_own_and_nothing_is_still_being_fetched(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, connection_id: str
) -> None:
    await admin("update public.cgm_connections set token_expires_at = '9999-12-31' where id = %s", (connection_id,))
    await admin("update cgm_private.sync_state set history_done_at = null where connection_id = %s", (connection_id,))
    await add_readings(admin, ada.person_id, connection_id, [ago(hours=8), *steps(ago(hours=6), 72)])

    assert short(await get(client, ada)) == [("signal_lost", 115)]


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from", "before"),
        ({"from": "2024-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from", "92 days"),
        ({"from": "2026-11-02T00:00:00"}, "from", "offset"),
        ({"from": "0001-01-01T00:00:00Z"}, "from", "1970"),
        ({"to": "yesterday"}, "to", "time such as"),
        ({"form": "2026-11-02T00:00:00Z"}, "form", "no such parameter"),
    ],
)
async def test_a_period_that_cannot_be_is_named(
    client: httpx2.AsyncClient, ada: Owner, query: dict[str, str], field: str, says: str
) -> None:
    answer = await client.get(ADDRESS, params=query, headers=ada.bearer)

    assert answer.status_code == 422
    assert field in answer.json()["detail"]
    assert says in answer.json()["detail"]
