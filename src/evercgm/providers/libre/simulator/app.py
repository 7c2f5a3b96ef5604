"""LibreLinkUp's cloud as an ASGI app after recordings of it; shares no code with the client."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.libre.simulator import control, curve, faults, login, records
from evercgm.providers.libre.simulator.cloud import Cloud, cloud_of, load_traces
from evercgm.providers.libre.simulator.curve import Uploads
from evercgm.providers.libre.simulator.people import DEMO_ACCOUNTS, SHARDS, Account, Patient
from evercgm.providers.libre.simulator.records import JsonObject, Style
from evercgm.providers.libre.simulator.state import State, Ticket
from evercgm.providers.libre.simulator.troubles import Handler, bearer_of, with_troubles
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.desk import Desk
from evercgm.simulator_kit.faults import FaultKind, Switchboard
from evercgm.simulator_kit.trace import Trace

PREFIX = "/libre"
FLOOR = "4.16.0"
REFUSALS: dict[str, tuple[int, JsonObject]] = {
    "jwt": (401, {"message": "invalid or expired jwt"}),
    "session": (401, {"status": 401, "error": {"message": "invalid auth session"}}),
    "user": (403, {"message": "MissingCachedUser"}),
    "header": (400, {"message": "RequiredHeaderMissing"}),
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataCall:
    """A data call that may be answered."""

    place: str
    cloud: Cloud
    account: Account
    ticket: Ticket
    uploads: Uploads

    def take(self, fault: FaultKind[T]) -> T | None:
        """The fault's value if it strikes this call; ask once."""
        return self.cloud.faults.take(fault, self.place, self.account.username)


Answer = Callable[[DataCall, Patient], object]


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def create_app(
    data_dir: Path,
    *,
    accounts: Sequence[Account] = DEMO_ACCOUNTS,
    trace: Path | None = None,
    anchor: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The cloud below ``/libre``, its regional hosts below ``/libre/<shard>``; ``trace`` (a CSV) is the first person's.

    ``anchor``: where the recordings end at the first start, instead of now. Anchor, tokens and counts live in
    ``data_dir``. Raises TraceError, OSError, sqlite3.Error.
    """
    # Before the data directory is made: a start that fails must not set the anchor.
    traces = load_traces(accounts, trace, clock())
    state = State(data_dir, anchor or clock())
    by_name = {account.username: account for account in accounts}
    desk = Desk(Switchboard(faults.KINDS), VirtualClock(clock), state.ledger, by_name)
    desk.recall()
    cloud = Cloud(
        state=state,
        accounts=by_name,
        traces={id_: replace(one, anchor=state.ledger.anchor) for id_, one in traces.items()},
        desk=desk,
    )

    @asynccontextmanager
    async def closing_the_state(_app: Starlette) -> AsyncIterator[None]:
        yield
        state.ledger.close()

    app = Starlette(routes=_routes(), lifespan=closing_the_state)
    app.state.cloud = cloud
    return app


def _routes() -> list[Route]:
    routes = control.routes(f"{PREFIX}/control")
    for shard in ("", *SHARDS):
        base = f"{PREFIX}/{shard}".rstrip("/")
        routes += [
            _route(f"{base}/llu/auth/login", "login", login.log_in, shard, "POST"),
            _route(f"{base}/auth/continue/{{step}}", "continue", login.go_on, shard, "POST"),
            _route(f"{base}/llu/config/country", "country", login.show_country, shard),
            _route(f"{base}/llu/connections", "connections", _with_ticket("connections", None), shard),
            _route(f"{base}/llu/connections/{{patient}}/graph", "graph", _with_ticket("graph", _graph), shard),
            _route(f"{base}/llu/connections/{{patient}}/logbook", "logbook", _with_ticket("logbook", _logbook), shard),
        ]
    return routes


def _route(path: str, place: str, handler: Handler, shard: str, method: str = "GET") -> Route:
    async def on_this_host(request: Request) -> Response:
        request.path_params["shard"] = shard
        return await handler(request)

    return Route(path, with_troubles(place, on_this_host), methods=[method])


def _with_ticket(place: str, answer: Answer | None) -> Handler:
    """Only with the headers that the vendor wants and a living token of this host; without an answer: the list."""

    async def check_then_handle(request: Request) -> Response:
        cloud = cloud_of(request)
        ticket = cloud.state.ticket_of(bearer_of(request), cloud.clock())
        refused = _refused(cloud, request, place, ticket)
        if refused is not None or ticket is None:
            return refused or _refusal("jwt")
        account = cloud.accounts[ticket.username]
        call = DataCall(place, cloud, account, ticket, cloud.uploads(account.username))
        word = call.take(faults.UNFOLLOWED)
        if answer is None:
            followed = [] if word else account.patients
            return _answered(call, [_connection(call, patient, _style(call, patient)) for patient in followed])
        patients = {patient.patient_id: patient for patient in account.patients}
        patient = patients.get(request.path_params["patient"])
        if word or patient is None:
            return json_response({"status": 4, "error": {"message": word or "couldNotLoadPatient"}})
        return _answered(call, answer(call, patient))

    return check_then_handle


def _refused(cloud: Cloud, request: Request, place: str, ticket: Ticket | None) -> Response | None:
    """Why this call is not answered, in the order of the checks; None where it is."""
    username = ticket.username if ticket else None
    given = request.headers
    if not given.get("product"):
        return _refusal("header")
    floor = cloud.faults.take(faults.MINIMUM_VERSION, place, username) or FLOOR
    if _parts(given.get("version", "")) < _parts(floor):
        return json_response({"data": {"minimumVersion": floor}, "status": 920}, 403)
    wording = cloud.faults.take(faults.TOKEN_REFUSED, place, username)
    if wording or ticket is None or ticket.steps or ticket.username not in cloud.accounts:
        return _refusal(wording or "jwt")
    account = cloud.accounts[ticket.username]
    if cloud.faults.take(faults.REQUIRE_ACCOUNT_ID, place, username) != "no":
        sent = given.get("account-id")
        if sent != hashlib.sha256(account.user_id.encode()).hexdigest():
            return _refusal("user" if sent else "header")
    home, shard = cloud.home(account), request.path_params["shard"]
    elsewhere = cloud.faults.take(faults.DATA_REDIRECT, place, username) or (home if shard != home else None)
    if elsewhere is not None:
        return json_response({"status": 0, "data": {"redirect": True, "region": elsewhere}})
    return None if ticket.shard == home else _refusal("jwt")


def _refusal(kind: str) -> Response:
    status, body = REFUSALS[kind]
    return json_response(body, status)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _answered(call: DataCall, data: object) -> Response:
    """The data with a ticket; without the fields that a fault takes away."""
    now, ticket = call.uploads.now, call.ticket
    if call.take(faults.TICKET) == "rotates":
        # The token of this call lives on, on purpose: nothing recorded says that a newer one ends it, and our client
        # stays with the one of its sign-in.
        life = login.TOKEN_LIFE
        ticket = call.cloud.state.new_ticket(ticket.username, call.account.user_id, ticket.shard, now, life)
    answer: JsonObject = {"status": 0, "data": data, "ticket": records.ticket_of(ticket, now)}
    if names := call.take(faults.ABSENT):
        return json_response(_without(answer, frozenset(names)))
    return json_response(answer)


def _without(value: object, names: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {name: _without(part, names) for name, part in value.items() if name not in names}
    return [_without(part, names) for part in value] if isinstance(value, list) else value


def _style(call: DataCall, patient: Patient) -> Style:
    return call.cloud.style(patient, call.place, call.account.username)


def _trace(call: DataCall, patient: Patient) -> Trace | None:
    return call.cloud.traces.get(patient.patient_id)


def _connection(call: DataCall, patient: Patient, style: Style, how: str | None = None) -> JsonObject:
    """The person with the present value; ``how``: a limit of range that was asked for already."""
    trace = _trace(call, patient)
    newest = curve.current(trace, call.uploads) if trace else None
    current = records.with_arrow(style, newest) if newest else None
    how = how or (call.take(faults.OUT_OF_RANGE) if call.place == "connections" else None)
    if current is not None and how:
        current = records.put_out_of_range(style, current, how)
    reinvited = call.take(faults.REINVITED)
    made = records.connection(patient, style, call.uploads, current, reinvited=reinvited is not None)
    nulls = call.take(faults.NULLS) if call.place == "connections" else None
    return made | dict.fromkeys([name for name in nulls or () if name in made])


def _graph(call: DataCall, patient: Patient) -> JsonObject:
    """The history of 12 hours, oldest first, and the present value."""
    trace, uploads, style = _trace(call, patient), call.uploads, _style(call, patient)
    how, nulls = call.take(faults.OUT_OF_RANGE), call.take(faults.NULLS) or []
    points = curve.history(trace, uploads, patient.every) if trace else []
    history = [records.measurement(style, point.measured_at, point.glucose_mg_dl, records.HISTORY) for point in points]
    if history and how:
        history[-1] = records.put_out_of_range(style, history[-1], how)
    if history and (hours := call.take(faults.FUTURE_TIME)):
        at = uploads.now + timedelta(hours=hours)
        history[-1] = records.measurement(style, at, points[-1].glucose_mg_dl, records.HISTORY)
    connection = _connection(call, patient, style, how)
    connection |= dict.fromkeys([name for name in nulls if name in connection])
    data: JsonObject = {
        "connection": connection,
        "activeSensors": records.active_sensors(patient, uploads) if history else [] if trace else None,
        "graphData": history if trace else None,
    }
    return data | dict.fromkeys([name for name in nulls if name in data])


def _logbook(call: DataCall, patient: Patient) -> list[JsonObject]:
    """Scans, newest first; alarms only by a fault: other clients cannot read them."""
    trace, style = _trace(call, patient), _style(call, patient)
    found = list(curve.scans(trace, call.uploads)) if trace else []
    entries = [records.with_arrow(style, value) for value in found]
    has_alarms = call.take(faults.LOGBOOK_ALARMS)
    if found and has_alarms:
        entries += records.alarms(style, found[-1])
    return entries
