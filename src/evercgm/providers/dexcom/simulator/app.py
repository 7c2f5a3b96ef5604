"""Dexcom's cloud as an ASGI app after its v3 reference; shares no code with the client."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.dexcom.simulator import control, diary, faults, quirks, records
from evercgm.providers.dexcom.simulator.cloud import (
    SANDBOX_ACCOUNTS,
    Account,
    Cloud,
    Settings,
    cloud_of,
    load_traces,
)
from evercgm.providers.dexcom.simulator.control import BadQuery, any_date
from evercgm.providers.dexcom.simulator.oauth import answer_login, give_tokens, show_login
from evercgm.providers.dexcom.simulator.records import JsonObject
from evercgm.providers.dexcom.simulator.state import Client, Grant, State, region_of
from evercgm.providers.dexcom.simulator.troubles import INVALID_TOKEN, Handler, bearer_of, with_troubles
from evercgm.providers.dexcom.simulator.uploads import INSTANT
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.desk import Desk
from evercgm.simulator_kit.faults import FaultKind, Switchboard
from evercgm.simulator_kit.trace import Trace

PREFIX = "/dexcom"
# Dexcom v3, "egvs": at most 30 days between startDate and endDate.
LONGEST_WINDOW_DAYS = 30.0
# An older lastSyncTime gives wrong ranges (dexcom.md A4).
LAST_SYNC_REACH = timedelta(days=100)
QUERY_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
RECORD_TYPES = {"egvs": "egv", "events": "event", "calibrations": "calibration", "alerts": "alert"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataCall:
    """One call of a data endpoint with a token that opens it."""

    kind: str
    query: Mapping[str, str]
    cloud: Cloud
    grant: Grant
    account: Account
    trace: Trace | None

    @property
    def user_id(self) -> str:
        """As this client sees it."""
        return records.user_id_of(self.cloud.state, self.grant.client_id, self.account.username)

    def take(self, fault: FaultKind[T]) -> T | None:
        """The fault's value if it strikes this call; ask once."""
        return self.cloud.faults.take(fault, self.kind, self.account.username)


DataHandler = Callable[[DataCall], JsonObject]


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
    anchor: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The cloud below `/dexcom`; `trace` (a CSV) is replayed by the first account.

    `anchor`: where the recordings end at the first start, instead of now.
    Anchor, clients, codes, tokens and counts live in `data_dir`. Raises TraceError, OSError, sqlite3.Error.
    """
    # Before the data directory is made: a start that fails must not set the anchor.
    traces = load_traces(accounts, trace, clock())
    state = State(data_dir, anchor or clock())
    state.register(clients)
    by_name = {account.username: account for account in accounts}
    desk = Desk(Switchboard(faults.KINDS), VirtualClock(clock), state.ledger, by_name)
    desk.recall()
    cloud = Cloud(
        state=state,
        accounts=by_name,
        traces={name: replace(curve, anchor=state.anchor) for name, curve in traces.items()},
        settings=settings or Settings(),
        desk=desk,
    )

    @asynccontextmanager
    async def closing_the_state(_app: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    app = Starlette(routes=_routes(), lifespan=closing_the_state)
    app.state.cloud = cloud
    return app


def _routes() -> list[Route]:
    routes = control.routes(f"{PREFIX}/control")
    for version in ("v3", "v2"):
        login, token = f"/{version}/oauth2/login", f"/{version}/oauth2/token"
        routes.append(Route(PREFIX + login, with_troubles(login, show_login), methods=["GET"]))
        routes.append(Route(PREFIX + login, with_troubles(login, answer_login), methods=["POST"]))
        routes.append(Route(PREFIX + token, with_troubles(token, give_tokens), methods=["POST"]))
    handlers: dict[str, DataHandler] = {"dataRange": _data_range, "devices": _devices}
    for kind in (*handlers, *RECORD_TYPES):
        path = f"/v3/users/self/{kind}"
        routes.append(Route(PREFIX + path, with_troubles(path, _with_grant(kind, handlers.get(kind, _records)))))
    return routes


def _with_grant(kind: str, handler: DataHandler) -> Handler:
    """Only with a living access token of this region; a window that cannot be used is 400."""

    async def check_then_handle(request: Request) -> Response:
        cloud = cloud_of(request)
        token = bearer_of(request)
        grant = cloud.state.grant_of(token, cloud.clock()) if region_of(token) == cloud.region() else None
        account = cloud.accounts.get(grant.username) if grant else None
        if grant is None or account is None:
            return json_response(INVALID_TOKEN, 401)
        call = DataCall(kind, request.query_params, cloud, grant, account, cloud.traces.get(account.username))
        try:
            return json_response(handler(call))
        except BadQuery as error:
            return json_response({"error": str(error)}, 400)

    return check_then_handle


def _data_range(call: DataCall) -> JsonObject:
    since = _last_sync(call)
    found: dict[str, JsonObject | None] = {"calibrations": None, "egvs": None, "events": None}
    trace, uploads = call.trace, call.cloud.uploads(call.account.username)
    defect = call.take(faults.LAST_SYNC_DEFECT) and since is not None and since < uploads.now - LAST_SYNC_REACH
    if trace is not None and not defect and not call.take(faults.EMPTY):
        found = {
            "calibrations": diary.data_range("calibrations", trace, uploads, since),
            "egvs": records.egv_range(trace, uploads, since),
            "events": diary.data_range("events", trace, uploads, since),
        }
    return {
        "recordType": "dataRange",
        "recordVersion": records.RECORD_VERSION,
        "userId": call.user_id,
        **found,
    }


def _last_sync(call: DataCall) -> datetime | None:
    """New since then means uploaded since then."""
    text = call.query.get("lastSyncTime")
    if text is None:
        return None
    form = call.take(faults.LAST_SYNC_FORM)
    if form is not None and text.endswith("Z") != (form == "with_z"):
        raise BadQuery("lastSyncTime has the wrong form")
    return any_date(text, "lastSyncTime")


def _records(call: DataCall) -> JsonObject:
    """Readings, events, calibrations or alerts of a window."""
    start, end = _window(call)
    if call.take(faults.END_INCLUSIVE):
        end += INSTANT
    account, trace, state, client_id = call.account, call.trace, call.cloud.state, call.grant.client_id
    uploads = call.cloud.uploads(account.username)
    found: list[JsonObject] = []
    if trace is not None:
        if call.kind == "egvs":
            found = records.egvs(state, client_id, account, trace, uploads, (start, end))
        else:
            found = diary.found(call.kind, state, client_id, account, trace, uploads, (start, end))
    return _enveloped(call, found, uploads.now)


def _devices(call: DataCall) -> JsonObject:
    uploads = call.cloud.uploads(call.account.username)
    return _enveloped(call, records.devices(call.cloud.state, call.account, call.trace, uploads), uploads.now)


def _enveloped(call: DataCall, found: list[JsonObject], now: datetime) -> JsonObject:
    """The records with what faults make of them."""
    if call.take(faults.EMPTY):
        found = []
    if found and (hours := call.take(faults.FUTURE_TIME)):
        quirks.date_ahead(found[0], now + timedelta(hours=hours))
    texts = {"systemTime": call.take(faults.SYSTEM_TIME_TEXT), "displayTime": call.take(faults.DISPLAY_TIME_TEXT)}
    if chosen := {field: kind for field, kind in texts.items() if kind}:
        quirks.write_times(found, chosen)
    if which := call.take(faults.UNKNOWN_ENUMS):
        quirks.use_unknown_words(found, which)
    if order := call.take(faults.ORDER):
        found = quirks.ordered(found, order)
    return records.envelope(RECORD_TYPES.get(call.kind, "device"), call.user_id, found)


def _window(call: DataCall) -> tuple[datetime, datetime]:
    start, end = _query_date(call.query, "startDate"), _query_date(call.query, "endDate")
    days = call.take(faults.WINDOW_LIMIT_DAYS) or LONGEST_WINDOW_DAYS
    if end < start:
        raise BadQuery("endDate is before startDate")
    if end - start > timedelta(days=days):
        raise BadQuery(f"the window is longer than {days:g} days")
    return start, end


def _query_date(query: Mapping[str, str], name: str) -> datetime:
    """Dexcom v3: `YYYY-MM-DDThh:mm:ss` in UTC, no zone, no fraction."""
    text = query.get(name, "")
    if not QUERY_DATE.fullmatch(text):
        raise BadQuery(f"{name} must be YYYY-MM-DDThh:mm:ss")
    return any_date(text, name)
