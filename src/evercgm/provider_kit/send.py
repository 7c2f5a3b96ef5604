"""One HTTP call to a vendor: time-outs, a size cap, and status into error. Interprets no content."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar

import httpx2
import msgspec

from evercgm.core.errors import VendorChanged, VendorDenied, VendorRateLimited, VendorTryLater

LARGEST_BODY = 32 * 1024 * 1024
# Dexcom answers above 30 s occur, hence a minute between two pieces of an answer.
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
# A vendor that drips its answer byte by byte never meets the read time-out.
WHOLE_CALL_S = 300.0
LONGEST_RETRY_AFTER_S = 3600

_TOO_LARGE = "the answer is larger than we accept"
_UNREADABLE = "an answer that is not the JSON we know"
_NO_ANSWER = "the vendor's cloud did not answer"

T = TypeVar("T")
# 30 days of one reading a minute with all their fields are 750,000 values.
MOST_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer. ``body`` is decompressed; ``retry_after_s`` is 0 to 3,600 s, None where not said."""

    status: int
    body: bytes = field(repr=False)
    retry_after_s: int | None = None


def vendor_client() -> httpx2.AsyncClient:
    """The HTTP client for vendors: bounded, no redirects, no proxy of the environment, and no cookie ever kept.

    One client serves all people: a kept cookie would travel from one person's answer into another's call.
    """
    keeps_nothing = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.AsyncClient(cookies=keeps_nothing, timeout=TIMEOUT, follow_redirects=False, trust_env=False)


async def send(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    largest: int = LARGEST_BODY,
) -> Answer:
    """Send one request and read at most ``largest`` bytes; whatever the status, it is an answer.

    Follows no redirect: credentials go to the host that was asked. Raises VendorTryLater (network,
    time-out) and VendorChanged (too large, broken compression); no message carries address or headers.
    """
    try:
        request = http.build_request(
            method,
            url,
            headers=dict(headers or {}),
            params=dict(params) if params else None,
            data=dict(form) if form else None,
            timeout=TIMEOUT,
        )
        async with asyncio.timeout(WHOLE_CALL_S):
            return await _answer(http, request, largest)
    except httpx2.DecodingError:
        raise VendorChanged(_UNREADABLE) from None
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        # A token or an address with characters that no header can carry.
        raise VendorChanged("a request that cannot be sent") from None
    except (httpx2.HTTPError, httpx2.StreamError, TimeoutError):
        # The library's error holds the request with its token: it must not travel on.
        raise VendorTryLater(_NO_ANSWER) from None


async def _answer(http: httpx2.AsyncClient, request: httpx2.Request, largest: int) -> Answer:
    response = await http.send(request, stream=True, follow_redirects=False)
    try:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > largest:
                raise VendorChanged(_TOO_LARGE)
    finally:
        await response.aclose()
    return Answer(response.status_code, bytes(body), retry_after_s(response.headers.get("Retry-After")))


def retry_after_s(text: str | None, now: datetime | None = None) -> int | None:
    """Seconds from ``Retry-After``: a number or an HTTP date held against ``now`` (aware UTC), 0 to 3,600.

    None where the header is absent or unreadable.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        wait_s = (until - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return int(min(max(wait_s, 0), LONGEST_RETRY_AFTER_S))


def raise_for_data(answer: Answer) -> None:
    """Turn the status of a data call into its error; 2xx passes. The body has no say.

    Raises VendorDenied (401 expired_token, 403), VendorRateLimited (429), VendorTryLater (408, 5xx),
    VendorChanged (all others, 400, 404 and 422 among them: repeating would not help).
    """
    status = answer.status
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise VendorDenied(f"a data call was refused with status {status}", expired_token=status == 401)
    raise_if_passing(answer)
    raise VendorChanged(f"a data call was answered with status {status}")


def raise_if_passing(answer: Answer) -> None:
    """Raise VendorRateLimited for 429, VendorTryLater for 408 and 5xx; let any other status pass."""
    if answer.status == 429:
        raise VendorRateLimited("the vendor limits the calls of our app", answer.retry_after_s)
    if answer.status == 408 or answer.status >= 500:
        message = f"the vendor's cloud answered with status {answer.status}"
        raise VendorTryLater(message, answer.retry_after_s)


def read_json(body: bytes, kind: type[T]) -> T:
    """The JSON of ``body`` as a ``kind``. Raises VendorChanged for all that does not fit, nothing else.

    An answer of more than a million values is refused before it is decoded, so that memory stays bounded.
    """
    if body.count(b",") > MOST_VALUES:
        raise VendorChanged(_UNREADABLE)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The decoder's message may quote what it read.
        raise VendorChanged(_UNREADABLE) from None
