"""CareLink's login: the address of its page, what is pasted back from there, and refresh tokens, into Tokens."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import httpx2
import msgspec

from evercgm.core.errors import (
    Choice,
    ChooseFirst,
    GrantRefused,
    OperatorMustAct,
    VendorChanged,
    VendorError,
    VendorTryLater,
)
from evercgm.core.tokens import Secret, Tokens, lifetime_s
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Login, Pasted, VendorApp
from evercgm.provider_kit.oauth import LARGEST_ANSWER, LONGEST_TOKEN, consent_url
from evercgm.provider_kit.send import Answer, raise_if_passing, read_json, send
from evercgm.providers.medtronic import accounts, discovery, kept, paste
from evercgm.providers.medtronic.calls import USER_AGENT, is_page
from evercgm.providers.medtronic.claims import read_claims
from evercgm.providers.medtronic.hosts import checked
from evercgm.providers.medtronic.kept import Access, Grant, Refresh, View

# Whose account it is, is asked again at once: the person waits.
ASK_AGAIN_AFTER_S = (1.0, 3.0)


class _TokenWire(msgspec.Struct, frozen=True):
    """Auth0, as CareLink answers, read 2026-11: without a refresh token the old one stays good."""

    access_token: str
    refresh_token: str | None = None
    expires_in: object = None


class _ErrorWire(msgspec.Struct, frozen=True):
    """RFC 6749, 5.2. The description is not read: it may quote the request."""

    error: str


@dataclass(frozen=True, slots=True)
class _Exchanged:
    """A grant, and the client and address that its refresh token belongs to."""

    grant: Grant
    client_id: str
    token_url: str


async def begin(http: httpx2.AsyncClient, app: VendorApp, login: Login) -> str:
    """The address of the login page. CareLink, Auth0 with PKCE, read 2026-11.

    Raises OperatorMustAct, VendorTryLater, VendorChanged.
    """
    places = await discovery.find(http, app)
    return consent_url(
        places.authorize_url,
        {
            **discovery.consent_fields(places),
            "code_challenge": login.code_challenge,
            "code_challenge_method": "S256",
            "state": login.state,
        },
    )


async def finish(http: httpx2.AsyncClient, app: VendorApp, pasted: Pasted) -> Tokens:
    """The address that the login ended at, or another tool's tokens (which end there), into our own, of nobody yet.

    Raises BadInput(pasted), GrantRefused (used or too old), OperatorMustAct, VendorError.
    """
    bundle = paste.read_bundle(pasted.text, app.base_url) if paste.is_bundle(pasted.text) else None
    places = await discovery.find(http, app)
    given = bundle or paste.read_code(pasted.text, pasted.state, places.redirect_uri)
    exchanged = await _exchange(http, places, given, pasted.verifier)
    return _tokens(exchanged, View("", "", "", places.care_url, places.data_url))


async def settle(http: httpx2.AsyncClient, app: VendorApp, tokens: Tokens) -> Tokens:
    """Tokens of nobody yet, made those of the account that signed in and of the patient whom it follows.

    Raises ChooseFirst, ReconnectNeeded, VendorDenied, OperatorMustAct, VendorError.
    """
    access = kept.opened(tokens.access, Access)
    checked(access.view.care_url, app.base_url)
    view, choices = await _find_view(http, access)
    settled = _with_view(tokens, view)
    if choices:
        raise ChooseFirst(choices, settled)
    return settled


def choose(tokens: Tokens, who: str) -> Tokens:
    """The tokens of a login, made those of one of the patients whom it follows."""
    return _with_view(tokens, msgspec.structs.replace(kept.opened(tokens.access, Access).view, patient=who))


def _with_view(tokens: Tokens, view: View) -> Tokens:
    access, refresh_ = kept.opened(tokens.access, Access), kept.opened(tokens.refresh, Refresh)
    return replace(
        tokens,
        access=kept.sealed(msgspec.structs.replace(access, view=view)),
        refresh=kept.sealed(msgspec.structs.replace(refresh_, view=view)),
    )


async def _find_view(http: httpx2.AsyncClient, access: Access) -> tuple[View, tuple[Choice, ...]]:
    for wait_s in ASK_AGAIN_AFTER_S:
        try:
            return await accounts.find_view(http, access)
        except VendorTryLater:
            await asyncio.sleep(wait_s)
    return await accounts.find_view(http, access)


async def refresh(http: httpx2.AsyncClient, app: VendorApp, refresh_secret: Secret) -> Tokens:
    """A refresh token into new tokens; it works once. Auth0, as CareLink uses it, read 2026-11.

    Raises GrantRefused, OperatorMustAct, VendorTryLater, VendorChanged, ReconnectNeeded.
    """
    old = kept.opened(refresh_secret, Refresh)
    # Before the call that spends the token: after it nothing may come between the new one and its being stored.
    view = await _where_it_is_now(http, app, old.view)
    exchanged = await _exchange_refresh(http, old.token, old.client_id, checked(old.token_url, app.base_url))
    return _tokens(exchanged, view)


async def revoke(http: httpx2.AsyncClient, app: VendorApp, refresh_secret: Secret) -> None:
    """Have the login end at the vendor. Auth0's own; whether CareLink takes it is not known (read 2026-11).

    Raises OperatorMustAct, ReconnectNeeded, VendorError: it may live on until its week without use is over.
    """
    held = kept.opened(refresh_secret, Refresh)
    places = await discovery.find(http, app)
    if places.revoke_url is None:
        raise VendorChanged("no address to end a login at")
    form = {"client_id": held.client_id, "token": held.token.reveal()}
    headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
    answer = await send(http, "POST", places.revoke_url, headers=headers, form=form, largest=LARGEST_ANSWER)
    if not 200 <= answer.status < 300 or is_page(answer):
        raise VendorTryLater(f"the end of a login was answered with status {answer.status}")


async def _where_it_is_now(http: httpx2.AsyncClient, app: VendorApp, view: View) -> View:
    """The same view at the addresses of today; where those cannot be had, it stays as it was."""
    try:
        places = await discovery.find(http, app)
    except VendorError:
        return view
    return msgspec.structs.replace(view, care_url=places.care_url, data_url=places.data_url)


async def _exchange(
    http: httpx2.AsyncClient, places: discovery.Places, given: paste.Bundle | Secret, verifier: Secret
) -> _Exchanged:
    if isinstance(given, paste.Bundle):
        return await _exchange_bundle(http, places, given)
    return await _exchange_code(http, places, given, verifier)


async def _exchange_code(
    http: httpx2.AsyncClient, places: discovery.Places, code: Secret, verifier: Secret
) -> _Exchanged:
    form = {
        "grant_type": "authorization_code",
        "client_id": places.client_id,
        "code": code.reveal(),
        "redirect_uri": places.redirect_uri,
        "code_verifier": verifier.reveal(),
    }
    grant = await ask_tokens(http, places.token_url, form)
    if grant.refresh is None:
        raise VendorChanged("a login without a refresh token")
    return _Exchanged(grant, places.client_id, places.token_url)


async def _exchange_bundle(http: httpx2.AsyncClient, places: discovery.Places, bundle: paste.Bundle) -> _Exchanged:
    """Renewed at once: so it is known to work, and from now on it is ours alone."""
    client_id, token_url = bundle.client_id or places.client_id, bundle.token_url or places.token_url
    try:
        return await _exchange_refresh(http, bundle.refresh, client_id, token_url)
    except OperatorMustAct:
        if bundle.client_id is None or bundle.client_id == places.client_id:
            raise
        raise paste.refused("client") from None


async def _exchange_refresh(http: httpx2.AsyncClient, token: Secret, client_id: str, token_url: str) -> _Exchanged:
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token.reveal()}
    grant = await ask_tokens(http, token_url, form)
    grant = grant if grant.refresh is not None else msgspec.structs.replace(grant, refresh=token)
    return _Exchanged(grant, client_id, token_url)


async def ask_tokens(
    http: httpx2.AsyncClient, url: str, form: Mapping[str, str], now: Callable[[], datetime] = utc_now
) -> Grant:
    """Ask CareLink's token endpoint; the grant counts from before the call.

    Raises GrantRefused where the body says invalid_grant, whatever the status (Auth0 says 403); OperatorMustAct;
    VendorTryLater for every other refusal, which never ends a login; VendorChanged.
    """
    issued_at = now()
    headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
    answer = await send(http, "POST", url, headers=headers, form=form, largest=LARGEST_ANSWER)
    if not 200 <= answer.status < 300 or is_page(answer):
        _raise_refusal(answer)
    wire = read_json(answer.body, _TokenWire)
    refresh_token = None if wire.refresh_token is None else _token(wire.refresh_token)
    return Grant(_token(wire.access_token), refresh_token, issued_at, _lifetime_s(wire, issued_at))


def _raise_refusal(answer: Answer) -> None:
    code = _error_code(answer.body)
    if code == "invalid_grant":
        raise GrantRefused("the vendor refuses this code or refresh token")
    if code in ("invalid_client", "unauthorized_client"):
        raise OperatorMustAct(f"the vendor refuses the client it gave out: {code}", "release")
    raise_if_passing(answer)
    raise VendorTryLater(f"the token endpoint answered with status {answer.status}", answer.retry_after_s)


def _error_code(body: bytes) -> str | None:
    try:
        return read_json(body, _ErrorWire).error
    except VendorChanged:
        return None


def _token(text: str) -> Secret:
    if not text or len(text) > LONGEST_TOKEN or not (text.isascii() and text.isprintable()):
        raise VendorChanged("a token that is empty, too long or no plain text")
    return Secret(text)


def _lifetime_s(wire: _TokenWire, issued_at: datetime) -> int:
    """The smaller of what the answer and the token itself say; one hour where neither says anything."""
    said = lifetime_s(wire.expires_in)
    exp = read_claims(wire.access_token).exp
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        return said
    left = exp - issued_at.timestamp()
    if left < 1:
        return said
    return int(left) if wire.expires_in is None and left <= 86_400 else min(said, int(left))


def _tokens(exchanged: _Exchanged, view: View) -> Tokens:
    grant = exchanged.grant
    refresh_token = grant.refresh or Secret("")
    return Tokens(
        access=kept.sealed(Access(grant.access, grant.issued_at, view)),
        refresh=kept.sealed(Refresh(refresh_token, exchanged.client_id, exchanged.token_url, view)),
        expires_at=grant.expires_at,
        lifetime_s=grant.lifetime_s,
    )
