"""Connecting: begin, the hand-over page, and where the vendor sends the browser back to."""

from typing import Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from evercgm.actions import connect
from evercgm.actions.confirm import confirm
from evercgm.api.caller import Changing, Wired, is_https, refuse_foreign_form, session_owner_of
from evercgm.api.error_responses import Problem, request_id_of
from evercgm.api.fields import Id, PathToken, Told
from evercgm.api.origins import origin_of, origins_of
from evercgm.api.pages import button_page, sorry_page
from evercgm.core.errors import BadInput, NotYours
from evercgm.runtime import Runtime
from evercgm.storage import views

pages = APIRouter(include_in_schema=False)
router = APIRouter(tags=["connect"])
BINDING_COOKIE = "evercgm_binding"
BINDING_LIFETIME_S = 600
LONGEST_QUERY_VALUE = 4096
_NOTHING_WAITS = "No sign-in waits under this name: it was used or is older than ten minutes. Connect once more."


class OAuthRequest(BaseModel):
    """``return_to``: where the browser ends, at an allowed origin; default our own page."""

    model_config = ConfigDict(extra="forbid")
    region: Literal["us", "eu", "jp", "sandbox"]
    person_id: Id | None = None
    return_to: str | None = Field(None, max_length=2000)


class OAuthBegun(BaseModel):
    """Open ``authorization_url`` in the browser that the person will use; it works once."""

    authorization_url: str
    expires_at: Told


class Confirmation(BaseModel):
    """``attempt``: from the query of the address that the browser came back to, with ``cgm=confirm``."""

    model_config = ConfigDict(extra="forbid")
    attempt: Id


class Confirmed(BaseModel):
    """The connection that uses the other account from now on."""

    connection_id: str


@router.post("/dexcom/oauth")
async def begin_dexcom(body: OAuthRequest, runtime: Wired, caller: Changing) -> OAuthBegun:
    """Begin to connect a Dexcom account: the address of a one-time page of ours."""
    return_to = _allowed_return(runtime, body.return_to)
    handover = await connect.begin(
        runtime.db,
        runtime.vendors,
        caller,
        person_id=await views.chosen_person(runtime.db, caller, body.person_id),
        route="dexcom",
        region=body.region,
        return_to=return_to,
    )
    url = f"{runtime.settings.public_url}/connect/{handover.token}"
    return OAuthBegun(authorization_url=url, expires_at=handover.expires_at)


@router.get("/dexcom/callback", status_code=303, response_class=Response)
async def dexcom_callback(request: Request, runtime: Wired) -> Response:
    """The vendor sends the browser here; it goes on to ``return_to`` with ``cgm``, and ``code`` or ``attempt``."""
    finished = await connect.finish(
        runtime.db,
        runtime.vendors,
        state=_value(request, "state"),
        code=_value(request, "code"),
        # However long or often it came: with an error no code counts.
        error=request.query_params.get("error"),
        binding=request.cookies.get(BINDING_COOKIE),
        session_owner=await session_owner_of(request),
        request_id=request_id_of(request),
    )
    target = finished.return_to or _home(runtime)
    response = RedirectResponse(_with_outcome(target, finished), 303)
    # What belongs to no sign-in, or to another browser's, must not end the one that is under way in this browser.
    if finished.code != "bad_state":
        response.delete_cookie(
            BINDING_COOKIE, path=_callback_path(runtime), httponly=True, samesite="lax", secure=is_https(runtime)
        )
    return response


@router.post("/dexcom/confirm")
async def confirm_dexcom(body: Confirmation, runtime: Wired, caller: Changing) -> Confirmed:
    """After ``cgm=confirm``: use the other account from now on. Older readings stay."""
    try:
        return Confirmed(connection_id=await confirm(runtime.db, runtime.vendors, caller, body.attempt))
    except NotYours as refused:
        raise Problem(404, "not_found", _NOTHING_WAITS) from refused


@pages.get("/connect/{token}")
async def show_handover(token: PathToken, request: Request, runtime: Wired) -> Response:
    """Goes on at once in the owner's own session; else a page that names the person, not used up."""
    try:
        view = await connect.preview(runtime.db, runtime.vendors, token)
        if await session_owner_of(request) == view.owner_id:
            return await _go(runtime, token)
    except NotYours:
        return _used()
    text = (
        f"You are about to connect the account of {view.person_label} at {view.provider_title}, "
        f"{view.region_title}. You sign in at the vendor; we never see the password."
    )
    return button_page(f"Connect {view.provider_title}", text, "Go on", f"/connect/{token}")


@pages.post("/connect/{token}")
async def use_handover(token: PathToken, request: Request, runtime: Wired) -> Response:
    """The click: uses the hand-over up and goes to the vendor."""
    refuse_foreign_form(request)
    try:
        return await _go(runtime, token)
    except NotYours:
        return _used()


async def _go(runtime: Runtime, token: str) -> Response:
    consent = await connect.go(runtime.db, runtime.vendors, token)
    response = RedirectResponse(consent.url, 303)
    response.set_cookie(
        BINDING_COOKIE,
        consent.binding,
        max_age=BINDING_LIFETIME_S,
        path=_callback_path(runtime),
        httponly=True,
        samesite="lax",
        secure=is_https(runtime),
    )
    return response


def _used() -> Response:
    text = "It has been used or is too old. Nothing was changed; press Connect on your page once more."
    return sorry_page(404, "This link no longer works", text)


def _callback_path(runtime: Runtime) -> str:
    """The path that the browser will come back to: behind a proxy it may be another than ours."""
    return quote(urlsplit(runtime.settings.dexcom_redirect_uri).path or "/", safe="/-._~%")


def _home(runtime: Runtime) -> str:
    return f"{runtime.settings.public_url}/"


def _allowed_return(runtime: Runtime, address: str | None) -> str:
    """Raises BadInput(return_to): no plain http(s) address, or its origin is not on the list."""
    if address is None:
        return _home(runtime)
    origin = origin_of(address)
    if origin is None or origin not in origins_of(runtime.settings.return_origins):
        raise BadInput("return_to", "give an http(s) address at an allowed origin, or leave it out")
    return address


def _with_outcome(address: str, finished: connect.Finished) -> str:
    parts = urlsplit(address)
    ours = {"cgm": finished.outcome, "code": finished.code, "attempt": finished.attempt}
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in ours]
    told = [(name, value) for name, value in ours.items() if value]
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(kept + told), ""))


def _value(request: Request, name: str) -> str | None:
    """A parameter that came once, of a length that can be right; of two nobody knows which one is meant."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 and len(values[0]) <= LONGEST_QUERY_VALUE else None
