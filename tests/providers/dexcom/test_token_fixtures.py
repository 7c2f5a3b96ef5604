"""A consent's code at the token endpoint: the documented answer, and each documented refusal."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import EvercgmError, GrantRefused, OperatorMustAct, VendorChanged, VendorTryLater
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Consent, VendorApp
from evercgm.providers.dexcom import PROVIDER

assert isinstance(PROVIDER.login, Consent)
LOGIN = PROVIDER.login
FIXTURES = Path(__file__).parent / "fixtures"
APP = VendorApp("us", "http://dexcom.test", "client-1", Secret("key-1"), "https://app.test/callback")
EXPECTED: dict[str, type[EvercgmError]] = {
    "refresh token used, expired, revoked or password changed": GrantRefused,
    "authorization code used or older than one minute": GrantRefused,
    "redirect_uri differs": GrantRefused,
    "wrong client_id or client_secret": OperatorMustAct,
    "parameter missing": VendorChanged,
    "client not allowed this grant": OperatorMustAct,
    "grant_type unknown": VendorChanged,
    "non conformant: html from a gateway": VendorTryLater,
}


async def finish(body: bytes, status: int = 200, content_type: str = "application/json") -> Tokens:
    async def token(_request: Request) -> Response:
        return Response(body, status, {"Content-Type": content_type})

    app = Starlette(routes=[Route("/v3/oauth2/token", token, methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        return await LOGIN.finish(http, APP, Secret("code-1"), Secret("verifier-1"))


async def test_the_documented_answer_to_a_code_is_a_pair_for_two_hours() -> None:
    before = datetime.now(UTC)

    tokens = await finish((FIXTURES / "oauth_token_authorization_code.json").read_bytes())

    assert (tokens.access, tokens.refresh) == (Secret("simulated.access.1"), Secret("simulated.refresh.1"))
    assert tokens.lifetime_s == 7200
    assert before + timedelta(hours=2) <= tokens.expires_at <= datetime.now(UTC) + timedelta(hours=2)


@pytest.mark.parametrize(
    "case", json.loads((FIXTURES / "oauth_token_errors.json").read_text()), ids=lambda case: case["case"]
)
async def test_each_documented_refusal_of_a_code_says_whose_turn_it_is(case: dict[str, object]) -> None:
    body = case["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    with pytest.raises(EvercgmError) as caught:
        await finish(raw, int(str(case["http_status"])), str(case.get("content_type", "application/json")))

    assert type(caught.value) is EXPECTED[str(case["case"])]
