"""Who is calling: a verified Bearer token, else the page's session cookie. Proves ownership of nothing."""

from typing import Annotated, cast

from fastapi import Depends, Request, Response

from evercgm.api.error_responses import Problem
from evercgm.api.origins import origin_of
from evercgm.core.caller import Caller
from evercgm.runtime import Runtime
from evercgm.storage import identity

SESSION_COOKIE = "evercgm_session"
LONGEST_COOKIE = 200
_NOT_SIGNED_IN = "Sign in again, or send a valid Bearer token."


def runtime_of(request: Request) -> Runtime:
    """What this process was wired with."""
    return cast(Runtime, request.app.state.runtime)


async def session_owner_of(request: Request) -> str | None:
    """The owner of the browser's session, None without a live one."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token or len(token) > LONGEST_COOKIE:
        return None
    return await identity.session_owner(runtime_of(request).db, token)


async def caller_of(request: Request) -> Caller:
    """The caller of a route that changes nothing. Raises Problem 401."""
    bearer = _bearer(request)
    if bearer is not None:
        return _by_token(runtime_of(request), bearer)
    owner_id = await session_owner_of(request)
    if owner_id is None:
        raise _not_signed_in()
    return Caller(owner_id, identity.session_claims(owner_id))


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


def _by_token(runtime: Runtime, token: str) -> Caller:
    try:
        claims = identity.verify_jwt(runtime.keys, token)
    except identity.TokenRefused:
        raise _not_signed_in() from None
    return Caller(str(claims["sub"]), claims)


def _not_signed_in() -> Problem:
    return Problem(401, "not_signed_in", _NOT_SIGNED_IN, headers={"WWW-Authenticate": "Bearer"})


def _foreign_origin() -> Problem:
    return Problem(403, "foreign_origin", "This may only be asked from our own page. Open it and try again.")
