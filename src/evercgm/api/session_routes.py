"""Signing in by a one-time link, the page's session, signing out."""

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from evercgm.api.caller import (
    SESSION_COOKIE,
    Changing,
    Reading,
    Wired,
    is_https,
    is_standalone,
    refuse_foreign_form,
    set_session,
    standalone_only,
)
from evercgm.api.fields import PathToken
from evercgm.api.pages import button_page, sorry_page
from evercgm.core.errors import NotYours
from evercgm.storage import identity, views

pages = APIRouter(include_in_schema=False, dependencies=[Depends(standalone_only)])
router = APIRouter(tags=["session"])
_USED = "This link has been used or is too old. Ask for a new one: evercgm sign-in prints it."


class Person(BaseModel):
    """A person of the caller."""

    id: str
    label: str


class Session(BaseModel):
    """Who is signed in; ``mode``: by a link or token of ours, or by the Supabase project."""

    owner_id: str
    persons: list[Person]
    mode: Literal["standalone", "supabase"]


@pages.get("/sign-in/{token}")
async def show_sign_in(token: PathToken, runtime: Wired) -> Response:
    """A page with a button; looking at the link does not use it up."""
    try:
        await identity.peek_link(runtime.db, token)
    except NotYours:
        return sorry_page(404, "This link no longer works", _USED)
    text = "This browser will stay signed in for 30 days, or until you sign out."
    return button_page("Sign in", text, "Sign in", f"/sign-in/{token}")


@pages.post("/sign-in/{token}")
async def sign_in(token: PathToken, request: Request, runtime: Wired) -> Response:
    """Use the link up and open the page."""
    refuse_foreign_form(request)
    try:
        session = await identity.use_link(runtime.db, token)
    except NotYours:
        return sorry_page(404, "This link no longer works", _USED)
    response = RedirectResponse("/", 303)
    set_session(request, response, session)
    return response


@router.get("/session")
async def get_session(request: Request, response: Response, runtime: Wired, caller: Reading) -> Session:
    """Who is signed in, and their persons. A session's cookie moves on with it."""
    found = await views.persons(runtime.db, caller)
    standalone = is_standalone(runtime)
    token = request.cookies.get(SESSION_COOKIE) if standalone else None
    if token and "authorization" not in request.headers:
        set_session(request, response, token)
    persons = [Person(id=person.id, label=person.label) for person in found]
    return Session(owner_id=caller.owner_id, persons=persons, mode="standalone" if standalone else "supabase")


@router.post("/session/sign-out", status_code=204, dependencies=[Depends(standalone_only)])
async def sign_out(request: Request, runtime: Wired, _caller: Changing) -> Response:
    """End this browser's session."""
    await identity.end_session(runtime.db, request.cookies.get(SESSION_COOKIE, ""))
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax", secure=is_https(runtime))
    return response
