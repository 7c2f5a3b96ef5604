"""OAuth 2.0 with an authorization code, the parts that every vendor shares; stores nothing."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode

import httpx2
import msgspec

from evercgm.core.errors import GrantRefused, OperatorMustAct, VendorChanged
from evercgm.core.tokens import Secret, Tokens, lifetime_s
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.send import Answer, raise_if_passing, read_json, send

# Answers with tokens are a few KiB; anything larger is something else.
LARGEST_ANSWER = 256 * 1024
LONGEST_TOKEN = 16 * 1024


class _TokenWire(msgspec.Struct, frozen=True):
    """RFC 6749, 5.1. What we do not need is ignored (``refresh_expires_in: 0`` means nothing)."""

    access_token: str
    refresh_token: str
    expires_in: object = None


class _ErrorWire(msgspec.Struct, frozen=True):
    """RFC 6749, 5.2. The description is not read: it may quote the request."""

    error: str


async def token_request(
    http: httpx2.AsyncClient, url: str, form: Mapping[str, str], now: Callable[[], datetime] = utc_now
) -> Tokens:
    """Ask a token endpoint; ``expires_at`` is aware UTC and counted from before the call.

    Raises GrantRefused (this code or refresh token), OperatorMustAct (our own credentials),
    VendorTryLater (network, 408, 429, 5xx), VendorChanged (whatever else we cannot read).
    """
    asked_at = now()
    answer = await send(http, "POST", url, headers={"Accept": "application/json"}, form=form, largest=LARGEST_ANSWER)
    if not 200 <= answer.status < 300:
        _raise_refusal(answer)
    wire = read_json(answer.body, _TokenWire)
    seconds = lifetime_s(wire.expires_in)
    return Tokens(
        access=_token(wire.access_token),
        refresh=_token(wire.refresh_token),
        expires_at=asked_at + timedelta(seconds=seconds),
        lifetime_s=seconds,
    )


def _raise_refusal(answer: Answer) -> None:
    """A status is believed before a body; a body only where it says one of the known codes."""
    raise_if_passing(answer)
    code = _error_code(answer.body) if 400 <= answer.status < 500 else None
    if code == "invalid_grant" and answer.status in (400, 401):
        raise GrantRefused("the vendor refuses this code or refresh token")
    if code in ("invalid_client", "unauthorized_client"):
        raise OperatorMustAct(f"the vendor refuses our own registration: {code}")
    raise VendorChanged(f"the token endpoint answered with status {answer.status}")


def _error_code(body: bytes) -> str | None:
    try:
        return read_json(body, _ErrorWire).error
    except VendorChanged:
        return None


def _token(text: str) -> Secret:
    if not text or len(text) > LONGEST_TOKEN or not (text.isascii() and text.isprintable()):
        raise VendorChanged("a token that is empty, too long or no plain text")
    return Secret(text)


def pkce_challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636, 4.2): base64url without padding."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def consent_url(base: str, params: Mapping[str, str]) -> str:
    """The vendor's consent page ``base`` (no query of its own) with ``params`` encoded behind it."""
    return f"{base}?{urlencode(params)}"
