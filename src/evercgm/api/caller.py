"""Who is calling: a verified Bearer token, else (standalone) the page's session. Proves ownership of nothing."""

from typing import Annotated, cast

from fastapi import Depends, Request, Response

from evercgm.api.bearer import Verify
from evercgm.api.error_responses import Problem, request_id_of
from evercgm.api.jwks import KeysUnavailable
from evercgm.api.origins import origin_of
from evercgm.core.caller import Caller
from evercgm.runtime import Runtime
from evercgm.storage import identity
from evercgm.storage.identity import TokenRefused

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
SESSION_COOKIE = "evercgm_session"
LONGEST_COOKIE = 200
_NOT_SIGNED_IN = "Sign in again, or send a valid Bearer token."
_KEYS_UNAVAILABLE = "Your sign-in cannot be checked at the moment. Try again in a minute."
_NO_LINKS_HERE = "Here people sign in at the app that this service belongs to, not by a link of ours."


def runtime_of(request: Request) -> Runtime:
    """What this process was wired with."""
    return cast(Runtime, request.app.state.runtime)


def is_standalone(runtime: Runtime) -> bool:
    """Whether we are our own identity; beside Supabase there are neither sessions nor sign-in links."""
    return runtime.settings.supabase is None


def standalone_only(request: Request) -> None:
    """For routes that the other mode does not have. Raises Problem 404."""
    if not is_standalone(runtime_of(request)):
        raise Problem(404, "no_sign_in_here", _NO_LINKS_HERE)


async def session_owner_of(request: Request) -> str | None:
    """The owner of the browser's session, None without a live one."""
    token = request.cookies.get(SESSION_COOKIE) if is_standalone(runtime_of(request)) else None
    if not token or len(token) > LONGEST_COOKIE:
        return None
    return await identity.session_owner(runtime_of(request).db, token)


async def caller_of(request: Request) -> Caller:
    """The caller of a route that changes nothing. Raises Problem 401."""
    bearer = _bearer(request)
    caller = await (_by_session(request) if bearer is None else _by_token(request, bearer))
    # For the record of deeds, where an error is all that is left of the call.
    request.state.caller = caller
    return caller


async def changing_caller(request: Request) -> Caller:
    """The caller of a state change; by cookie only from our own pages. Raises Problem 401, 403."""
    caller = await caller_of(request)
    if _bearer(request) is None:
        require_own_origin(request)
    return caller


Reading = Annotated[Caller, Depends(caller_of)]
Changing = Annotated[Caller, Depends(changing_caller)]
Wired = Annotated[Runtime, Depends(runtime_of)]


def require_own_origin(request: Request) -> None:
    """For calls that a cookie carries: the Origin header must be ours. Raises Problem 403."""
    if origin_of(request.headers.get("origin", "")) != origin_of(runtime_of(request).settings.public_url):
        raise _foreign_origin()


def refuse_foreign_form(request: Request) -> None:
    """For forms that a token in the address carries: not from another site's page. Raises Problem 403.

    A client that is no browser sends neither header and may pass: nothing of it is used but the token.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None:
        require_own_origin(request)
    elif site not in (None, "same-origin"):
        raise _foreign_origin()


def set_session(request: Request, response: Response, token: str) -> None:
    """Give the browser its session; scripts cannot read it."""
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(identity.SESSION_LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_https(runtime_of(request)),
    )


def is_https(runtime: Runtime) -> bool:
    """Whether people reach us by https."""
    return runtime.settings.public_url.startswith("https://")


def _bearer(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _by_session(request: Request) -> Caller:
    owner_id = await session_owner_of(request)
    if owner_id is None:
        raise _not_signed_in()
    return Caller(owner_id, identity.session_claims(owner_id), request_id_of(request))


async def _by_token(request: Request, token: str) -> Caller:
    verify = cast(Verify, request.app.state.verify)
    try:
        claims = await verify(token)
    except TokenRefused:
        raise _not_signed_in() from None
    except KeysUnavailable:
        headers = {**_CHALLENGE, "Retry-After": "60"}
        raise Problem(401, "keys_unavailable", _KEYS_UNAVAILABLE, headers=headers) from None
    return Caller(str(claims["sub"]), claims, request_id_of(request))


def _not_signed_in() -> Problem:
    return Problem(401, "not_signed_in", _NOT_SIGNED_IN, headers=_CHALLENGE)


def _foreign_origin() -> Problem:
    return Problem(403, "foreign_origin", "This may only be asked from our own page. Open it and try again.")
