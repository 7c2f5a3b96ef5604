"""Fields that nobody may set, sent with every call that takes a body: each is refused by name and nothing changes."""

from typing import Any

import httpx2
import psycopg
import pytest
from api_world import BASE, Owner, Run
from openapi_walk import Document, Operation, body_schemas, call_of, form_of, operations, resolved
from test_foreign_ids import belongings, everything_of

PLANTED: dict[str, Any] = {
    "status": "connected",
    "reason": None,
    "access_token": "planted-token",
    "refresh_token": "planted-token",
    "sealed_access": "planted-token",
    "token_expires_at": "2999-12-31T00:00:00Z",
    "sync_cursor": "planted-cursor",
    "cursor": "planted-cursor",
    "generation": 7,
    "owner_id": "planted-owner",
    "ownerId": "planted-owner",
    "role": "service_role",
    "id": "planted-id",
    "provider": "abbott",
    "vendor_account_id": "planted-account",
    "state": "planted-state",
    "redirect_uri": "http://evil.test/",
    "client_id": "planted-client",
    "webhook_url": "http://evil.test/",
    "adopted_at": None,
    "__proto__": {"status": "connected"},
    "constructor": {"prototype": {}},
}  # fmt: skip


def with_bodies(document: Document) -> list[Operation]:
    return [one for one in operations(document) if any(field.place == "body" for field in one.fields)]


async def planted(
    client: httpx2.AsyncClient, document: Document, operation: Operation, owner: Owner, own: dict[str, str], **more: Any
) -> httpx2.Response:
    """A call that is right but for these fields."""
    call = call_of(document, operation, {one.name: own[one.means or ""] for one in operation.ids if one.required})
    call["headers"] = owner.bearer
    if operation.is_form:
        return await client.request(**call | {"files": call["files"] | form_of(more)})
    body = httpx2.Response(200, content=call.pop("content")).json() | more
    return await client.request(**call, json=body)


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> Document:
    found: Document = (await client.get("/openapi.json")).json()
    return found


def is_bounded(document: Document, schema: dict[str, Any]) -> bool:
    """Whether there is an end to what fits it."""
    schema = dict(resolved(document, schema))
    choices = schema.get("anyOf", [])
    if choices:
        return all(is_bounded(document, one) for one in choices)
    if {"enum", "const"} & set(schema) or schema.get("type") in ("null", "boolean"):
        return True
    if schema.get("type") in ("integer", "number"):
        return {"minimum", "maximum"} <= set(schema)
    # A pattern with an end, or a time: those have forms of their own.
    ended = str(schema.get("pattern", "")).endswith("}$") or schema.get("format") == "date-time"
    return schema.get("type") == "string" and ("maxLength" in schema or ended)


async def test_every_parameter_and_every_field_has_a_bound(document: Document) -> None:
    unbounded = [
        f"{operation.label} {field.name}"
        for operation in operations(document)
        for field in operation.fields
        if not is_bounded(document, dict(field.schema))
    ]

    assert unbounded == []
    assert not is_bounded(document, {"anyOf": [{"type": "string"}, {"type": "null"}]})


async def test_a_field_that_nobody_may_set_is_refused_by_name_in_every_body(
    client: httpx2.AsyncClient, document: Document, database: Any, bob: Owner, admin: Run
) -> None:
    own = await belongings(client, bob, admin)
    before = everything_of(database, bob)

    assert len(with_bodies(document)) >= 3
    for operation in with_bodies(document):
        known = {field.name for field in operation.fields}
        for name, value in PLANTED.items():
            if name in known:
                continue
            answer = await planted(client, document, operation, bob, own, **{name: value})
            assert answer.status_code == 422, (operation.label, name, answer.text)
            assert [error["field"] for error in answer.json()["errors"]] == [name]
            assert "planted" not in answer.text

    assert everything_of(database, bob) == before


async def test_a_person_of_another_is_never_taken_on(
    client: httpx2.AsyncClient, document: Document, database: Any, ada: Owner, bob: Owner, admin: Run
) -> None:
    of_ada, own = await belongings(client, ada, admin), await belongings(client, bob, admin)
    before = everything_of(database, ada), everything_of(database, bob)

    for operation in with_bodies(document):
        answer = await planted(client, document, operation, bob, own, person_id=of_ada["person_id"])
        assert answer.status_code in (404, 422), (operation.label, answer.text)

    assert (everything_of(database, ada), everything_of(database, bob)) == before


def test_every_body_says_that_it_takes_no_other_fields(document: Document) -> None:
    open_ones = [
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, details in methods.items()
        for _media, schema in body_schemas(document, details)
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False
    ]

    assert open_ones == []


async def test_what_is_planted_in_the_address_of_a_change_is_not_looked_at(
    client: httpx2.AsyncClient, database: Any, ada: Owner, bob: Owner, admin: Run
) -> None:
    of_ada, own = await belongings(client, ada, admin), await belongings(client, bob, admin)
    before = everything_of(database, ada)
    query = {"person_id": of_ada["person_id"], "connection_id": of_ada["connection_id"], "status": "expired"}

    answer = await client.post(f"{BASE}/connections/{own['connection_id']}/pause", params=query, headers=bob.bearer)

    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (
        200,
        own["connection_id"],
        "disconnected",
    )
    assert everything_of(database, ada) == before


async def test_an_attempt_belongs_to_the_person_it_was_begun_for_whatever_comes_back(
    client: httpx2.AsyncClient, database: Any, ada: Owner, bob: Owner
) -> None:
    url = (await client.post(f"{BASE}/dexcom/oauth", json={"region": "us"}, headers=bob.bearer)).json()
    click = await client.post(url["authorization_url"])
    state = httpx2.URL(click.headers["location"]).params["state"]

    planted_query = {
        "state": state,
        "code": "c",
        "person_id": ada.person_id,
        "owner_id": ada.owner_id,
        "status": "error",
    }
    await client.get(f"{BASE}/dexcom/callback", params=planted_query, headers=ada.bearer)

    with psycopg.connect(database.admin_dsn) as conn:
        found = conn.execute("select person_id, status::text from public.cgm_connections").fetchall()
    assert found == [(bob.person_id, "connected")]
