"""Sign-in at Dexcom Share: user name and password into a session. Each is sent once, and never tried again."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx2
import msgspec

from evercgm.core.errors import ReconnectNeeded, VendorChanged, VendorDenied
from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.provider_kit.contract import Credentials, VendorApp
from evercgm.provider_kit.send import read_json
from evercgm.providers.dexcom_share.client import NO_UUID, Session, opened, post

AUTHENTICATE = "General/AuthenticatePublisherAccount"
LOG_IN = "General/LoginPublisherAccountById"
# Share facts B1, read 2026-11: of Dexcom's own app, the same for everybody.
APPLICATION_IDS = {
    "us": "d89443d2-327c-4a6f-89e5-496bbb0317db",
    "eu": "d89443d2-327c-4a6f-89e5-496bbb0317db",
    "jp": "d8665ade-9673-4e27-9ff6-92db4ce13d13",
}
# How long a session lives is not documented; others assume 24 h. Where it ends before, an answer says so.
SESSION_LASTS = timedelta(hours=23)


class _Kept(msgspec.Struct, frozen=True):
    """What the refresh token holds, where the person lets us keep it."""

    account: str
    password: str


async def sign_in(http: httpx2.AsyncClient, app: VendorApp, credentials: Credentials) -> Tokens:
    """User name, e-mail or phone number, and password, of the publisher's own account (Share facts B2, read 2026-11).

    Raises ReconnectNeeded(wrong_password), also for a wrong region: Share does not tell them apart. SignInLocked,
    VendorRateLimited, VendorTryLater, VendorChanged.
    """
    password = credentials.password.reveal()
    who = {"accountName": credentials.username.reveal(), "password": password}
    account = await _ask_id(http, app, AUTHENTICATE, who)
    kept = _Kept(account, password) if credentials.keep else None
    return await _log_in(http, app, account, password, kept)


async def refresh(http: httpx2.AsyncClient, app: VendorApp, refresh_token: Secret) -> Tokens:
    """A new session with what was kept, by one call: the account's id stands for the name.

    Raises what ``sign_in`` raises, and ReconnectNeeded(password_needed) where nothing was kept.
    """
    kept = opened(refresh_token, _Kept) if refresh_token else None
    if kept is None:
        raise ReconnectNeeded("password_needed")
    return await _log_in(http, app, kept.account, kept.password, kept)


async def _log_in(http: httpx2.AsyncClient, app: VendorApp, account: str, password: str, kept: _Kept | None) -> Tokens:
    asked_at = datetime.now(UTC)
    session = await _ask_id(http, app, LOG_IN, {"accountId": account, "password": password})
    return Tokens(
        access=Session(session, account).seal(),
        refresh=Secret(msgspec.json.encode(kept).decode()) if kept else NO_SECRET,
        expires_at=asked_at + SESSION_LASTS,
        lifetime_s=int(SESSION_LASTS.total_seconds()),
    )


async def _ask_id(http: httpx2.AsyncClient, app: VendorApp, path: str, who: dict[str, str]) -> str:
    """The UUID that a sign-in call answers with; one of zeros is a refusal (Share facts B2, lesson 25)."""
    try:
        body = await post(http, app, path, json=who | {"applicationId": APPLICATION_IDS[app.region]})
    except VendorDenied:
        # There is no session yet that could have ended.
        raise VendorChanged("a sign-in was refused as if it were a data call") from None
    text = read_json(body, str)
    try:
        found = str(UUID(text))
    except ValueError:
        raise VendorChanged("a sign-in was answered with something that is no id") from None
    if found == NO_UUID:
        raise ReconnectNeeded("wrong_password")
    return found
