"""Dexcom's cloud as an ASGI app after its v3 reference; shares no code with the client."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.dexcom import simulator_records as records
from evercgm.providers.dexcom.simulator_cloud import (
    SANDBOX_ACCOUNTS,
    Account,
    Cloud,
    Settings,
    cloud_of,
    json_response,
    load_traces,
)
from evercgm.providers.dexcom.simulator_oauth import answer_login, give_tokens, show_login
from evercgm.providers.dexcom.simulator_state import Client, Grant, State
from evercgm.simulator_kit.trace import Trace

PREFIX = "/dexcom"
# Dexcom v3, "egvs": at most 30 days between startDate and endDate.
LONGEST_WINDOW = timedelta(days=30)
QUERY_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
EMPTY_KINDS = {"events": "event", "calibrations": "calibration", "alerts": "alert"}
INVALID_TOKEN = {
    "fault": {
        "faultstring": "Invalid access token",
        "detail": {"errorcode": "oauth.v2.InvalidAccessToken"},
    }
}

Handler = Callable[[Request], Awaitable[Response]]
DataHandler = Callable[[Request, Cloud, Grant, Account, Trace | None], Response]


class BadQuery(Exception):
    """The window or a date in the query cannot be used; the text says why."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def create_app(
    data_dir: Path,
    *,
    clients: Sequence[Client] = (),
    accounts: Sequence[Account] = SANDBOX_ACCOUNTS,
    trace: Path | None = None,
    settings: Settings | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The cloud below `/dexcom`; `trace` (a CSV) is replayed by the first account.

    Anchor, clients, codes, tokens and counts live in `data_dir`. Raises TraceError, OSError, sqlite3.Error.
    """
    # Before the data directory is made: a start that fails must not set the anchor.
    traces = load_traces(accounts, trace, clock())
    state = State(data_dir, clock())
    state.register(clients)
    cloud = Cloud(
        state=state,
        accounts={account.username: account for account in accounts},
        traces={name: replace(curve, anchor=state.anchor) for name, curve in traces.items()},
        settings=settings or Settings(),
        clock=clock,
    )

    @asynccontextmanager
    async def closing_the_state(_app: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    app = Starlette(routes=_routes(), lifespan=closing_the_state)
    app.state.cloud = cloud
    return app


def _routes() -> list[Route]:
    routes = [
        Route(f"{PREFIX}/control/stats", _stats),
        Route(f"{PREFIX}/control/settings", _change_settings, methods=["POST"]),
        Route(f"{PREFIX}/control/accounts/{{username}}/truth", _truth),
    ]
    for version in ("v3", "v2"):
        login, token = f"/{version}/oauth2/login", f"/{version}/oauth2/token"
        routes.append(Route(PREFIX + login, _counted(login, show_login), methods=["GET"]))
        routes.append(Route(PREFIX + login, _counted(login, answer_login), methods=["POST"]))
        routes.append(Route(PREFIX + token, _counted(token, give_tokens), methods=["POST"]))
    kinds: dict[str, DataHandler] = {"dataRange": _data_range, "egvs": _egvs, "devices": _devices}
    for kind in (*kinds, *EMPTY_KINDS):
        path = f"/v3/users/self/{kind}"
        routes.append(Route(PREFIX + path, _counted(path, _with_grant(kinds.get(kind, _nothing)))))
    return routes


def _counted(path: str, handler: Handler) -> Handler:
    async def count_then_handle(request: Request) -> Response:
        cloud_of(request).state.count("calls", path)
        return await handler(request)

    return count_then_handle


def _with_grant(handler: DataHandler) -> Handler:
    """Only with a living access token; a window that cannot be used is 400."""

    async def check_then_handle(request: Request) -> Response:
        cloud = cloud_of(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        grant = cloud.state.grant_of(token.strip(), cloud.clock()) if scheme.lower() == "bearer" else None
        account = cloud.accounts.get(grant.username) if grant else None
        if grant is None or account is None:
            return json_response(INVALID_TOKEN, 401)
        try:
            return handler(request, cloud, grant, account, cloud.traces.get(account.username))
        except BadQuery as error:
            return json_response({"error": str(error)}, 400)

    return check_then_handle


def _data_range(request: Request, cloud: Cloud, grant: Grant, account: Account, trace: Trace | None) -> Response:
    last_sync = request.query_params.get("lastSyncTime")
    delay = timedelta(hours=cloud.settings.delay_hours)
    # New since then means uploaded since then.
    new_after = None if last_sync is None else _any_date(last_sync, "lastSyncTime") - delay
    return json_response(
        {
            "recordType": "dataRange",
            "recordVersion": records.RECORD_VERSION,
            "userId": records.user_id_of(cloud.state, grant.client_id, account.username),
            **records.data_range(account, trace, new_after, cloud.visible_until()),
        }
    )


def _egvs(request: Request, cloud: Cloud, grant: Grant, account: Account, trace: Trace | None) -> Response:
    start, end = _window(request.query_params)
    end = min(end, cloud.visible_until())
    found = records.egvs(cloud.state, grant.client_id, account, trace, start, end) if trace else []
    user_id = records.user_id_of(cloud.state, grant.client_id, account.username)
    return json_response(records.envelope("egv", user_id, found))


def _devices(_request: Request, cloud: Cloud, grant: Grant, account: Account, trace: Trace | None) -> Response:
    delay = timedelta(hours=cloud.settings.delay_hours)
    found = records.devices(cloud.state, account, trace, cloud.visible_until(), delay)
    user_id = records.user_id_of(cloud.state, grant.client_id, account.username)
    return json_response(records.envelope("device", user_id, found))


def _nothing(request: Request, cloud: Cloud, grant: Grant, account: Account, _trace: Trace | None) -> Response:
    _window(request.query_params)
    user_id = records.user_id_of(cloud.state, grant.client_id, account.username)
    return json_response(records.envelope(EMPTY_KINDS[request.url.path.rpartition("/")[2]], user_id, []))


def _window(query: Mapping[str, str]) -> tuple[datetime, datetime]:
    start, end = _query_date(query, "startDate"), _query_date(query, "endDate")
    if end < start:
        raise BadQuery("endDate is before startDate")
    if end - start > LONGEST_WINDOW:
        raise BadQuery("the window is longer than 30 days")
    return start, end


def _query_date(query: Mapping[str, str], name: str) -> datetime:
    """Dexcom v3: `YYYY-MM-DDThh:mm:ss` in UTC, no zone, no fraction."""
    text = query.get(name, "")
    if not QUERY_DATE.fullmatch(text):
        raise BadQuery(f"{name} must be YYYY-MM-DDThh:mm:ss")
    return _any_date(text, name)


def _any_date(text: str, name: str) -> datetime:
    """ISO 8601 with or without zone (then UTC)."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadQuery(f"{name} is not a date") from error


async def _stats(request: Request) -> Response:
    """What clients did since the first start; calls of this control path are not counted."""
    state = cloud_of(request).state
    return json_response(
        {
            "refresh_reuse": state.counts("refresh_reuse").get("", 0),
            "token_calls": state.counts("token_calls"),
            "calls": state.counts("calls"),
        }
    )


async def _change_settings(request: Request) -> Response:
    """Change the settings named in the JSON body, until the process ends; answers all of them."""
    cloud = cloud_of(request)
    try:
        changes = msgspec.json.decode(await request.body(), type=dict[str, object])
        cloud.settings = msgspec.convert({**msgspec.structs.asdict(cloud.settings), **changes}, Settings)
    except msgspec.MsgspecError as error:
        return json_response({"error": str(error)}, 400)
    return json_response(cloud.settings)


async def _truth(request: Request) -> Response:
    """All readings of an account up to now, oldest first, whatever the delay; `start`, `end` optional."""
    cloud = cloud_of(request)
    username = request.path_params["username"]
    if username not in cloud.accounts:
        return json_response({"error": "no such account"}, 404)
    trace = cloud.traces.get(username)
    now = cloud.clock() + timedelta(microseconds=1)
    try:
        start = _any_date(request.query_params.get("start", "0001-01-01"), "start")
        end = _any_date(request.query_params["end"], "end") if "end" in request.query_params else now
    except BadQuery as error:
        return json_response({"error": str(error)}, 400)
    found = trace.records_between(start, min(end, now)) if trace else ()
    return json_response(
        [
            {
                "systemTime": records.system_time(at.measured_at),
                "value": records.wire_value(at.glucose_mg_dl)[0],
            }
            for at in found
        ]
    )
