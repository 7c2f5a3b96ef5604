"""Every answer carries the same guard rails, an error as much as a page."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from api_world import BASE, ORIGIN, VENDOR, Owner, make_settings, open_runtime_on

from evercgm.api.app import create_app
from evercgm.api.origins import origin_of, with_siblings
from evercgm.runtime import Runtime
from evercgm.storage.identity import issue_jwt, sign_in_link


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", f"{BASE}/session", "/openapi.json", "/sign-in/x"])
async def test_every_answer_has_the_security_headers(client: httpx2.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:" in policy
    assert f"form-action 'self' {VENDOR};" in policy
    assert "unsafe" not in policy
    assert policy.endswith("frame-ancestors 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert len(headers["x-request-id"]) == 32
    assert "strict-transport-security" not in headers


async def test_an_error_is_a_problem_with_the_request_id(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/nowhere", headers={"X-Request-Id": "request-0001"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert "request-0001" == answer.headers["x-request-id"] == answer.json()["request_id"]
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_bad_request_id_is_replaced(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"X-Request-Id": "a b<script>"})

    assert len(answer.headers["x-request-id"]) == 32


async def test_a_large_body_is_refused_whether_it_says_so_or_not(client: httpx2.AsyncClient, ada: Owner) -> None:
    async def chunks():
        for _ in range(100):
            yield b" " * 1024

    for content in (b" " * 70_000, chunks()):
        answer = await client.post(f"{BASE}/sync", content=content, headers=ada.bearer)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_wrong_field_is_named_and_not_repeated(client: httpx2.AsyncClient, ada: Owner) -> None:
    body = {"region": "marked-value", "return_to": 7, "more": 1}
    answer = await client.post(f"{BASE}/dexcom/oauth", json=body, headers=ada.bearer)

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
    assert [item["field"] for item in answer.json()["errors"]] == ["region", "return_to", "more"]
    assert "marked-value" not in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"region": "\\ud800"}', b"9" * 5000])
async def test_junk_in_a_body_is_a_clear_answer(client: httpx2.AsyncClient, ada: Owner, content: bytes) -> None:
    answer = await client.post(f"{BASE}/dexcom/oauth", content=content, headers=ada.bearer)

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_failure_tells_nothing(runtime: Runtime) -> None:
    app = create_app(runtime)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("marked-secret")

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        answer = await client.get("/broken")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "marked-secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_health_tells_that_it_can_serve(client: httpx2.AsyncClient) -> None:
    ready = await client.get("/readyz")

    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert ready.json()["checks"] == {"database": "ok", "migrations": "ok", "key": "ok"}
    assert ready.status_code == 200


async def test_the_openapi_names_every_route_of_the_report(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    expected = {"dexcom/oauth", "dexcom/callback", "connections", "connections/{connection_id}", "sync", "readings"}
    assert {f"{BASE}/{path}" for path in expected} <= set(document["paths"])


async def test_the_page_is_served_with_its_files(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    style = await client.get("/assets/style.css")

    assert (page.status_code, style.status_code) == (200, 200)
    assert "text/html" in page.headers["content-type"]
    assert style.headers["cache-control"] == "no-cache"
    assert (await client.get("/assets/..%2f..%2fsettings.py")).status_code == 404


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://Cgm.Example.org:443/a?b#c", "https://cgm.example.org"),
        ("http://[::1]:8400/", "http://[::1]:8400"),
        ("http://a.test@evil.test/", None),
        ("http://a.test\\@evil.test/", None),
        ("http://a.test:99999/", None),
        ("javascript:alert(1)", None),
        ("//a.test/", None),
        ("/path", None),
        ("http:///x", None),
        ("http://a.test\n.evil.test", None),
        (" http://a.test", None),
        ("http://а.test/", None),
        ("null", None),
        ("", None),
    ],
)
def test_an_origin_is_read_strictly(address: str, expected: str | None) -> None:
    assert expected == origin_of(address)


async def test_behind_https_browsers_are_told_to_stay_there(runtime: Runtime) -> None:
    settings = make_settings(EVERCGM_PUBLIC_URL="https://cgm.test")
    app = create_app(replace(runtime, settings=settings))

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="https://cgm.test") as client:
        link = f"/sign-in/{await sign_in_link(runtime.db, str(uuid4()))}"
        answer = await client.post(link, headers={"Origin": "https://cgm.test"})

    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "; Secure" in answer.headers["set-cookie"]


async def test_another_allowed_origin_may_call_with_a_token_but_not_with_a_cookie(runtime: Runtime) -> None:
    settings = make_settings(EVERCGM_ALLOWED_ORIGINS="http://app.test")
    app = create_app(replace(runtime, settings=settings))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        allowed = await client.options(f"{BASE}/sync", headers={"Origin": "http://app.test", **ask})
        refused = await client.options(f"{BASE}/sync", headers={"Origin": "http://evil.test", **ask})

    assert allowed.headers["access-control-allow-origin"] == "http://app.test"
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in refused.headers


async def test_without_a_database_the_answer_says_so(database: Any) -> None:
    async with open_runtime_on(database.service_dsn) as runtime:
        app = create_app(runtime)
        token = issue_jwt(runtime.keys, str(uuid4()), timedelta(minutes=5))

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        answer = await client.get(f"{BASE}/connections", headers={"Authorization": f"Bearer {token}"})
        ready = await client.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "failed")


def test_a_vendors_login_may_lead_over_its_own_hosts_only() -> None:
    found = with_siblings({"https://api.dexcom.com", "http://127.0.0.1:8401", "https://10.1.2.3"})

    assert found == ["http://127.0.0.1:8401", "https://*.dexcom.com", "https://10.1.2.3", "https://api.dexcom.com"]
