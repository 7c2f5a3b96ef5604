"""Each stretch without readings is told with its reason, to its person alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from api_world import BASE, Owner, Run, add_connection, add_readings

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
