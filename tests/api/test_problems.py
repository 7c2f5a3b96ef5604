"""Errors: each is a problem with a stable code that docs/errors.md explains, and tells nothing of the inside."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import structlog
from api_world import BASE, ORIGIN, Owner, Run, add_connection, make_settings
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from evercgm.api import error_responses
from evercgm.api.app import create_app
from evercgm.api.error_responses import problem_of
from evercgm.core import errors
from evercgm.core.connection import NEEDS_SIGN_IN
from evercgm.runtime import Runtime
from evercgm.storage.database_errors import classify
from evercgm.storage.identity import TokenRefused, sign_in_link, use_link

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "evercgm"
_ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


def _all_errors(kind: type[errors.EvercgmError]) -> Iterator[type[errors.EvercgmError]]:
    for child in kind.__subclasses__():
        if child.__module__ == "evercgm.core.errors":
            yield child
            yield from _all_errors(child)


EXAMPLES: dict[type[errors.EvercgmError], errors.EvercgmError] = {
    errors.VendorDenied: errors.VendorDenied("marked", expired_token=True),
    errors.SyncTooSoon: errors.SyncTooSoon(17),
    errors.TooOften: errors.TooOften(17),
    errors.BadInput: errors.BadInput("field", "what would be right"),
    errors.VendorRateLimited: errors.VendorRateLimited("marked", 30),
    errors.CallsHeldBack: errors.CallsHeldBack(12.2),
    errors.SignInLocked: errors.SignInLocked(300),
    errors.SignInsBanned: errors.SignInsBanned(900),
    errors.SignInsHeldBack: errors.SignInsHeldBack(900),
    errors.ChooseFirst: errors.ChooseFirst((errors.Choice("marked", "marked"),)),
    errors.OtherAccount: errors.OtherAccount("attempt-1"),
    errors.CellRefused: errors.CellRefused(3, 5, "what would be right"),
    errors.AnswerNeeded: errors.AnswerNeeded("field", "what would be right", ("one", "other")),
    errors.TooLarge: errors.TooLarge(64),
    errors.NothingToSync: errors.NothingToSync("paused", "connection_id"),
}


def _literals(name: str, place: int) -> set[tuple[int, str]]:
    """Codes that the source gives by hand: the string at ``place`` of each call of ``name``, with its status."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == name
            if called and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                status = node.args[0].value if place else 409
                found.add((status, node.args[place].value))
    return found


def _codes_in_the_source() -> set[tuple[int, str]]:
    tables = {(status, code) for _, status, code, _ in error_responses._ANSWERS}
    tables |= {(status, code) for status, code, _ in error_responses._DATABASE.values()}
    tables |= {(status, code) for status, (code, _) in error_responses._BY_STATUS.items()}
    tables |= {error_responses._INTERNAL[:2], (400, error_responses._OTHERWISE[0])}
    return (
        tables
        | _literals("Problem", 1)
        | _literals("ReconnectNeeded", 0)
        | {(409, code) for code in (*error_responses._NOTHING_TO_SYNC, *NEEDS_SIGN_IN)}
    )


def test_every_code_stands_in_the_table_of_errors_and_no_other() -> None:
    table = (ROOT / "docs" / "errors.md").read_text()
    listed = [(int(status), code) for status, code in _ROW.findall(table)]

    assert sorted(_codes_in_the_source()) == sorted(listed)


@pytest.mark.parametrize("kind", sorted(set(_all_errors(errors.EvercgmError)), key=lambda kind: kind.__name__))
def test_every_error_of_the_house_has_an_answer(kind: type[errors.EvercgmError]) -> None:
    problem = problem_of(EXAMPLES.get(kind) or kind("marked"))

    assert problem.code != "internal_error"
    assert "marked" not in problem.detail
    assert problem.detail.endswith(".") or issubclass(kind, errors.BadInput)


@pytest.mark.parametrize(
    ("exc", "status", "code", "headers"),
    [
        (errors.VendorRateLimited("x", 30), 503, "rate_limited", {"Retry-After": "30"}),
        (errors.CallsHeldBack(12.2), 503, "rate_limited", {"Retry-After": "13"}),
        (errors.VendorTryLater(), 503, "vendor_unavailable", {}),
        (errors.VendorDenied("x", expired_token=False), 502, "vendor_denied", {}),
        (errors.VendorChanged("x"), 502, "vendor_changed", {}),
        (errors.OperatorMustAct("x"), 502, "operator_must_act", {}),
        (errors.ReconnectNeeded("no_tokens"), 409, "no_tokens", {}),
        (errors.NotYours("person"), 404, "not_found", {}),
        (errors.SyncTooSoon(17), 429, "sync_too_soon", {"Retry-After": "17"}),
        (pg.InsufficientPrivilege("marked"), 404, "not_found", {}),
        (pg.ForeignKeyViolation("marked"), 404, "not_found", {}),
        (pg.InvalidTextRepresentation("marked"), 400, "bad_value", {}),
        (psycopg.DataError("marked"), 400, "bad_value", {}),
        (pg.UniqueViolation("marked"), 409, "conflict", {}),
        (pg.SerializationFailure("marked"), 503, "try_again", {"Retry-After": "1"}),
        (pg.DeadlockDetected("marked"), 503, "try_again", {"Retry-After": "1"}),
        (pg.LockNotAvailable("marked"), 503, "try_again", {"Retry-After": "1"}),
        (pg.QueryCanceled("marked"), 503, "database_unavailable", {"Retry-After": "1"}),
        (pg.AdminShutdown("marked"), 503, "database_unavailable", {"Retry-After": "1"}),
        (PoolTimeout("marked"), 503, "database_unavailable", {"Retry-After": "1"}),
        (pg.UndefinedColumn("marked"), 500, "internal_error", {}),
        (RuntimeError("marked"), 500, "internal_error", {}),
        (TokenRefused("marked"), 500, "internal_error", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_fails_has_its_status_code_and_next_step(
    exc: Exception, status: int, code: str, headers: dict[str, str]
) -> None:
    problem = problem_of(exc)

    assert (problem.status, problem.code, problem.headers) == (status, code, headers)
    assert "marked" not in problem.detail


async def test_a_second_connection_at_one_provider_is_named_as_that(admin: Run, ada: Owner) -> None:
    await add_connection(admin, ada.person_id)

    with pytest.raises(pg.UniqueViolation) as caught:
        await add_connection(admin, ada.person_id)

    assert classify(caught.value) == "already_connected"
    assert problem_of(caught.value).code == "already_connected"


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", f"{BASE}/nowhere", {}, 404, "not_found"),
        ("GET", "/assets/nowhere.js", {}, 404, "not_found"),
        ("GET", f"{BASE}/connections/unknown", {}, 404, "not_found"),
        ("PUT", f"{BASE}/connections", {}, 405, "method_not_allowed"),
        ("TRACE", f"{BASE}/sync", {}, 405, "method_not_allowed"),
        ("POST", "/assets/page.js", {}, 405, "method_not_allowed"),
        ("POST", f"{BASE}/sync", {"content": b" " * 70_000}, 413, "too_large"),
        ("POST", f"{BASE}/sync", {"data": {"person_id": "x"}}, 415, "not_json"),
        ("POST", f"{BASE}/sync", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "not_json"),
        ("POST", f"{BASE}/dexcom/oauth", {"files": {"region": b"us"}}, 415, "not_json"),
        ("POST", f"{BASE}/sync", {"json": {"more": 1}}, 422, "bad_input"),
        ("POST", f"{BASE}/sync", {"json": [1]}, 422, "bad_input"),
        ("GET", f"{BASE}/readings?limit=0", {}, 422, "bad_input"),
        ("GET", f"{BASE}/readings?from=yesterday", {}, 422, "bad_input"),
        ("GET", f"{BASE}/readings?cursor=x", {}, 422, "bad_input"),
    ],
)
async def test_every_refusal_is_a_problem(
    client: httpx2.AsyncClient, ada: Owner, method: str, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    headers = {**ada.bearer, **sent.pop("headers", {})}

    answer = await client.request(method, path, headers=headers, **sent)

    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]


@pytest.mark.parametrize(
    ("query", "field", "sentence"),
    [
        ("from=2026-11-24T08:00:00+01:00", "from", "write + as %2B in an address, or use Z"),
        ("to=2026-11-24T08:00:00.5+0100", "to", "write + as %2B in an address, or use Z"),
        ("from=yesterday", "from", "must be a time such as 2026-11-24T08:00:00Z"),
        ("from=2026-11-24Tmorning", "from", "must be a time such as 2026-11-24T08:00:00Z"),
        ("from=2026-13-24T08:00:00Z", "from", "must be a time such as 2026-11-24T08:00:00Z"),
        ("from=2026-11-24T08:00:00", "from", "must name its offset: Z, or"),
        ("to=9999-11-24T08:00:00Z", "to", "must lie in the years 1970 to 2200"),
        ("from=2026-11-25T00:00:00Z&to=2026-11-24T00:00:00Z", "from", "must be before 'to'"),
        ("limit=0", "limit", "must be at least 1"),
        ("limit=5001", "limit", "must be at most 5000"),
        ("limit=", "limit", "must be a whole number"),
        ("limit=1.5", "limit", "must be a whole number"),
        (f"limit={'9' * 5000}", "limit", "must be"),
        ("unit=mg", "unit", "must be 'mg/dL' or 'mmol/L'"),
        ("cursor=%20", "cursor", "is not of the form that we give"),
        (f"cursor={'c' * 501}", "cursor", "must have at most 500 characters"),
        ("person_id=", "person_id", "is not of the form that we give"),
        ("form=2026-11-24T08:00:00Z", "form", "this address takes person_id, from, to, limit, cursor, unit"),
        ("limit=1&limit=2", "limit", "is given more than once"),
    ],
)
async def test_a_wrong_field_is_told_what_would_be_right(
    client: httpx2.AsyncClient, ada: Owner, query: str, field: str, sentence: str
) -> None:
    answer = await client.get(f"{BASE}/readings?{query}", headers=ada.bearer)

    body = answer.json()
    (error,) = body["errors"]
    assert (answer.status_code, body["code"], error["field"]) == (422, "bad_input", field)
    assert sentence in error["message"]
    assert body["detail"] == f"{field}: {error['message']}"


@pytest.mark.parametrize(
    ("content", "field", "sentence"),
    [
        ('{"person_id": 1}', "person_id", "must be a text"),
        ('{"more": 1}', "more", "there is no such field here"),
        ('{"from": 1764000000}', "from", "must be a time such as"),
        ("[1]", "body", "must be a JSON object"),
        ("{", "body", "is no JSON"),
    ],
)
async def test_a_wrong_body_is_told_what_would_be_right(
    client: httpx2.AsyncClient, ada: Owner, content: str, field: str, sentence: str
) -> None:
    headers = {**ada.bearer, "Content-Type": "application/json"}
    answer = await client.post(f"{BASE}/sync", content=content, headers=headers)

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert sentence in error["message"]


async def test_every_address_that_is_read_refuses_parameters_that_it_does_not_have(
    client: httpx2.AsyncClient, ada: Owner
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    read = [path.replace("{", "").replace("}", "") for path, methods in paths.items() if "get" in methods]
    held = {path for path in read if path.startswith(BASE) and not path.endswith("/callback")} | {f"{BASE}/events"}

    assert len(held) >= 8
    for path in held:
        answer = await client.get(path, params={"no_such": "1"}, headers=ada.bearer)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "no_such"), path
    back = await client.get(f"{BASE}/dexcom/callback?state=x&iss=vendor&iss=vendor")
    assert (back.status_code, "cgm=error" in back.headers["location"]) == (303, True)


async def test_the_request_id_leads_from_the_answer_to_the_log(runtime: Runtime) -> None:
    app = create_app(runtime)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("marked-secret")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            answer = await client.get("/broken")

    request_id = answer.headers["x-request-id"]
    assert request_id == answer.json()["request_id"]
    assert [(line["event"], line["request_id"], line["error"]) for line in lines] == [
        ("request_failed", request_id, "RuntimeError")
    ]
    assert "marked-secret" not in f"{answer.text}{lines}"


@pytest.fixture
def shared(runtime: Runtime) -> httpx2.AsyncClient:
    """A client of a service that another origin's page may call."""
    app = create_app(replace(runtime, settings=make_settings(EVERCGM_ALLOWED_ORIGINS="http://app.test,https://b.test")))

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN)


async def test_a_page_of_an_allowed_origin_may_ask_and_read_answers_and_errors(
    shared: httpx2.AsyncClient, ada: Owner
) -> None:
    origin = {"Origin": "http://app.test"}
    ask = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization,content-type"}

    preflight = await shared.options(f"{BASE}/connections/x", headers={**origin, **ask})
    answers = [
        await shared.get(f"{BASE}/session", headers={**origin, **ada.bearer}),
        await shared.get(f"{BASE}/session", headers=origin),
        await shared.post(f"{BASE}/sync", headers={**origin, **ada.bearer}, content=b" " * 70_000),
        await shared.get("/broken", headers=origin),
    ]

    assert (preflight.status_code, preflight.content) == (204, b"")
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert [answer.status_code for answer in answers] == [200, 401, 413, 500]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "http://app.test"
        assert answer.headers["access-control-expose-headers"] == "X-Request-Id, Retry-After, ETag, Link"
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["http://evil.test", "https://app.test", "http://app.test.evil.test", "null"])
async def test_a_page_of_another_origin_reads_nothing(shared: httpx2.AsyncClient, ada: Owner, origin: str) -> None:
    ask = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    preflight = await shared.options(f"{BASE}/session", headers=ask)
    answer = await shared.get(f"{BASE}/session", headers={**ada.bearer, "Origin": origin})

    assert (preflight.status_code, preflight.json()["code"]) == (403, "origin_not_allowed")
    assert preflight.json()["request_id"] == preflight.headers["x-request-id"]
    for refused in (preflight, answer):
        assert "access-control-allow-origin" not in refused.headers
        assert "access-control-allow-credentials" not in refused.headers
        assert "Origin" in refused.headers["vary"]


async def test_a_cookie_of_our_own_page_changes_nothing_from_an_allowed_origin(
    shared: httpx2.AsyncClient, runtime: Runtime, ada: Owner
) -> None:
    session = await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id))
    shared.cookies.set("evercgm_session", session)

    answer = await shared.post(f"{BASE}/sync", json={}, headers={"Origin": "http://app.test"})

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


async def test_without_allowed_origins_no_page_but_ours_is_answered(client: httpx2.AsyncClient) -> None:
    ask = {"Origin": "http://app.test", "Access-Control-Request-Method": "GET"}

    answer = await client.options(f"{BASE}/session", headers=ask)

    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("cure", "word"),
    [("credentials", "renew"), ("app_version", "version"), ("address", "address"), ("release", "moved")],
)
def test_what_only_the_operator_can_mend_says_what_it_is(cure: errors.Cure, word: str) -> None:
    assert word in problem_of(errors.OperatorMustAct("x", cure=cure)).detail


def test_a_refused_password_is_told_with_the_region_that_may_be_wrong_instead() -> None:
    """Dexcom and LibreLinkUp answer a wrong password and a wrong region alike."""
    detail = problem_of(errors.ReconnectNeeded("wrong_password")).detail

    assert detail.startswith("The vendor did not take this user name and password")
    assert "Where the account was made" in detail
