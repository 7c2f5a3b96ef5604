"""One HTTP call to a vendor: the host table, time-outs, caps on size and depth, and status into error.

Interprets no content. Whatever leaves for the network leaves by ``vendor_client``.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import accumulate
from typing import TypeVar

import httpx2
import msgspec

from evercgm.core.errors import (
    CallsHeldBack,
    SignInsHeldBack,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.logs import get_logger
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.metered import Meter, Ticket
from evercgm.web_addresses import is_loopback

log = get_logger(__name__)
LARGEST_BODY = 32 * 1024 * 1024
# Dexcom answers above 30 s occur, hence a minute between two pieces of an answer.
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
# A vendor that drips its answer byte by byte never meets the read time-out.
WHOLE_CALL_S = 300.0
LONGEST_RETRY_AFTER_S = 3600
# Of a ban of sign-ins: 18 h was seen.
LONGEST_BAN_S = 86_400
# In a request's extensions: it carries a user name and a password.
SIGN_IN = "sign_in"

_TOO_LARGE = "the answer is larger than we accept"
_UNREADABLE = "an answer that is not the JSON we know"
_TOO_DEEP = "the answer is nested more deeply than we accept"
_NO_ANSWER = "the vendor's cloud did not answer"
_OUTSIDE = "a request to a host that is not in the table of the providers"
_NAMES_A_USER = "a request to an address that names a user: no vendor's does"

T = TypeVar("T")
# 30 days of one reading a minute with all their fields are 750,000 values.
MOST_VALUES = 1_000_000
# What vendors send nests 6 deep; a decoder that recurses must not meet thousands.
DEEPEST = 64
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"{}", b"[]")
_OPENS = ord("[")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer. ``body`` is decompressed; ``retry_after_s`` is 0 to 3,600 s, None where not said.

    To a sign-in it is at most a day.
    """

    status: int
    body: bytes = field(repr=False)
    retry_after_s: int | None = None


class _HostTable(httpx2.AsyncBaseTransport):
    """Lets a request out only to an origin of the table, as nobody, and without TLS only to this machine itself."""

    def __init__(self, base_urls: Iterable[str]):
        self._origins = frozenset(_origin(httpx2.URL(url)) for url in base_urls)
        self._network = httpx2.AsyncHTTPTransport(verify=True, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if url.userinfo:
            # The library would send it on as a password of its own.
            log.error("request_that_names_a_user", host=url.host)
            raise VendorChanged(_NAMES_A_USER)
        if _origin(url) not in self._origins or not (url.scheme == "https" or is_loopback(url.host)):
            log.error("request_outside_the_host_table", host=url.host)
            raise VendorChanged(_OUTSIDE)
        return await self._network.handle_async_request(request)

    async def aclose(self) -> None:
        await self._network.aclose()


class _Metered(httpx2.AsyncBaseTransport):
    """Lets a request out only while calls may be made, and learns from each answer.

    ``sign_ins``: of those with a user name and a password, which a vendor may refuse for a while by themselves.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, meter: Meter, sign_ins: Meter | None):
        self._inner = inner
        self._meter = meter
        self._sign_ins = sign_ins

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sign_ins = self._sign_ins if SIGN_IN in request.extensions else None
        entry = await _admitted(sign_ins) if sign_ins else None
        ticket = await self._meter.admit()
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            self._meter.lost()
            raise
        status, asked_s = response.status_code, _asked_s(request, response)
        try:
            if sign_ins and entry:
                await sign_ins.answered(entry, status, asked_s)
            # A 403 to a sign-in may be for what one person wrote as their name.
            of_sign_ins = sign_ins is not None and (status == 403 or sign_ins.stops_at(status))
            await self._meter.answered(ticket, status, asked_s, of_sign_ins=of_sign_ins)
        except BaseException:
            # Only a cancelled call: its connection goes back all the same.
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _admitted(sign_ins: Meter) -> Ticket:
    try:
        return await sign_ins.admit()
    except CallsHeldBack as held:
        raise SignInsHeldBack(held.retry_after_s or 0) from None


def _asked_s(request: httpx2.Request, response: httpx2.Response) -> int | None:
    longest = LONGEST_BAN_S if SIGN_IN in request.extensions else LONGEST_RETRY_AFTER_S
    return retry_after_s(response.headers.get("Retry-After"), longest=longest)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port; a default port counts as none."""
    return url.scheme, url.host, url.port


def vendor_client(
    base_urls: Iterable[str], meter: Meter | None = None, sign_ins: Meter | None = None
) -> httpx2.AsyncClient:
    """The HTTP client for vendors: speaks to the origins of ``base_urls`` and to no other, whoever asks.

    With a ``meter`` a call may raise CallsHeldBack instead, and what the database raises before it is made.

    Certificates are verified; no redirect is followed, no proxy of the environment used, and no cookie ever kept:
    one client serves all people, and a kept cookie would travel from one person's answer into another's call.
    """
    keeps_nothing = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return httpx2.AsyncClient(
        transport=metered(_HostTable(base_urls), meter, sign_ins),
        cookies=keeps_nothing,
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
    )


def metered(
    transport: httpx2.AsyncBaseTransport, meter: Meter | None, sign_ins: Meter | None = None
) -> httpx2.AsyncBaseTransport:
    """The transport behind a meter, if there is one, and of sign-ins behind another."""
    return transport if meter is None else _Metered(transport, meter, sign_ins)


async def send(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    json: object = None,
    largest: int = LARGEST_BODY,
    sign_in: bool = False,
) -> Answer:
    """Send one request and read at most ``largest`` bytes; whatever the status, it is an answer.

    ``form`` or ``json``: what the body holds. ``sign_in``: a user name and a password; while the vendor takes none from
    our address SignInsHeldBack is raised, and nothing sent.

    Follows no redirect: credentials go to the host that was asked. Raises VendorTryLater (network,
    time-out) and VendorChanged (too large, broken compression); no message carries address or headers.
    """
    try:
        request = http.build_request(
            method,
            url,
            headers={**({"Content-Type": "application/json"} if json is not None else {}), **(headers or {})},
            params=dict(params) if params else None,
            data=dict(form) if form else None,
            content=msgspec.json.encode(json) if json is not None else None,
            timeout=TIMEOUT,
            extensions={SIGN_IN: True} if sign_in else None,
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
    return Answer(response.status_code, bytes(body), _asked_s(request, response))


def retry_after_s(text: str | None, now: datetime | None = None, longest: int = LONGEST_RETRY_AFTER_S) -> int | None:
    """Seconds from ``Retry-After``: a number or an HTTP date held against ``now`` (aware UTC), 0 to ``longest``.

    None where the header is absent or unreadable.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), longest)
    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        wait_s = (until - (now or utc_now())).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return int(min(max(wait_s, 0), longest))


def raise_for_data(answer: Answer, denied_wait_s: int | None = None) -> None:
    """Turn the status of a data call into its error; 2xx passes. The body has no say.

    ``denied_wait_s``: how long the provider wants to be left alone after a 403, where it keeps readings for a short
    time only.

    Raises VendorDenied (401 expired_token, 403), VendorRateLimited (429), VendorTryLater (408, 5xx),
    VendorChanged (all others, 400, 404 and 422 among them: repeating would not help).
    """
    status = answer.status
    if 200 <= status < 300:
        return
    if status in (401, 403):
        message, expired = f"a data call was refused with status {status}", status == 401
        raise VendorDenied(message, expired_token=expired, wait_s=None if expired else denied_wait_s)
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

    An answer of more than a million values, or nested more than 64 deep, is refused before it is decoded, so that
    memory stays bounded.
    """
    brackets = body.count(b"[") + body.count(b"{")
    if max(body.count(b","), brackets) > MOST_VALUES:
        raise VendorChanged(_UNREADABLE)
    if brackets > DEEPEST:
        _refuse_too_deep(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The decoder's message may quote what it read.
        raise VendorChanged(_UNREADABLE) from None


def _refuse_too_deep(body: bytes) -> None:
    """Counts levels of brackets. One that stands in a text has an odd number of quotes before it, and is none."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    structure = unescaped.translate(_ONE_KIND_OF_BRACKET, _NO_STRUCTURE)
    # Quotes go in pairs, so that odd stays odd; then what is outside, without its innermost level.
    outside = b"".join(structure.replace(b'""', b"").split(b'"')[::2]).replace(b"[]", b"")
    if any(level >= DEEPEST for level in accumulate(1 if bracket == _OPENS else -1 for bracket in outside)):
        raise VendorChanged(_TOO_DEEP)
