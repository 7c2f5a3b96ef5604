"""Another's id, in every place of every route that takes one, is an unknown id: same 404, same body, nothing done.

The routes are found in the OpenAPI document: a new one is attacked as soon as it is there.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_readings
from fastapi.routing import APIRoute
from openapi_walk import Document, Operation, body_schemas, call_of, operations, resolved
from test_connect import begin

from evercgm.api.app import create_app
from evercgm.runtime import Runtime

# Operations that name nothing of anybody's: the caller alone is meant. A new route without an id is added by hand.
WITHOUT_IDS = {
    f"POST {BASE}/session/sign-out",
    f"GET {BASE}/session",
    f"GET {BASE}/providers",
    # What comes back from the vendor is bound by its state: test_callback_attacks.py.
    f"GET {BASE}/dexcom/callback",
    "GET /healthz",
    "GET /readyz",
    # Counts for the operator: test_metrics.py.
    "GET /metrics",
}
# Routes that stand in no document: pages by one-time tokens, files, and the live stream (attacked below).
HIDDEN = {
    "/", "/connect/{token}", "/sign-in/{token}", f"{BASE}/events", "/openapi.json",
}  # fmt: skip
EVERYTHING = """
select (select jsonb_agg(to_jsonb(c) order by c.id) from public.cgm_connections c where c.person_id = %(person)s),
       (select jsonb_agg(to_jsonb(s)) from cgm_private.sync_state s where s.person_id = %(person)s),
       (select jsonb_agg(to_jsonb(r) order by r.id) from cgm_private.sync_runs r where r.person_id = %(person)s),
       (select jsonb_agg(to_jsonb(o) order by o.id) from cgm_private.oauth_attempts o where o.person_id = %(person)s),
       (select jsonb_agg(to_jsonb(g) order by g.id) from public.glucose_readings g where g.person_id = %(person)s),
       (select jsonb_agg(to_jsonb(p)) from cgm_private.person_settings p where p.person_id = %(person)s),
       (select count(*) from cgm_jobs.pgqueuer)
"""


@pytest.fixture(params=[True, False], ids=["host's RLS on", "host's RLS off"])
def database(make_database: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    return make_database(host_rls=request.param)


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> Document:
    found: Document = (await client.get("/openapi.json")).json()
    return found


async def belongings(client: httpx2.AsyncClient, owner: Owner, admin: Run) -> dict[str, str]:
    """One of everything that an id can name, all of this owner's."""
    connection_id = await add_connection(admin, owner.person_id)
    await add_readings(admin, owner.person_id, connection_id, [datetime(2026, 11, 24, 8, tzinfo=UTC)])
    asked = await client.post(f"{BASE}/sync", json={"connection_id": connection_id}, headers=owner.bearer)
    attempt = str(uuid4())
    await begin(client, owner)
    await admin(
        "insert into cgm_private.oauth_attempts (id, person_id, owner_id, provider, region, sealed_access,"
        " sealed_refresh, expires_at) values (%s, %s, %s, 'dexcom', 'us', 'v1.x', 'v1.y', now() + interval '10 min')",
        (attempt, owner.person_id, owner.owner_id),
    )
    return {
        "person_id": owner.person_id,
        "connection_id": connection_id,
        "sync_id": asked.json()["runs"][0]["id"],
        "attempt": attempt,
    }


def told(answer: httpx2.Response) -> tuple[int, Any]:
    """Status and body, without what differs from request to request."""
    return answer.status_code, {**answer.json(), "request_id": None}


def everything_of(database: Any, owner: Owner) -> Any:
    with psycopg.connect(database.admin_dsn) as conn:
        return conn.execute(EVERYTHING, {"person": owner.person_id}).fetchone()


async def test_anothers_id_in_any_place_of_any_route_is_the_same_404_as_an_unknown_one_and_does_nothing(
    client: httpx2.AsyncClient, document: Document, database: Any, ada: Owner, bob: Owner, admin: Run
) -> None:
    of_ada, of_bob = await belongings(client, ada, admin), await belongings(client, bob, admin)
    before = everything_of(database, ada), everything_of(database, bob)
    attacked = 0

    for operation in operations(document):
        for field in operation.ids:
            assert field.means in of_ada, f"{operation.label}: say in belongings() what {field.means} is"
            own = {one.name: of_bob[one.means or ""] for one in operation.ids if one.place == "path"}
            answers = {}
            for whose, value in (("another's", of_ada[field.means]), ("unknown", str(uuid4()))):
                call = call_of(document, operation, {**own, field.name: value})
                call["headers"] = {**call.get("headers", {}), **bob.bearer}
                answers[whose] = told(await client.request(**call))
            assert answers["another's"] == answers["unknown"], operation.label
            assert answers["unknown"][0] == 404, (operation.label, field.name, answers)
            assert of_ada[field.means] not in str(answers), operation.label
            attacked += 1

    assert attacked >= 12
    assert (everything_of(database, ada), everything_of(database, bob)) == before


async def test_anothers_id_beside_an_own_one_is_refused_as_well(
    client: httpx2.AsyncClient, document: Document, database: Any, ada: Owner, bob: Owner, admin: Run
) -> None:
    of_ada, of_bob = await belongings(client, ada, admin), await belongings(client, bob, admin)
    before = everything_of(database, ada)

    for operation in operations(document):
        for field in operation.ids:
            values = {one.name: of_bob[one.means or ""] for one in operation.ids} | {
                field.name: of_ada[field.means or ""]
            }
            call = call_of(document, operation, values)
            call["headers"] = {**call.get("headers", {}), **bob.bearer}
            assert (await client.request(**call)).status_code == 404, (operation.label, field.name)

    assert everything_of(database, ada) == before


async def test_nobody_without_a_token_is_told_more_than_that(
    client: httpx2.AsyncClient, document: Document, ada: Owner, admin: Run
) -> None:
    of_ada = await belongings(client, ada, admin)

    for operation in operations(document):
        if not operation.ids:
            continue
        for values in (of_ada, dict.fromkeys(of_ada, str(uuid4()))):
            call = call_of(document, operation, {one.name: values[one.means or ""] for one in operation.ids})
            answer = await client.request(**call)
            assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in"), operation.label


async def test_another_persons_stream_is_the_same_404(client: httpx2.AsyncClient, ada: Owner, bob: Owner) -> None:
    path = f"{BASE}/events"

    answers = [
        told(await client.get(path, params={"person_id": one}, headers=bob.bearer))
        for one in (ada.person_id, str(uuid4()))
    ]

    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def is_listed(operation: Operation) -> bool:
    return bool(operation.ids) or operation.label in WITHOUT_IDS


def test_every_route_is_attacked_or_named_as_one_without_ids(runtime: Runtime) -> None:
    app = create_app(runtime)
    document = app.openapi()
    found = operations(document)
    documented = {operation.path for operation in found}

    assert [operation.label for operation in found if not is_listed(operation)] == []
    assert {operation.label for operation in found} >= WITHOUT_IDS
    hidden = {route.path for route in app.routes if isinstance(route, APIRoute)} - documented
    assert hidden <= HIDDEN


def test_a_new_route_is_found_by_the_walk(runtime: Runtime) -> None:
    app = create_app(runtime)

    @app.get(f"{BASE}/new/{{id}}")
    async def new(id: str) -> None:  # noqa: A002
        raise AssertionError

    @app.get(f"{BASE}/bare")
    async def bare() -> None:
        raise AssertionError

    found = {operation.label: operation for operation in operations(app.openapi())}

    assert [field.means for field in found[f"GET {BASE}/new/{{id}}"].ids] == ["new_id"]
    assert not is_listed(found[f"GET {BASE}/bare"])


async def test_a_person_of_ones_own_is_found_by_the_same_calls(
    client: httpx2.AsyncClient, document: Document, ada: Owner, admin: Run
) -> None:
    """Else a walk whose calls are all wrong would look like a walk that is refused."""
    mine = await belongings(client, ada, admin)
    found = 0

    for operation in operations(document):
        if operation.method != "GET" or not operation.ids:
            continue
        call = call_of(document, operation, {one.name: mine[one.means or ""] for one in operation.ids})
        answer = await client.request(**call, headers=ada.bearer)
        assert answer.status_code == 200, (operation.label, answer.text)
        found += 1

    assert found >= 5


async def test_the_document_has_neither_webhooks_nor_an_address_that_we_would_fetch(document: Document) -> None:
    words = ("url", "uri", "href", "link", "hook", "callback", "endpoint", "address", "host", "origin", "return_to")
    found = set()
    for path, methods in document["paths"].items():
        for method, details in methods.items():
            assert "callbacks" not in details
            schemas = {item["name"]: item["schema"] for item in details.get("parameters", [])}
            for _media, schema in body_schemas(document, details):
                schemas |= schema.get("properties", {})
            for name, schema in schemas.items():
                text = str(resolved(document, schema)).lower()
                if any(word in name.lower() for word in words) or "uri" in text or "url" in text:
                    found.add((f"{method.upper()} {path}", name))

    assert "webhooks" not in document
    # Neither is fetched: one is only sent to the browser (test_browser_attacks.py), one only read for its code.
    assert found == {
        (f"POST {BASE}/dexcom/oauth", "return_to"),
        (f"POST {BASE}/medtronic/callback", "redirect_url"),
    }
    assert ORIGIN not in str(document["paths"])
