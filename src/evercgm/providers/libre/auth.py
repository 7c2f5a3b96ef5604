"""LibreLinkUp's sign-in: a follower's e-mail and password into Tokens; stores nothing.

Nearly every outcome has HTTP status 200: the answer's own status decides. We never accept terms for a person.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import httpx2
import msgspec

from evercgm.core.errors import (
    Choice,
    ChooseFirst,
    OperatorMustAct,
    ReconnectNeeded,
    SignInLocked,
    SignInsBanned,
    VendorChanged,
    VendorDenied,
    VendorTryLater,
)
from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.provider_kit.contract import Credentials, VendorApp
from evercgm.provider_kit.send import Answer, raise_if_passing, send
from evercgm.providers.libre import client
from evercgm.providers.libre.client import Access
from evercgm.providers.libre.mapping import Envelope, Listing

LOGIN_PATH = "/llu/auth/login"
MOST_REDIRECTS = 2
# A token lives 180 days. A nonsense end counts as that: what is refused before is mended by one sign-in, and a short
# life would ask for many, which lock accounts.
LIFETIME = timedelta(days=180)
LONGEST_LIFETIME = timedelta(days=400)
LONGEST_TOKEN, LONGEST_USER_ID = 8192, 128
LOCKOUT_S = 300
LONGEST_LOCKOUT_S = 86_400
# At least, and where the vendor does not say; others double it from there (libre facts A8).
SHORTEST_BAN_S = 900
# Of the answer's own status.
WRONG_PASSWORD, LOCKED = 2, 429
# What the app in the person's hand asks for, by the step's name; those of a second factor begin with "2fa".
_STEPS = {"tou": "accept_terms", "pp": "accept_terms", "verifyEmail": "verify_email"}
_SECOND_FACTOR = "2fa"
_DIGITS = re.compile(r" *[0-9]+(\.[0-9]+)? *", re.ASCII)


class Kept(msgspec.Struct, frozen=True):
    """What our refresh token holds, where the person lets us keep it."""

    username: str
    password: str
    patient_id: str


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What a sign-in gave, and on which of the vendor's hosts."""

    token: str
    user_id: str
    expires_at: datetime
    shard: str


async def sign_in(http: httpx2.AsyncClient, app: VendorApp, given: Credentials) -> Tokens:
    """One sign-in, then the list of the people whom the account follows.

    Raises ReconnectNeeded (wrong_password, accept_terms, verify_email, two_factor, vendor_step, nobody_followed),
    ChooseFirst, SignInLocked, VendorTryLater, VendorRateLimited, VendorChanged, OperatorMustAct.
    """
    ticket = await _log_in(http, app, given.username, given.password)
    access = Access(ticket.token, ticket.user_id, "", ticket.shard)
    try:
        listing = await client.connections(http, app, access)
    except VendorDenied as denied:
        if not denied.expired_token:
            raise OperatorMustAct("the vendor's gate refuses our calls", "address") from None
        # Seen after a maintenance: fresh tokens are refused for a while. It says nothing about the password.
        raise VendorTryLater("the vendor does not take the token that it has just given") from None
    kept = Kept(given.username.reveal(), given.password.reveal(), "")
    return _of_the_one(listing, _tokens(ticket, kept, keep=given.keep))


async def refresh(http: httpx2.AsyncClient, app: VendorApp, refresh_token: Secret) -> Tokens:
    """One sign-in with what is kept, as the vendor has no refresh tokens; whom it reads stays.

    Raises as ``sign_in``, and ReconnectNeeded(password_needed) where nothing is kept.
    """
    if not refresh_token:
        raise ReconnectNeeded("password_needed")
    try:
        kept = msgspec.json.decode(refresh_token.reveal(), type=Kept)
    except (msgspec.MsgspecError, ValueError):
        raise ReconnectNeeded("password_needed") from None
    ticket = await _log_in(http, app, Secret(kept.username), Secret(kept.password))
    return _tokens(ticket, kept, keep=True)


def choose(tokens: Tokens, who: str) -> Tokens:
    """The tokens of a sign-in, made those of one of the people whom it follows."""
    access = msgspec.json.decode(tokens.access.reveal(), type=Access)
    kept = msgspec.json.decode(tokens.refresh.reveal(), type=Kept) if tokens.refresh else None
    return replace(
        tokens,
        access=_sealed(msgspec.structs.replace(access, patient_id=who)),
        refresh=_sealed(msgspec.structs.replace(kept, patient_id=who)) if kept else NO_SECRET,
    )


def _of_the_one(listing: Listing, tokens: Tokens) -> Tokens:
    """Never of the first of several: the person says who is meant, also where but one of them can be read."""
    if not listing.entries:
        raise ReconnectNeeded("nobody_followed")
    if listing.entries > 1:
        raise ChooseFirst(tuple(Choice(one.id, one.label) for one in listing.people), tokens)
    return choose(tokens, listing.people[0].id)


def _tokens(ticket: _Ticket, kept: Kept, *, keep: bool) -> Tokens:
    access = Access(ticket.token, ticket.user_id, kept.patient_id, ticket.shard)
    return Tokens(
        access=_sealed(access),
        refresh=_sealed(kept) if keep else NO_SECRET,
        expires_at=ticket.expires_at,
        lifetime_s=int((ticket.expires_at - datetime.now(UTC)).total_seconds()),
    )


def _sealed(held: Access | Kept) -> Secret:
    return Secret(msgspec.json.encode(held).decode())


async def _log_in(http: httpx2.AsyncClient, app: VendorApp, username: Secret, password: Secret) -> _Ticket:
    """Begins at the entry, and goes where that sends it: a regional host does not send on all foreign accounts."""
    shard = ""
    for _ in range(MOST_REDIRECTS + 1):
        url = client.place(app.base_url, shard) + LOGIN_PATH
        body = {"email": username.reveal(), "password": password.reveal()}
        envelope = _judged(app, await _send(http, url, app, body))
        if not envelope.sends_on:
            return _ticket(envelope, shard)
        region = envelope.fields.get("region")
        if not isinstance(region, str) or not region:
            break
        shard = region
    raise VendorChanged("a sign-in that is sent on without end")


async def _send(http: httpx2.AsyncClient, url: str, app: VendorApp, body: Mapping[str, str]) -> Answer:
    return await send(http, "POST", url, headers=client.headers(app), json=body, sign_in=True)


def _judged(app: VendorApp, answer: Answer) -> Envelope:
    """The answer of a sign-in that has let us in, or sends us on; all else is raised."""
    if answer.status in client.ADDRESS_BANS:
        # Of our address, not of this account: no try is counted, and the person has nothing to mend.
        raise SignInsBanned(_ban_s(answer.retry_after_s))
    raise_if_passing(answer)
    envelope = client.read_answer(app, answer)
    if answer.status == 403:
        raise OperatorMustAct("the vendor's gate refuses our sign-ins", "address")
    if answer.status != 200:
        raise VendorChanged(f"a sign-in was answered with status {answer.status}")
    if envelope.status != client.GOOD:
        _raise_outcome(envelope)
    return envelope


def _raise_outcome(envelope: Envelope) -> NoReturn:
    if envelope.status == WRONG_PASSWORD:
        raise ReconnectNeeded("wrong_password")
    if envelope.status == client.STEP:
        raise ReconnectNeeded(_reason(envelope.part("step").get("type")))
    if envelope.status == LOCKED:
        raise SignInLocked(_lockout_s(envelope.part("data").get("lockout")))
    client.raise_for_outage(envelope)


def _reason(step: object) -> str:
    """What the person must do, by the step's name."""
    if not isinstance(step, str):
        return "vendor_step"
    return "two_factor" if step.lower().startswith(_SECOND_FACTOR) else _STEPS.get(step, "vendor_step")


def _ban_s(asked_s: int | None) -> int:
    """Tries during a ban make it longer."""
    return max(asked_s or 0, SHORTEST_BAN_S)


def _lockout_s(raw: object) -> int:
    """Seconds, rounded up; the usual ones where nothing is said that can be read. What is longer counts as a day."""
    if isinstance(raw, str) and _DIGITS.fullmatch(raw):
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not raw > 0:
        return LOCKOUT_S
    return math.ceil(min(raw, LONGEST_LOCKOUT_S))


def _ticket(envelope: Envelope, shard: str) -> _Ticket:
    """Seen without a ticket after a second factor was switched on: the vendor wants something of the person."""
    token, user_id = envelope.part("authTicket").get("token"), envelope.part("user").get("id")
    if not _is_plain(token, LONGEST_TOKEN) or not _is_plain(user_id, LONGEST_USER_ID):
        raise ReconnectNeeded("vendor_step")
    return _Ticket(str(token), str(user_id), _expires_at(envelope.part("authTicket").get("expires")), shard)


def _expires_at(raw: object) -> datetime:
    """From seconds since 1970; what is no moment of the next 400 days counts as 180 days from now."""
    now = datetime.now(UTC)
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        left = raw - now.timestamp()
        if 0 < left <= LONGEST_LIFETIME.total_seconds():
            return datetime.fromtimestamp(raw, UTC)
    return now + LIFETIME


def _is_plain(raw: object, longest: int) -> bool:
    """Whether it is a text that a header can carry."""
    return isinstance(raw, str) and 0 < len(raw) <= longest and raw.isascii() and raw.isprintable()
