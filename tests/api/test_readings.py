"""Readings come newest first, in pages that lose none and repeat none, for their owner alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_odd_reading, add_readings

ADDRESS = f"{BASE}/readings"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def get(client: httpx2.AsyncClient, owner: Owner, address: str = ADDRESS, **query: Any) -> Any:
    answer = await client.get(address, params=query or None, headers=owner.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_pages_lose_none_and_repeat_none(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    # Several at one moment: the time alone is no place to go on from.
    times = [NOON + timedelta(minutes=5 * (n // 3)) for n in range(11)]
    await add_readings(admin, ada.person_id, None, times)

    page = await get(client, ada, limit=4)
    seen = page["readings"]
    while page["next"]:
        assert page["next"].startswith(f"{ORIGIN}{ADDRESS}?")
        page = await get(client, ada, page["next"])
        seen += page["readings"]

    assert 11 == len(seen) == len({reading["id"] for reading in seen})
    assert sorted((reading["measured_at"] for reading in seen), reverse=True) == [
        reading["measured_at"] for reading in seen
    ]


async def test_a_full_last_page_has_no_next(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_readings(admin, ada.person_id, None, [NOON, NOON + timedelta(minutes=5)])

    assert (await get(client, ada, limit=2))["next"] is None


async def test_from_is_inclusive_and_to_exclusive(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_readings(admin, ada.person_id, None, [NOON + timedelta(minutes=5 * n) for n in range(4)])

    found = await get(client, ada, **{"from": "2026-11-01T13:05:00+01:00", "to": "2026-11-01T12:15:00Z"})

    assert [reading["measured_at"] for reading in found["readings"]] == ["2026-11-01T12:10:00Z", "2026-11-01T12:05:00Z"]


async def test_a_page_that_follows_keeps_the_question(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_readings(admin, ada.person_id, None, [NOON + timedelta(minutes=5 * n) for n in range(6)])
    query = {"from": "2026-11-01T13:05:00+01:00", "unit": "mmol/L", "limit": 3, "person_id": ada.person_id}

    first = await get(client, ada, **query)
    second = await get(client, ada, first["next"])

    assert [item["measured_at"] for item in second["readings"]] == ["2026-11-01T12:10:00Z", "2026-11-01T12:05:00Z"]
    assert {"mmol/L"} == {item["unit"] for item in second["readings"]}
    assert second["next"] is None


async def test_a_reading_has_all_its_parts(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [NOON + timedelta(milliseconds=120)])
    await admin(
        "insert into cgm_private.reading_details (reading_id, person_id, stream, record_key, trend, trend_rate,"
        " display_offset_min, flag) select id, person_id, 's', 'k', 'flat', -1.25, 60, 'low'"
        " from public.glucose_readings"
    )

    reading = (await get(client, ada))["readings"][0]
    in_mmol = (await get(client, ada, unit="mmol/L"))["readings"][0]

    expected = {
        "measured_at": "2026-11-01T12:00:00.120Z",
        "value": 100,
        "unit": "mg/dL",
        "trend": "flat",
        "trend_rate": -1.25,
        "flag": "low",
        "source": "cgm",
        "provider": "dexcom",
        "connection_id": connection_id,
        "display_offset_min": 60,
    }
    assert expected == {name: value for name, value in reading.items() if name != "id"}
    assert (in_mmol["value"], in_mmol["unit"], in_mmol["trend_rate"]) == (5.6, "mmol/L", -0.069)


async def test_a_reading_known_by_two_streams_is_one_reading(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_readings(admin, ada.person_id, None, [NOON])
    for stream in ("one", "two"):
        await admin(
            "insert into cgm_private.reading_details (reading_id, person_id, stream, record_key)"
            " select id, person_id, %s, 'k' from public.glucose_readings",
            (stream,),
        )

    assert len((await get(client, ada))["readings"]) == 1


async def test_a_stranger_gets_the_answer_of_an_unknown_person(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    await add_readings(admin, ada.person_id, None, [NOON])

    for person_id in (ada.person_id, str(uuid4())):
        answer = await client.get(ADDRESS, params={"person_id": person_id}, headers=bob.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await get(client, bob))["readings"] == []


async def test_a_cursor_of_another_leads_into_ones_own_readings_only(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    await add_readings(admin, ada.person_id, None, [NOON + timedelta(minutes=5 * n) for n in range(3)])
    cursor = httpx2.URL((await get(client, ada, limit=1))["next"]).params["cursor"]

    assert (await get(client, bob, cursor=cursor))["readings"] == []


@pytest.mark.parametrize("odd", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
async def test_a_row_with_an_impossible_time_is_no_reading(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, odd: str
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [NOON])
    await add_odd_reading(admin, ada.person_id, connection_id, odd)
    for column in ("last_sync_at", "token_expires_at", "created_at"):
        await admin(f"update public.cgm_connections set {column} = %s::timestamp", (odd,))

    assert [item["measured_at"] for item in (await get(client, ada))["readings"]] == ["2026-11-01T12:00:00Z"]
    listed = (await get(client, ada, f"{BASE}/connections"))["connections"][0]
    assert (listed["newest_reading_at"], listed["last_sync_at"]) == ("2026-11-01T12:00:00Z", None)
    one = await get(client, ada, f"{BASE}/connections/{connection_id}")
    assert one["readings"] == {"total": 1, "days": 1}


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-Infinity", "-1", "1e300"])
async def test_a_row_with_an_impossible_value_is_no_reading(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, odd: str
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [NOON])
    await add_odd_reading(admin, ada.person_id, connection_id, NOON + timedelta(minutes=5), odd)

    page = await get(client, ada, limit=1)
    table = await client.get(ADDRESS, headers={**ada.bearer, "Accept": "text/csv"})
    assert ([item["measured_at"] for item in page["readings"]], page["next"]) == (["2026-11-01T12:00:00Z"], None)
    assert len(table.text.splitlines()) == 2
    listed = (await get(client, ada, f"{BASE}/connections"))["connections"][0]
    assert listed["newest_reading_at"] == "2026-11-01T12:00:00Z"
    assert (await get(client, ada, f"{BASE}/connections/{connection_id}"))["readings"] == {"total": 1, "days": 1}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"unit": "mg"}, "unit"),
        ({"cursor": "junk"}, "cursor"),
        ({"cursor": "bnVsbA"}, "cursor"),
        ({"cursor": "c" * 501}, "cursor"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-11-01T12:00:00"}, "from"),
        ({"from": "1764000000"}, "from"),
        ({"to": "9999-12-31T23:59:59-14:00"}, "to"),
        ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from"),
        ({"person_id": "p" * 201}, "person_id"),
        ({"person_id": ""}, "person_id"),
    ],
    ids=str,
)
async def test_a_wrong_question_names_its_field(
    client: httpx2.AsyncClient, ada: Owner, query: dict[str, Any], field: str
) -> None:
    answer = await client.get(ADDRESS, params=query, headers=ada.bearer)

    assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"])
