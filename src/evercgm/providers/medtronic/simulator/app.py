"""CareLink as an ASGI app, after what its clients and probes tell; shares no code with our client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from evercgm.providers.medtronic.simulator import control, data, documents, faults, login
from evercgm.providers.medtronic.simulator.cloud import (
    ACCOUNTS,
    PATIENTS,
    Account,
    Cloud,
    Patient,
    cloud_of,
    json_response,
    load_traces,
)
from evercgm.providers.medtronic.simulator.state import State
from evercgm.simulator_kit.answers import CutAnswer
from evercgm.simulator_kit.clock import VirtualClock

PREFIX = "/medtronic"
BLOCKED = "<html><body>Request blocked.</body></html>"
Handler = Callable[[Request], Awaitable[Response]]


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def create_app(
    data_dir: Path,
    *,
    accounts: Sequence[Account] = ACCOUNTS,
    patients: Sequence[Patient] = PATIENTS,
    trace: Path | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The cloud below `/medtronic`; `trace` (a CSV) is replayed by the first patient.

    Anchor, codes, tokens and counts live in `data_dir`. Raises TraceError, OSError, sqlite3.Error.
    """
    # Before the data directory is made: a start that fails must not set the anchor.
    traces = load_traces(patients, trace, clock())
    state = State(data_dir, clock())
    cloud = Cloud(
        state=state,
        accounts={account.username: account for account in accounts},
        patients={patient.username: patient for patient in patients},
        traces={name: replace(curve, anchor=state.anchor) for name, curve in traces.items()},
        clock=VirtualClock(clock),
        prefix=PREFIX,
    )
    cloud.recall()

    @asynccontextmanager
    async def closing_the_state(_app: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    app = Starlette(routes=_routes(), lifespan=closing_the_state)
    app.state.cloud = cloud
    return app


def _routes() -> list[Route]:
    routes = control.routes(f"{PREFIX}/control")

    def add(path: str, place: str, handler: Handler, *methods: str) -> None:
        routes.append(Route(PREFIX + path, _with_troubles(place, handler), methods=methods or ("GET",)))

    add("/connect/carepartner/{base}/discover/android/{version}", "discover", documents.discover)
    add("/configs/v1/{region}/carepartner_auth0.json", "sso", documents.sso)
    add(f"{documents.LOGIN_PREFIX}/authorize", "authorize", login.authorize, "GET", "POST")
    add(f"{documents.LOGIN_PREFIX}/oauth/token", "token", login.give_tokens, "POST")
    add(f"{documents.LOGIN_PREFIX}/oauth/revoke", "revoke", login.revoke, "POST")
    add("/api/carepartner/v2/users/me", "me", data.signed_in(data.me))
    add("/api/carepartner/v2/links/patients", "patients", data.signed_in(data.patients))
    add("/connect/carepartner/v13/display/message", "message", data.signed_in(data.display_message), "POST")
    add("/connect/carepartner/v6/display/message", "message", data.signed_in(data.old_message), "POST")
    add("/patient/users/me", "me", data.signed_in(data.me))
    add("/patient/users/me/profile", "profile", data.signed_in(data.web_profile))
    add("/patient/m2m/links/patients", "patients", data.signed_in(data.patients))
    add("/patient/monitor/data", "monitor", data.signed_in(data.web_monitor))
    add("/patient/configuration/system/personal.cp.m2m.enabled", "follows", data.signed_in(data.web_follows))
    add("/patient/dataUpload/recentUploads", "uploads", data.signed_in(data.web_uploads))
    add("/patient/countries/settings", "settings", data.signed_in(data.web_settings))
    return routes


def _with_troubles(place: str, handler: Handler) -> Handler:
    """The handler behind the counter and the faults; a program without a name is blocked in front of it."""

    async def handle(request: Request) -> Response:
        cloud = cloud_of(request)
        cloud.state.count("calls", place)
        if not request.headers.get("user-agent"):
            return HTMLResponse(BLOCKED, 403)
        username = await _username(cloud, request) if cloud.faults.has_username_scope() else None
        if seconds := cloud.faults.take(faults.SLOW, place, username):
            await asyncio.sleep(seconds)
        return _refusal(cloud, place, username) or await handler(request)

    return handle


async def _username(cloud: Cloud, request: Request) -> str | None:
    form = await login.form_of(request) if request.method == "POST" else {}
    return cloud.state.owner_of(data.bearer_of(request) or form.get("refresh_token") or form.get("code") or "")


def _refusal(cloud: Cloud, place: str, username: str | None) -> Response | None:
    """The answer that a fault gives instead of the handler; None where none does."""
    take = cloud.faults.take
    if take(faults.GONE, place, username):
        return CutAnswer(b"gone", 200, {}, hang_up=True)
    retry_after = take(faults.RATE_LIMITED, place, username)
    if retry_after is not None:
        return Response(status_code=429, headers={"Retry-After": retry_after} if retry_after else {})
    if status := take(faults.SERVER_ERROR, place, username):
        return json_response({"message": "Endpoint request timed out"}, status)
    if status := take(faults.CLIENT_ERROR, place, username):
        return Response(status_code=status)
    if take(faults.UNAUTHORIZED, place, username):
        return json_response(data.UNAUTHORIZED, 401)
    if take(faults.FORBIDDEN, place, username):
        return json_response({"message": "Forbidden"}, 403)
    page = take(faults.HTML, place, username)
    return HTMLResponse(BLOCKED, page) if page else None
