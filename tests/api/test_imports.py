"""POST /imports: who may, what is answered, and the answers to every kind of bad form and file."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
from api_world import BASE, Owner, add_connection
from export_files import carelink, cases, clarity, libreview

ADDRESS = f"{BASE}/imports"
GOOD = clarity(
    [("2026-11-24T08:00:04", 101, 300), ("2026-11-24T08:05:04", "High", 600), ("2026-11-24T08:10:04", "", 9)]
)


async def send(client: httpx2.AsyncClient, owner: Owner, body: bytes, **fields: str) -> httpx2.Response:
    """With a zone, unless the test gives one (or none: "")."""
    data = {"time_zone": "Europe/Berlin", **fields}
    return await client.post(
        ADDRESS, headers=owner.bearer, data=data, files={"file": ("Test_Person_glucose_1-2-2026.csv", body)}
    )


def count(database: Any, table: str = "public.glucose_readings") -> int:
    with psycopg.connect(database.admin_dsn) as conn:
        (found,) = conn.execute(f"select count(*) from {table}").fetchone() or (0,)
        return int(found)


async def test_an_import_is_answered_with_its_counts_and_is_there_at_once(
    client: httpx2.AsyncClient, ada: Owner
) -> None:
    answer = await send(client, ada, GOOD)
    readings = await client.get(f"{BASE}/readings", headers=ada.bearer)

    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "format": "clarity", "title": "Dexcom Clarity", "unit": "mg/dL", "imported": 2, "known": 0, "corrected": 0,
        "skipped": 1, "skipped_kinds": {"no_value": 1}, "first": "2026-11-24T07:00:04Z", "last": "2026-11-24T07:05:04Z",
        "connection_id": None,
    }  # fmt: skip
    found = [
        (one["measured_at"], one["value"], one["flag"], one["display_offset_min"])
        for one in readings.json()["readings"]
    ]
    assert found == [("2026-11-24T07:05:04Z", 401, "high", 60), ("2026-11-24T07:00:04Z", 101, None, 60)]


async def test_the_same_file_again_adds_nothing(client: httpx2.AsyncClient, ada: Owner) -> None:
    first, again = [(await send(client, ada, GOOD)).json() for _ in range(2)]

    assert [(one["imported"], one["known"]) for one in (first, again)] == [(2, 0), (0, 2)]


async def test_the_same_file_sent_twice_at_once_is_stored_once(client: httpx2.AsyncClient, ada: Owner) -> None:
    body = libreview(
        [(f"{datetime(2026, 11, 14, tzinfo=UTC) + timedelta(minutes=5 * n):%d-%m-%Y %H:%M}", 0, 99) for n in range(900)]
    )

    answers = await asyncio.gather(*(send(client, ada, body) for _ in range(4)))

    assert [answer.status_code for answer in answers] == [201] * 4
    assert sorted(answer.json()["imported"] for answer in answers) == [0, 0, 0, 900]
    assert len({answer.json()["connection_id"] for answer in answers}) == 1


async def test_a_libreview_file_makes_a_connection_that_has_its_history(client: httpx2.AsyncClient, ada: Owner) -> None:
    body = libreview([("24-11-2026 08:00", 0, 95), ("24-11-2026 08:05", 0, 96)])

    connection_id = (await send(client, ada, body)).json()["connection_id"]
    told = (await client.get(f"{BASE}/connections/{connection_id}", headers=ada.bearer)).json()
    history = (await client.get(f"{BASE}/syncs", headers=ada.bearer)).json()["syncs"]
    sync = await client.post(f"{BASE}/sync", headers=ada.bearer, json={"connection_id": connection_id})

    assert (told["provider"], told["region"], told["status"], told["reason"]) == ("abbott", "file", "connected", None)
    assert (told["next_sync_at"], told["token_expires_at"], told["readings"]["total"]) == (None, None, 2)
    assert [(one["trigger"], one["outcome"], one["inserted"]) for one in history] == [("import", "succeeded", 2)]
    assert (sync.status_code, sync.json()["code"]) == (409, "by_file")


async def test_a_sync_of_a_person_passes_over_what_only_files_fill(
    client: httpx2.AsyncClient, ada: Owner, admin: Any
) -> None:
    await send(client, ada, libreview([("24-11-2026 08:00", 0, 95)]))
    alone = await client.post(f"{BASE}/sync", headers=ada.bearer)
    dexcom = await add_connection(admin, ada.person_id)

    both = await client.post(f"{BASE}/sync", headers=ada.bearer)

    assert (alone.status_code, alone.json()["code"]) == (409, "by_file")
    assert [run["connection_id"] for run in both.json()["runs"]] == [dexcom]


async def test_the_holes_after_a_file_are_for_the_next_file(client: httpx2.AsyncClient, ada: Owner) -> None:
    now = datetime.now(UTC)
    at = [now - timedelta(hours=hours) for hours in (5, 4)]
    body = libreview([(f"{one:%d-%m-%Y %H:%M}", 0, 95) for one in at])
    # Named: in the first twelve days of a month the file alone does not tell it.
    await send(client, ada, body, time_zone="UTC", date_order="day_first")

    gaps = (await client.get(f"{BASE}/gaps", headers=ada.bearer)).json()["gaps"]

    assert [one["reason"] for one in gaps] == ["signal_lost", "not_imported"]


async def test_the_person_can_read_that_it_happened(client: httpx2.AsyncClient, ada: Owner, database: Any) -> None:
    await send(client, ada, GOOD)

    events = (await client.get(f"{BASE}/audit", headers=ada.bearer)).json()["events"]

    assert [(one["action"], one["by"], one["message"]) for one in events] == [
        ("imported", "you", "Readings were imported from a file.")
    ]
    with psycopg.connect(database.admin_dsn) as conn:
        (detail,) = conn.execute("select detail from cgm_private.audit_events").fetchone() or ({},)
    assert detail == {"imported": 2, "known": 0, "skipped": 1}


async def test_sixty_imports_within_an_hour_are_enough_and_the_next_changes_nothing(
    client: httpx2.AsyncClient, ada: Owner, admin: Any, database: Any
) -> None:
    await admin(
        "insert into cgm_private.audit_events (actor, action, person_id)"
        " select %s, 'imported', %s from generate_series(1, 60)",
        (f"owner:{ada.owner_id}", ada.person_id),
    )

    answer = await send(client, ada, GOOD)

    assert (answer.status_code, answer.json()["code"]) == (429, "too_often")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert count(database) == 0


async def test_anothers_person_is_not_found_and_the_file_is_not_even_looked_at(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, database: Any
) -> None:
    answers = [
        await send(client, ada, b"no file of ours", person_id=person_id) for person_id in (bob.person_id, "nobody")
    ]

    assert [(one.status_code, one.json()["code"]) for one in answers] == [(404, "not_found")] * 2
    assert count(database) == 0


async def test_without_a_sign_in_no_body_is_read(client: httpx2.AsyncClient) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 65536

    answer = await client.post(ADDRESS, content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert answer.status_code == 401
    assert taken < 100


async def test_a_question_names_its_field_and_what_may_be_answered(client: httpx2.AsyncClient, ada: Owner) -> None:
    ambiguous = libreview([("03-04-2026 08:00", 0, 95)])

    zone = (await send(client, ada, GOOD, time_zone="")).json()
    order = (await send(client, ada, ambiguous)).json()
    answered = await send(client, ada, ambiguous, date_order="month_first")

    assert [(one["status"], one["code"], one["errors"][0]["field"]) for one in (zone, order)] == [
        (422, "bad_input", "time_zone"), (422, "bad_input", "date_order"),
    ]  # fmt: skip
    assert "Europe/Berlin" in zone["errors"][0]["choices"]
    assert order["errors"][0]["choices"] == ["day_first", "month_first"]
    assert answered.json()["first"] == "2026-03-04T07:00:00Z"


async def test_a_wrong_cell_is_answered_with_line_and_column_as_numbers(
    client: httpx2.AsyncClient, ada: Owner, database: Any
) -> None:
    body = libreview([("13-03-2026 08:00", 0, 95), ("13-03-2026 08:05", 0, "fast")])

    answer = await send(client, ada, body)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["line"], error["column"]) == ("file", 4, 5)
    assert "line 4, column 5" in answer.json()["detail"]
    assert count(database) == count(database, "cgm_private.reading_details") == 0


async def test_each_bad_form_has_its_own_answer(client: httpx2.AsyncClient, ada: Owner) -> None:
    def form(*parts: tuple[str, str | None, bytes]) -> dict[str, Any]:
        return {"files": [(name, (file_name, body) if file_name else (None, body)) for name, file_name, body in parts]}

    zone = ("time_zone", None, b"UTC")
    sent: list[tuple[dict[str, Any], int, str, str]] = [
        ({"json": {"file": "x"}}, 415, "not_a_form", "multipart/form-data"),
        ({"data": {"file": "x"}}, 415, "not_a_form", "multipart/form-data"),
        ({}, 415, "not_a_form", "multipart/form-data"),
        (form(zone), 422, "bad_input", "file: is missing"),
        (form(("file", None, b"x"), zone), 422, "bad_input", "file: must be a file"),
        (form(("file", "a.csv", GOOD), zone, ("tz", None, b"UTC")), 422, "bad_input", "tz: there is no such field"),
        (form(("file", "a.csv", GOOD), zone, zone), 422, "bad_input", "time_zone: is given more than once"),
        (
            form(("file", "a.csv", GOOD), ("unit", None, b"mol"), zone),
            422,
            "bad_input",
            "unit: must be mg/dL or mmol/L",
        ),
        (
            form(("file", "a.csv", GOOD), ("person_id", None, b"x" * 300), zone),
            422,
            "bad_input",
            "person_id: must have",
        ),
        (form(("file", "a.csv", GOOD), ("file", "b.csv", GOOD), zone), 400, "bad_request", ""),
    ]

    for request, status, code, words in sent:
        answer = await client.post(ADDRESS, headers=ada.bearer, **request)
        assert (answer.status_code, answer.json()["code"]) == (status, code), request
        assert words in answer.json()["detail"]


async def test_each_bad_file_has_its_own_answer(client: httpx2.AsyncClient, ada: Owner, database: Any) -> None:
    sent = [
        (b"", "it is empty"), (gzip.compress(GOOD), "unpack it first"),
        (b"PK\x03\x04" + b"\x00" * 60, "unpack it first"),
        (bytes(range(256)) * 20, "it is no text"), (b"%PDF-1.7", "it is a PDF"),
        (b"date,sgv\n2026-03-13,95\n", "it is none of the exports that are read here"),
        (cases("carelink_csv")[-2]["body"], "set the CareLink website to English"),
        (carelink([("29/07/2026", "18:47:11", 117)]), "line 3, column 2 (Date)"),
    ]  # fmt: skip

    for body, words in sent:
        answer = await send(client, ada, body)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
        assert answer.json()["errors"][0]["field"] == "file"
        assert words in answer.json()["detail"]
    assert count(database) == 0


async def test_a_file_above_the_limit_is_refused_by_what_it_says_of_itself_and_by_its_length(
    client: httpx2.AsyncClient, ada: Owner
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for _ in range(200):
            sent += 1
            yield b"1" * 2**20

    form = {"Content-Type": "multipart/form-data; boundary=b", **ada.bearer}
    stated = await client.post(ADDRESS, content=b"", headers={**form, "Content-Length": str(200 * 2**20)})
    grown = await client.post(ADDRESS, content=endless(), headers=form)
    elsewhere = await client.post(f"{BASE}/sync", content=b"x" * 70_000, headers=ada.bearer)

    for answer in (stated, grown):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "64 MB" in answer.json()["detail"]
    assert sent <= 66
    assert (elsewhere.status_code, elsewhere.json()["detail"]) == (413, "The request is larger than 64 KiB.")
