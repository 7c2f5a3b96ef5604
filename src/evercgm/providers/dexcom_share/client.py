"""What is asked of Dexcom Share, and what must be done when it refuses; what readings mean is said in mapping."""

import math
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx2
import msgspec

from evercgm.core.errors import ReconnectNeeded, SignInLocked, VendorChanged, VendorDenied, VendorTryLater
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Survey, VendorApp
from evercgm.provider_kit.send import Answer, raise_for_data, raise_if_passing, read_json, send
from evercgm.providers.dexcom_share import mapping

SERVICES = "/ShareWebServices/Services/"
READ = "Publisher/ReadPublisherLatestGlucoseValues"
# Share facts B2, read 2026-11: what the service does beyond these is not known.
KEEPS = timedelta(minutes=1440)
MOST_VALUES = 288
# 288 values are 30 KiB.
LARGEST_ANSWER = 2 * 1024 * 1024
# How long a lock lasts is not said; at least so long (Share facts B4), however short a Retry-After is. A longer one
# counts, up to the hour that provider_kit/send.py takes of any.
LOCKED_FOR_S = 600
# After a 403: what is older than a day is never shown, so half a day, as at Dexcom itself, would be too long.
DENIED_WAIT_S = 3600
NO_UUID = "00000000-0000-0000-0000-000000000000"

_WRONG_PASSWORD = frozenset(
    {"AccountPasswordInvalid", "SSO_AuthenticateAccountNotFound", "SSO_AuthenticatePasswordInvalid"}
)
_SESSION_GONE = frozenset({"SessionIdNotFound", "SessionNotValid"})
_A_MINUTE = timedelta(minutes=1)


class Session(msgspec.Struct, frozen=True):
    """What the access token holds: the session, and whose account it reads."""

    session: str
    account: str

    def seal(self) -> Secret:
        """As an access token."""
        return Secret(msgspec.json.encode(self).decode())


class _Fault(msgspec.Struct, frozen=True):
    """Share facts B4, read 2026-11. "SubCode" is not read."""

    Code: str
    Message: object = None


Kind = TypeVar("Kind")


def opened(secret: Secret, kind: type[Kind]) -> Kind | None:
    """What a secret of ours holds; None where it is none of this kind."""
    try:
        return msgspec.json.decode(secret.reveal(), type=kind)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def account_of(tokens: Tokens) -> str | None:
    """The account's UUID, which the sign-in gave (Share facts B2, read 2026-11); no data call ever tells it."""
    held = opened(tokens.access, Session)
    return held.account if held else None


async def survey(http: httpx2.AsyncClient, app: VendorApp, token: Secret) -> Survey:
    """Whose account it is, and the first and last reading of its last 24 hours; Share has no question but that one.

    Raises what ``read`` raises.
    """
    now = datetime.now(UTC)
    held = await read(http, app, token, Window(now - KEEPS, now + mapping.FUTURE_ALLOWANCE))
    if not held.readings:
        # Where all is unreadable it is to be read, and told, all the same.
        return Survey(held.account_id, now - KEEPS if held.rejected else None, None, None)
    return Survey(held.account_id, held.readings[0].measured_at, held.readings[-1].measured_at, None)


async def read(http: httpx2.AsyncClient, app: VendorApp, token: Secret, window: Window) -> Batch:
    """The readings of one window, as far as it lies within the last 24 hours: Share counts minutes back from now.

    Raises VendorDenied, ReconnectNeeded (nobody_followed), VendorTryLater, VendorChanged.
    """
    held = opened(token, Session)
    if held is None:
        raise VendorDenied("an access token that holds no session", expired_token=True)
    now = datetime.now(UTC)
    minutes = min(max(math.ceil((now - window.start) / _A_MINUTE) + 1, 1), KEEPS // _A_MINUTE)
    ask = {"sessionId": held.session, "minutes": str(minutes), "maxCount": str(MOST_VALUES)}
    body = await post(http, app, READ, params=ask)
    return mapping.within(mapping.read_values(body, now, held.account), window)


async def post(
    http: httpx2.AsyncClient,
    app: VendorApp,
    path: str,
    *,
    params: dict[str, str] | None = None,
    json: dict[str, str] | None = None,
) -> bytes:
    """One call of Share, and the JSON that it answers with.

    Raises VendorDenied (the session is gone, 403), ReconnectNeeded (wrong_password, nobody_followed), SignInLocked,
    VendorRateLimited, VendorTryLater, VendorChanged.
    """
    answer = await send(
        http,
        "POST",
        app.base_url + SERVICES + path,
        headers={"Accept": "application/json"},
        params=params,
        json=json or {},
        largest=LARGEST_ANSWER,
    )
    if not 200 <= answer.status < 300:
        _raise_fault(answer)
        raise_for_data(answer, DENIED_WAIT_S)
    if answer.body.lstrip()[:1] not in (b'"', b"[", b"{"):
        # Share facts B4: nothing, or a page, is maintenance.
        raise VendorTryLater("an answer without any JSON, as under maintenance", answer.retry_after_s)
    return answer.body


def _raise_fault(answer: Answer) -> None:
    """Raises what a fault asks to be done; without a code that we know, the status decides.

    Nearly every refusal comes with status 500, a wrong password too (Share facts B4, lesson 24), so the code is read
    before the status, except of a 429.
    """
    if answer.status == 429:
        raise_if_passing(answer)
    try:
        fault = read_json(answer.body, _Fault)
    except VendorChanged:
        return
    message = fault.Message if isinstance(fault.Message, str) else ""
    if fault.Code in _SESSION_GONE:
        raise VendorDenied("the session has ended", expired_token=True)
    if fault.Code == "MonitoredReceiverNotAssigned":
        raise ReconnectNeeded("nobody_followed")
    if fault.Code == "SSO_AuthenticateMaxAttemptsExceeded":
        raise SignInLocked(max(answer.retry_after_s or 0, LOCKED_FOR_S))
    if fault.Code in _WRONG_PASSWORD or _names_credentials(fault.Code, message):
        raise ReconnectNeeded("wrong_password")
    if fault.Code == "InvalidArgument":
        # Whatever its status: repeating would not help.
        raise VendorChanged("an argument of ours was refused")


def _names_credentials(code: str, message: str) -> bool:
    """Whether one of the codes with several meanings means the user name or the password."""
    if code == "SSO_InternalError":
        return "Cannot Authenticate by Account" in message
    return code == "InvalidArgument" and ("accountName" in message or "password" in message)
