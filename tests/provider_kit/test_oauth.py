"""A token endpoint's answers: tokens, or exactly one of our errors, whatever the body is."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import (
    EvercgmError,
    GrantRefused,
    OperatorMustAct,
    VendorChanged,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.oauth import LONGEST_TOKEN, consent_url, pkce_challenge, token_request

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = {"access_token": "a", "refresh_token": "r", "expires_in": 7200, "token_type": "Bearer", "other": [1]}


async def ask(
    body: bytes | Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> tuple[Tokens, dict[str, str]]:
    """What ``token_request`` makes of this answer, and the form that it sent."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    seen: dict[str, str] = {}

    async def token(request: Request) -> Response:
        seen.update(parse_qsl((await request.body()).decode()))
        return Response(raw, status, headers)

    app = Starlette(routes=[Route("/token", token, methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        tokens = await token_request(http, "http://vendor.test/token", {"grant_type": "x", "b": "ü&"}, lambda: NOW)
    return tokens, seen


async def test_a_good_answer_is_a_pair_of_tokens() -> None:
    tokens, form = await ask(GOOD)

    assert tokens == Tokens(Secret("a"), Secret("r"), NOW + timedelta(hours=2), 7200)
    assert form == {"grant_type": "x", "b": "ü&"}


@pytest.mark.parametrize("expires_in", [None, "soon", -1, 10**30, [], 1e300])
async def test_a_lifetime_of_nonsense_counts_as_an_hour(expires_in: object) -> None:
    tokens, _ = await ask({**GOOD, "expires_in": expires_in})

    assert tokens.expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "invalid_grant"}, GrantRefused),
        (401, {"error": "invalid_grant", "error_description": "marked"}, GrantRefused),
        (400, {"error": "invalid_client"}, OperatorMustAct),
        (401, {"error": "invalid_client"}, OperatorMustAct),
        (400, {"error": "unauthorized_client"}, OperatorMustAct),
        (400, {"error": "invalid_request"}, VendorChanged),
        (400, {"error": "unsupported_grant_type"}, VendorChanged),
        (400, {"error": "marked"}, VendorChanged),
        (400, {"error": {"code": "invalid_grant"}}, VendorChanged),
        (400, b"<html>marked invalid_grant</html>", VendorChanged),
        (400, b"", VendorChanged),
        (401, b"null", VendorChanged),
        (403, {"error": "invalid_grant"}, VendorChanged),
        (404, {"error": "invalid_grant"}, VendorChanged),
        (302, {"error": "invalid_grant"}, VendorChanged),
        (429, {"error": "invalid_grant"}, VendorRateLimited),
        (500, {"error": "invalid_grant"}, VendorTryLater),
        (502, b"<html></html>", VendorTryLater),
        (503, {"error": "invalid_client"}, VendorTryLater),
    ],
)
async def test_a_refusal_says_whose_fault_it_is(
    status: int, body: bytes | Mapping[str, object], error: type[EvercgmError]
) -> None:
    with pytest.raises(EvercgmError) as caught:
        await ask(body, status)

    assert type(caught.value) is error
    assert "marked" not in str(caught.value)


async def test_a_limit_keeps_the_vendors_wish() -> None:
    with pytest.raises(VendorRateLimited) as caught:
        await ask(b"", 429, {"Retry-After": "90"})

    assert caught.value.retry_after_s == 90


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'{"access_token": "a"',
        b"[]",
        b"[" * 100_000,
        {"access_token": "a"},
        {"refresh_token": "r"},
        {**GOOD, "refresh_token": None},
        {**GOOD, "access_token": ""},
        {**GOOD, "access_token": 7},
        {**GOOD, "access_token": "a\nb"},
        {**GOOD, "access_token": "ä"},
        {**GOOD, "access_token": "a" * (LONGEST_TOKEN + 1)},
        b"[" + b" " * 300_000 + b"]",
    ],
)
async def test_a_success_that_holds_no_tokens_is_a_changed_vendor(body: bytes | Mapping[str, object]) -> None:
    with pytest.raises(VendorChanged):
        await ask(body)


@given(st.binary(max_size=60), st.integers(200, 599).filter(lambda status: status not in (204, 205, 304)))
async def test_no_body_raises_anything_but_our_errors(body: bytes, status: int) -> None:
    with pytest.raises(EvercgmError):
        await ask(body, status)


def test_the_challenge_is_the_one_of_rfc_7636() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    assert pkce_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_consent_address_encodes_what_it_is_given() -> None:
    params = {"state": "a&b=c ü", "redirect_uri": "https://app.test/cb?x=1"}

    url = consent_url("https://vendor.test/login", params)

    assert dict(parse_qsl(urlsplit(url).query)) == params
    assert url.startswith("https://vendor.test/login?")
