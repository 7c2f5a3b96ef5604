"""Dexcom's consent and token calls: the exact fields, and its documented refusals."""

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import EvercgmError, GrantRefused, OperatorMustAct, VendorChanged, VendorTryLater
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Consent, Login, VendorApp
from evercgm.providers.dexcom import PROVIDER

assert isinstance(PROVIDER.login, Consent)
LOGIN = PROVIDER.login
FIXTURES = Path(__file__).parent / "fixtures"
CALLBACK = "https://app.test/callback?x=1"
APP = VendorApp("us", "http://dexcom.test", "client-1", Secret("key-1"), CALLBACK)
REFUSALS = json.loads((FIXTURES / "oauth_token_errors.json").read_text())
EXPECTED = {
    "invalid_grant": GrantRefused,
    "invalid_client": OperatorMustAct,
    "unauthorized_client": OperatorMustAct,
    "invalid_request": VendorChanged,
    "unsupported_grant_type": VendorChanged,
}


def token_endpoint(body: bytes, status: int, seen: dict[str, object]) -> httpx2.AsyncClient:
    async def token(request: Request) -> Response:
        seen.update(parse_qsl((await request.body()).decode()))
        seen["authorization"] = request.headers.get("authorization")
        return Response(body, status)

    app = Starlette(routes=[Route("/v3/oauth2/token", token, methods=["POST"])])
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))


def test_the_consent_page_is_asked_with_every_documented_field() -> None:
    url = urlsplit(LOGIN.begin(APP, Login("S 1&2", "challenge")))

    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://dexcom.test/v3/oauth2/login"
    assert dict(parse_qsl(url.query)) == {
        "client_id": "client-1",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "offline_access",
        "state": "S 1&2",
        "code_challenge": "challenge",
        "code_challenge_method": "S256",
    }
    assert "key-1" not in url.query


async def test_a_code_becomes_tokens_with_credentials_in_the_form() -> None:
    seen: dict[str, object] = {}
    async with token_endpoint((FIXTURES / "oauth_token_refresh.json").read_bytes(), 200, seen) as http:
        tokens = await LOGIN.finish(http, APP, Secret("code-1"), Secret("verifier-1"))

    assert (tokens.access, tokens.refresh) == (Secret("simulated.access.2"), Secret("simulated.refresh.2"))
    assert tokens.lifetime_s == 7200
    assert seen == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": CALLBACK,
        "code_verifier": "verifier-1",
        "client_id": "client-1",
        "client_secret": "key-1",
        "authorization": None,
    }


async def test_a_refresh_token_becomes_new_tokens() -> None:
    seen: dict[str, object] = {}
    async with token_endpoint((FIXTURES / "oauth_token_refresh.json").read_bytes(), 200, seen) as http:
        tokens = await PROVIDER.refresh(http, APP, Secret("simulated.refresh.1"))

    assert tokens.refresh == Secret("simulated.refresh.2")
    assert seen == {
        "grant_type": "refresh_token",
        "refresh_token": "simulated.refresh.1",
        "client_id": "client-1",
        "client_secret": "key-1",
        "authorization": None,
    }


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case["case"])
async def test_each_documented_refusal_says_what_must_be_done(case: dict[str, object]) -> None:
    body = case["body"]
    expected: type[EvercgmError] = EXPECTED[body["error"]] if isinstance(body, dict) else VendorTryLater
    raw = json.dumps(body).encode() if isinstance(body, dict) else str(body).encode()

    async with token_endpoint(raw, int(str(case["http_status"])), {}) as http:
        with pytest.raises(expected):
            await PROVIDER.refresh(http, APP, Secret("simulated.refresh.1"))
