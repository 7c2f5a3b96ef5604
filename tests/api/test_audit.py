"""A person's owner reads who did what; a refused read is told to whose data it was, and to nobody else."""

import base64
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_person

from evercgm.api.app import create_app
from evercgm.runtime import Runtime
from evercgm.storage.identity import sign_in_link, use_link

ADDRESS = f"{BASE}/audit"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
Rows = Callable[[str], Awaitable[list[tuple[Any, ...]]]]


@pytest.fixture
def rows(database: Any) -> Rows:
    """What the operator sees."""

    async def read(query: str) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
            return await (await conn.execute(query.encode())).fetchall()

    return read


async def add_event(admin: Run, person_id: str | None, actor: str = "service", **more: Any) -> None:
    event = {"action": "connected", "at": NOON, "request_id": "of-the-asker", "detail": {}, **more}
    await admin(
        "insert into cgm_private.audit_events (actor, person_id, action, at, request_id, detail)"
        " values (%s, %s, %s, %s, %s, %s::jsonb)",
        (actor, person_id, event["action"], event["at"], event["request_id"], json.dumps(event["detail"])),
    )


async def get(client: httpx2.AsyncClient, owner: Owner, address: str = ADDRESS, **query: Any) -> Any:
    answer = await client.get(address, params=query or None, headers=owner.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_event_says_what_was_done_when_and_by_whom(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    for n, actor in enumerate((f"owner:{bob.owner_id}", "operator", "service", f"owner:{ada.owner_id}")):
        await add_event(admin, ada.person_id, actor, at=NOON + timedelta(seconds=n))
    detail = {"connection_id": "c-1", "reason": "sign_in_refused"}
    await add_event(admin, ada.person_id, at=NOON + timedelta(minutes=1), action="refresh_failed", detail=detail)

    answer = await get(client, ada)

    newest, *others = answer["events"]
    assert newest.pop("id")
    assert newest == {
        "at": "2026-11-01T12:01:00Z",
        "action": "refresh_failed",
        "by": "the service",
        "message": "The access to the vendor could not be renewed. The service tries again by itself.",
        "connection_id": "c-1",
        "detail": {"reason": "sign_in_refused"},
    }
    assert [event["by"] for event in others] == ["you", "the service", "the operator", "another account"]
    assert all(set(event) == {"id", "at", "action", "by", "message"} for event in others)
    assert answer["next"] is None
    assert bob.owner_id not in json.dumps(answer)
    assert "of-the-asker" not in json.dumps(answer)


async def test_an_event_of_a_later_version_is_shown_in_general_words(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_event(admin, ada.person_id, action="teleported")

    (event,) = (await get(client, ada))["events"]

    assert event["message"] == "Something was done that this version has no words for."


async def test_pages_lose_none_and_repeat_none(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    # Several at one moment: the time alone is no place to go on from.
    for n in range(11):
        await add_event(admin, ada.person_id, at=NOON + timedelta(microseconds=n // 3), detail={"n": n})

    page = await get(client, ada, limit=4, person_id=ada.person_id)
    seen = page["events"]
    while page["next"]:
        assert page["next"].startswith(f"{ORIGIN}{ADDRESS}?person_id={ada.person_id}&limit=4&cursor=")
        page = await get(client, ada, page["next"])
        seen += page["events"]

    assert [event["detail"]["n"] for event in seen] == list(reversed(range(11)))
    assert len({event["id"] for event in seen}) == 11


async def test_a_full_last_page_has_no_next(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_event(admin, ada.person_id)
    await add_event(admin, ada.person_id)

    assert (await get(client, ada, limit=2))["next"] is None


async def test_what_happens_to_others_shows_in_no_id_and_no_cursor(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    for n in range(3):
        await add_event(admin, ada.person_id, at=NOON + timedelta(minutes=n))
    before = await get(client, ada, limit=2)
    await admin("delete from cgm_private.audit_events")
    for n in range(3):
        await add_event(admin, bob.person_id, at=NOON + timedelta(minutes=n))
        await add_event(admin, ada.person_id, at=NOON + timedelta(minutes=n))

    assert await get(client, ada, limit=2) == before


@pytest.mark.parametrize(
    ("query", "field", "sentence"),
    [
        ("limit=0", "limit", "must be at least 1"),
        ("limit=501", "limit", "must be at most 500"),
        ("cursor=x", "cursor", "use the next link of the page before as it is"),
        ("cursor=%00", "cursor", "is not of the form that we give"),
        ("person=x", "person", "this address takes person_id, limit, cursor"),
        ("limit=1&limit=2", "limit", "is given more than once"),
    ],
)
async def test_a_wrong_field_is_told_what_would_be_right(
    client: httpx2.AsyncClient, ada: Owner, query: str, field: str, sentence: str
) -> None:
    answer = await client.get(f"{ADDRESS}?{query}", headers=ada.bearer)

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert sentence in error["message"]


@pytest.mark.parametrize("place", ["r-1", "", "-1", "1.5", "9" * 19, "²"])
async def test_a_cursor_of_another_list_or_by_hand_is_refused(
    client: httpx2.AsyncClient, ada: Owner, place: str
) -> None:
    raw = json.dumps([NOON.isoformat(), place]).encode()
    cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")

    answer = await client.get(ADDRESS, params={"cursor": cursor}, headers=ada.bearer)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


async def test_head_is_answered_like_get_and_nobody_keeps_the_answer(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_event(admin, ada.person_id)

    got, head = (
        await client.get(ADDRESS, headers=ada.bearer),
        await client.head(ADDRESS, headers=ada.bearer),
    )

    assert (head.status_code, head.headers["content-length"]) == (200, got.headers["content-length"])
    assert got.headers["cache-control"] == "no-store"


async def test_who_is_not_signed_in_reads_nothing(client: httpx2.AsyncClient, ada: Owner) -> None:
    assert (await client.get(ADDRESS)).status_code == 401


async def test_with_two_persons_the_person_must_be_named(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    second = str(uuid.uuid4())
    await add_person(admin, ada.owner_id, second, "Child")
    await add_event(admin, second, action="paused")
    await add_event(admin, ada.person_id, action="resumed")

    answer = await client.get(ADDRESS, headers=ada.bearer)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "person_id")
    assert [event["action"] for event in (await get(client, ada, person_id=second))["events"]] == ["paused"]


@pytest.mark.parametrize("rls", [True, False], ids=["rls-on", "rls-off"])
async def test_another_owner_gets_nothing_and_cannot_tell_a_strangers_person_from_none(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run, rls: bool
) -> None:
    await add_event(admin, bob.person_id)
    await add_event(admin, None, "operator", action="keys_rotated")
    if not rls:
        for table in ('public."Person"', "cgm_private.audit_events"):
            await admin(f"alter table {table} disable row level security")
    headers = {**ada.bearer, "X-Request-Id": "request-0001"}

    own = await client.get(ADDRESS, headers=headers)
    theirs = await client.get(ADDRESS, params={"person_id": bob.person_id}, headers=headers)
    unknown = await client.get(ADDRESS, params={"person_id": str(uuid.uuid4())}, headers=headers)

    assert own.json() == {"events": [], "next": None}
    assert (theirs.status_code, theirs.content) == (404, unknown.content)
    assert dict(theirs.headers) == dict(unknown.headers)


def calls(things: dict[str, str]) -> list[tuple[str, str, str, Any]]:
    """Every way to name a thing: its kind, the call."""
    connection, person = things["connection"], things["person"]
    return [
        ("person", "GET", f"/audit?person_id={person}", None),
        ("person", "GET", f"/connections?person_id={person}", None),
        ("person", "GET", f"/readings?person_id={person}", None),
        ("person", "HEAD", f"/readings?person_id={person}", None),
        ("person", "GET", f"/events?person_id={person}", None),
        ("person", "POST", "/sync", {"person_id": person}),
        ("person", "POST", "/dexcom/oauth", {"person_id": person, "region": "us"}),
        ("connection", "GET", f"/connections/{connection}", None),
        ("connection", "DELETE", f"/connections/{connection}", None),
        ("connection", "POST", f"/connections/{connection}/pause", None),
        ("connection", "POST", f"/connections/{connection}/resume", None),
        ("connection", "GET", f"/syncs?connection_id={connection}", None),
        ("connection", "POST", "/sync", {"connection_id": connection}),
        ("sync", "GET", f"/syncs/{things['sync']}", None),
        ("attempt", "POST", "/dexcom/confirm", {"attempt": things["attempt"]}),
    ]


async def things_of(admin: Run, owner: Owner) -> dict[str, str]:
    """One of each kind, of this owner's person."""
    sync_id, attempt_id = str(uuid.uuid4()), str(uuid.uuid4())
    connection_id = await add_connection(admin, owner.person_id)
    await admin(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger) values (%s, %s, %s, 'schedule')",
        (sync_id, connection_id, owner.person_id),
    )
    await admin(
        "insert into cgm_private.oauth_attempts (id, person_id, owner_id, provider, region, sealed_access, expires_at)"
        " values (%s, %s, %s, 'dexcom', 'us', 'v1.x', now() + interval '10 minutes')",
        (attempt_id, owner.person_id, owner.owner_id),
    )
    return {"person": owner.person_id, "connection": connection_id, "sync": sync_id, "attempt": attempt_id}


async def test_each_refusal_of_anothers_thing_is_told_to_its_person_and_looks_to_the_asker_as_if_there_were_none(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run, rows: Rows
) -> None:
    things = await things_of(admin, bob)
    unknown = {kind: str(uuid.uuid4()) for kind in things}
    headers = {**ada.bearer, "X-Request-Id": "request-0001"}

    for (kind, method, path, body), (_, _, other_path, other_body) in zip(calls(things), calls(unknown), strict=True):
        await admin("delete from cgm_private.audit_events")
        none = await client.request(method, f"{BASE}{other_path}", json=other_body, headers=headers)
        assert await rows("select * from cgm_private.audit_events") == [], path
        theirs = await client.request(method, f"{BASE}{path}", json=body, headers=headers)
        assert (theirs.status_code, theirs.content) == (404, none.content), path
        assert dict(theirs.headers) == dict(none.headers), path
        found = await rows("select actor, person_id, action, request_id, detail from cgm_private.audit_events")
        assert found == [(f"owner:{ada.owner_id}", bob.person_id, "read_refused", "request-0001", {"kind": kind})], path

    (told,) = (await get(client, bob))["events"]
    assert (told["by"], told["detail"]) == ("another account", {"kind": "attempt"})
    assert (await get(client, ada))["events"] == []


async def test_the_same_asker_is_told_of_once_an_hour_and_by_session_too(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, bob: Owner, admin: Run, rows: Rows
) -> None:
    browser.cookies.set("evercgm_session", await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id)))

    for _ in range(3):
        await browser.get(f"{BASE}/readings?person_id={bob.person_id}")

    query = "select actor from cgm_private.audit_events where action = 'read_refused'"
    assert await rows(query) == [(f"owner:{ada.owner_id}",)]


async def test_a_caller_who_is_nobody_and_ones_own_mistakes_are_told_to_nobody(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run, rows: Rows
) -> None:
    things = await things_of(admin, bob)

    for _, method, path, body in calls(things):
        assert (await client.request(method, f"{BASE}{path}", json=body)).status_code == 401
    # Owned, yet not in this state or form.
    await admin("delete from cgm_private.sync_state")
    answer = await client.post(f"{BASE}/connections/{things['connection']}/pause", headers=bob.bearer)

    assert answer.status_code == 404
    assert await rows("select * from cgm_private.audit_events") == []


async def test_the_answer_is_sent_before_anybody_looks_whose_it_was(
    runtime: Runtime, ada: Owner, bob: Owner, rows: Rows
) -> None:
    app, sent = create_app(runtime), []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(await rows("select action from cgm_private.audit_events"))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"authorization", ada.bearer["Authorization"].encode())]
    scope = {
        "type": "http", "method": "GET", "path": f"{BASE}/readings", "raw_path": b"", "root_path": "",
        "query_string": f"person_id={bob.person_id}".encode(), "headers": headers, "http_version": "1.1",
        "scheme": "http", "server": ("cgm.test", 80), "client": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)

    assert sent == [[]]
    assert await rows("select action from cgm_private.audit_events") == [("read_refused",)]


async def test_an_answer_stays_the_same_where_nothing_can_be_written_down(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    await admin("revoke insert on cgm_private.audit_events from cgm_worker")

    answer = await client.get(f"{BASE}/readings?person_id={bob.person_id}", headers=ada.bearer)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_way_back_from_the_vendor_is_written_down_with_its_own_request(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, rows: Rows
) -> None:
    begun = await client.post(f"{BASE}/dexcom/oauth", json={"region": "us"}, headers=ada.bearer)
    to_vendor = await browser.post(begun.json()["authorization_url"])
    state = httpx2.URL(to_vendor.headers["location"]).params["state"]

    back = await browser.get(f"{BASE}/dexcom/callback", params={"state": state, "code": "c"})

    assert await rows("select actor, person_id, action, request_id from cgm_private.audit_events") == [
        (f"owner:{ada.owner_id}", ada.person_id, "connected", back.headers["x-request-id"])
    ]
    (event,) = (await get(client, ada))["events"]
    assert (event["by"], event["message"]) == ("you", "A vendor account was connected.")
    assert event["detail"] == {"provider": "dexcom", "region": "us"}


async def test_the_document_of_the_api_tells_of_it(client: httpx2.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()["paths"][ADDRESS]["get"]

    assert [one["name"] for one in described["parameters"]] == ["person_id", "limit", "cursor"]
