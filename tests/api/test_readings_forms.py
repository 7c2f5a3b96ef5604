"""One page of readings in its forms: JSON as declared, CSV, compressed, in both units, and not sent twice."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_readings, make_owner

from evercgm.api.readings_routes import Reading, Readings, _wants_csv
from evercgm.runtime import Runtime

ADDRESS = f"{BASE}/readings"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def get(client: httpx2.AsyncClient, owner: Owner, query: Any = None, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(ADDRESS, params=query, headers={"accept-encoding": "identity", **owner.bearer, **named})


@pytest.fixture
async def day(ada: Owner, admin: Run) -> str:
    """Twelve readings of one connection; one with all that a vendor may say."""
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [NOON + timedelta(minutes=5 * n) for n in range(12)])
    await admin(
        "insert into cgm_private.reading_details (reading_id, person_id, stream, record_key, trend, trend_rate,"
        " display_offset_min, flag) select id, person_id, 's', 'k', 'flat', -1.25, 60, 'high'"
        " from public.glucose_readings where value = 105"
    )
    return connection_id


@pytest.mark.parametrize("query", [{}, {"unit": "mmol/L"}, {"limit": 5}, {"to": "1999-01-01T00:00:00Z"}], ids=str)
async def test_the_bytes_are_what_the_document_declares(
    client: httpx2.AsyncClient, ada: Owner, day: str, query: dict[str, Any]
) -> None:
    answer = await get(client, ada, query)

    declared = Readings.model_validate_json(answer.content, strict=False)
    assert answer.json() == json.loads(declared.model_dump_json())
    assert [list(item) for item in answer.json()["readings"]] == [list(Reading.model_fields)] * len(declared.readings)
    assert answer.headers["content-type"] == "application/json"


async def test_a_page_that_has_not_changed_is_not_sent_again(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, day: str
) -> None:
    first = await get(client, ada, {"limit": 5})
    tag = first.headers["etag"]
    for asked in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await get(client, ada, {"limit": 5}, if_none_match=asked)
        assert (304, b"", tag) == (again.status_code, again.content, again.headers["etag"])
        assert again.headers["cache-control"] == "private, no-cache"
    await add_readings(admin, ada.person_id, day, [NOON + timedelta(hours=2)])
    changed = await get(client, ada, {"limit": 5}, if_none_match=tag)

    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert (await get(client, ada, {"unit": "mmol/L"}, if_none_match=tag)).status_code == 200


async def test_no_cache_may_give_one_persons_page_to_another(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner
) -> None:
    of_ada, of_bob = await get(client, ada), await get(client, bob)

    assert of_ada.content == of_bob.content
    assert (await get(client, bob, if_none_match=of_ada.headers["etag"])).status_code == 200
    assert {"Authorization", "Cookie", "Accept", "Accept-Encoding"} <= set(of_ada.headers["vary"].split(", "))
    unsigned = await client.get(ADDRESS, headers={"if-none-match": "*"})
    assert (unsigned.status_code, unsigned.headers["cache-control"]) == (401, "no-store")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("gzip, br", "gzip"), ("*", "gzip"), ("gzip;q=0, *", None), ("identity", None), ("gzip;q=none", None)],
    ids=str,
)
async def test_a_page_is_compressed_where_the_caller_can_read_that(
    client: httpx2.AsyncClient, ada: Owner, day: str, asked: str, expected: str | None
) -> None:
    plain = await get(client, ada)
    async with client.stream("GET", ADDRESS, headers={**ada.bearer, "accept-encoding": asked}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])

    assert answer.headers.get("content-encoding") == expected
    assert (gzip.decompress(raw) if expected else raw) == plain.content
    assert int(answer.headers["content-length"]) == len(raw)
    assert answer.headers["etag"] == plain.headers["etag"]


async def test_a_large_page_is_compressed_too(client: httpx2.AsyncClient, runtime: Runtime, admin: Run) -> None:
    eve = await make_owner(runtime, admin, "Eve")
    await admin(
        'insert into public.glucose_readings (id, person_id, "timestamp", value, source)'
        " select gen_random_uuid()::text, %s, timestamp '2026-11-01' + n * interval '1 minute', 100, 'cgm'"
        " from generate_series(1, 1200) n",
        (eve.person_id,),
    )
    answer = await get(client, eve, {"limit": 5000}, accept_encoding="gzip")

    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["readings"]) == 1200
    assert int(answer.headers["content-length"]) < len(answer.content) / 3


async def test_nothing_else_is_compressed(client: httpx2.AsyncClient, ada: Owner, day: str) -> None:
    answer = await client.get(f"{BASE}/connections", headers={**ada.bearer, "accept-encoding": "gzip"})

    assert "content-encoding" not in answer.headers


async def test_a_table_by_accept(client: httpx2.AsyncClient, ada: Owner, day: str) -> None:
    query = {"limit": 7, "unit": "mmol/L"}
    answer, as_json = await get(client, ada, query, accept="text/csv"), (await get(client, ada, query)).json()
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["link"] == f'<{as_json["next"]}>; rel="next"'
    assert list(rows[0]) == list(Reading.model_fields)
    assert rows == [
        {name: "" if value is None else str(value) for name, value in item.items()} for item in as_json["readings"]
    ]
    said = next(row for row in rows if row["flag"])
    assert (said["measured_at"], said["value"], said["unit"]) == ("2026-11-01T12:25:00Z", "5.8", "mmol/L")
    assert (said["trend"], said["trend_rate"], said["display_offset_min"]) == ("flat", "-0.069", "60")

    rest = await client.get(as_json["next"], headers={**ada.bearer, "accept": "text/csv"})
    assert len(list(csv.DictReader(io.StringIO(rest.text)))) == 5
    assert as_json["next"].startswith(ORIGIN)
    assert "link" not in rest.headers


async def test_a_table_that_leaves_is_written_down_once_a_file(
    client: httpx2.AsyncClient, ada: Owner, day: str, database: Any
) -> None:
    exported = "select actor, detail from cgm_private.audit_events where action = 'exported' and person_id = %s"
    table = await get(client, ada, {"limit": 7}, accept="text/csv")
    next_page = table.headers["link"].removeprefix("<").partition(">")[0]
    await client.get(next_page, headers={**ada.bearer, "accept": "text/csv"})
    await get(client, ada, {"limit": 7}, accept="text/csv", if_none_match=table.headers["etag"])
    await get(client, ada, {"limit": 7})

    with psycopg.connect(database.admin_dsn) as conn:
        written = conn.execute(exported, [ada.person_id]).fetchall()
    assert written == [(f"owner:{ada.owner_id}", {"form": "csv"})]


async def test_a_table_without_readings_is_its_header(client: httpx2.AsyncClient, ada: Owner) -> None:
    assert (await get(client, ada, accept="text/csv")).text == ",".join(Reading.model_fields) + "\r\n"


async def test_table_and_json_have_tags_of_their_own(client: httpx2.AsyncClient, ada: Owner, day: str) -> None:
    table = await get(client, ada, accept="text/csv")

    assert (await get(client, ada, accept="text/csv", if_none_match=table.headers["etag"])).status_code == 304
    assert (await get(client, ada, if_none_match=table.headers["etag"])).status_code == 200


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/csv", True),
        ("text/csv, */*;q=0.1", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("application/json;q=0.5, text/csv", True),
        ("application/json, text/csv;q=0.5", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_which_form_is_meant(accept: str, expected: bool) -> None:
    assert _wants_csv(accept) is expected


async def test_an_error_is_a_problem_whatever_is_accepted(client: httpx2.AsyncClient, ada: Owner) -> None:
    answer = await get(client, ada, {"limit": 0}, accept="text/csv")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_head_is_answered_like_get_without_a_body(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_readings(admin, ada.person_id, None, [NOON, NOON + timedelta(minutes=5)])
    asked = {"params": {"limit": 1}, "headers": ada.bearer}

    got, head = await client.get(ADDRESS, **asked), await client.head(ADDRESS, **asked)

    assert (head.status_code, head.content) == (200, b"")
    names = ("etag", "link", "content-type", "content-length", "cache-control", "vary")
    assert {name: head.headers[name] for name in names} == {name: got.headers[name] for name in names}
    again = await client.head(
        ADDRESS, params={"limit": 1}, headers={**ada.bearer, "If-None-Match": head.headers["etag"]}
    )
    assert again.status_code == 304
