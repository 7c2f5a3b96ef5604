"""Dexcom Share as an ASGI app: its three calls, after what clients of others send and get; shares no code with ours."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.dexcom_share.simulator import faults, records
from evercgm.providers.dexcom_share.simulator.cloud import (
    ACCOUNTS,
    APPLICATION_IDS,
    HOME_REGION,
    SCHEMA,
    Account,
    Cloud,
    Locked,
    cloud_of,
    is_uuid,
    load_traces,
)
from evercgm.providers.dexcom_share.simulator.records import JsonObject
from evercgm.simulator_kit import control
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.arrows import wire_value
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.desk import Desk
from evercgm.simulator_kit.faults import Switchboard
from evercgm.simulator_kit.ledger import Ledger
from evercgm.simulator_kit.spans import settled
from evercgm.simulator_kit.troubles import through

PREFIX = "/dexcom_share"
SERVICES = f"{PREFIX}/ShareWebServices/Services"
MOST_MINUTES, MOST_VALUES = 1440, 288
ZEROS = "00000000-0000-0000-0000-000000000000"
SUB_CODE = '<OnlineException DateThrown="{at}" ErrorCode="{code}" Message="{message}" />'


class Fault(Exception):
    """A FaultException as Share answers it, with status 500 unless told otherwise."""

    def __init__(self, code: str, message: str, status: int = 500) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def create_app(
    data_dir: Path,
    *,
    accounts: Sequence[Account] = ACCOUNTS,
    trace: Path | None = None,
    anchor: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The cloud below `/dexcom_share`; `trace` (a CSV) is replayed by the first account.

    `anchor`: where the recordings end at the first start, instead of now. Anchor, sessions and wrong passwords live in
    `data_dir`. Raises TraceError, OSError, sqlite3.Error.
    """
    # Before the data directory is made: a start that fails must not set the anchor.
    traces = load_traces(accounts, trace, clock())
    ledger = Ledger(data_dir / "dexcom-share-simulator.sqlite3", anchor or clock(), SCHEMA)
    by_name = {account.username: account for account in accounts}
    desk = Desk(Switchboard(faults.KINDS), VirtualClock(clock), ledger, by_name)
    desk.recall()
    cloud = Cloud(
        ledger=ledger,
        accounts=by_name,
        traces={name: replace(curve, anchor=ledger.anchor) for name, curve in traces.items()},
        desk=desk,
    )

    @asynccontextmanager
    async def closing_the_ledger(_app: Starlette) -> AsyncIterator[None]:
        yield
        ledger.close()

    app = Starlette(routes=_routes(), lifespan=closing_the_ledger)
    app.state.cloud = cloud
    return app


def _routes() -> list[Route]:
    return [
        *control.routes(f"{PREFIX}/control", cloud_of),
        Route(f"{PREFIX}/control/stats", _stats),
        Route(f"{PREFIX}/control/accounts/{{username}}/truth", _truth),
        _post(f"General/{faults.AUTHENTICATE}", _authenticate),
        _post(f"General/{faults.LOG_IN}", _log_in),
        _post(f"Publisher/{faults.READ}", _read),
    ]


def _post(path: str, handler: "Callable[[Cloud, Mapping[str, str], Mapping[str, str]], Response]") -> Route:
    """A call of Share, behind the counter and the faults."""
    place = path.rpartition("/")[2]

    async def handle(request: Request) -> Response:
        cloud = cloud_of(request)
        cloud.ledger.count("calls", place)
        # Names of parameters are matched without case: clients write sessionId and sessionID.
        query = {name.lower(): text for name, text in request.query_params.items()}
        body = _body(await request.body())

        async def answer() -> Response:
            try:
                if status := cloud.desk.faults.take(faults.UNKNOWN_FAULT, place, _username(cloud, body, query)):
                    raise Fault("SomethingNew", "Something new.", status)
                return handler(cloud, body, query)
            except Fault as fault:
                return _told(fault, cloud.now())

        return await through(cloud.desk.faults, faults.TROUBLES, place, _username(cloud, body, query), answer)

    return Route(f"{SERVICES}/{path}", handle, methods=["POST"])


def _body(raw: bytes) -> dict[str, str]:
    """The texts of a JSON object; nothing of what is none: some clients send an empty body."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.MsgspecError:
        return {}
    return {name: text for name, text in fields.items() if isinstance(text, str)}


def _username(cloud: Cloud, body: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """Whose call it is."""
    session = cloud.owner_of(query.get("sessionid", ""))
    account = (
        session[0] if session else cloud.named(body.get("accountName", "")) or cloud.with_id(body.get("accountId", ""))
    )
    return account.username if account else None


def _told(fault: Fault, at: datetime) -> Response:
    sub_code = SUB_CODE.format(at=at.isoformat(), code=fault.code, message=fault.message)
    body = {"Code": fault.code, "Message": fault.message, "SubCode": sub_code, "TypeName": "FaultException"}
    return json_response(body, fault.status)


def _authenticate(cloud: Cloud, body: Mapping[str, str], _query: Mapping[str, str]) -> Response:
    name = body.get("accountName", "")
    if not name:
        raise Fault("InvalidArgument", "accountName must not be empty", 400)
    return _entered(cloud, faults.AUTHENTICATE, cloud.named(name), body, lambda account: account.id)


def _log_in(cloud: Cloud, body: Mapping[str, str], _query: Mapping[str, str]) -> Response:
    account_id = body.get("accountId", "").lower()
    if not is_uuid(account_id):
        raise Fault("InvalidArgument", "Invalid UUID string", 400)
    return _entered(cloud, faults.LOG_IN, cloud.with_id(account_id), body, cloud.new_session)


def _entered(
    cloud: Cloud, place: str, account: Account | None, body: Mapping[str, str], give: Callable[[Account], str]
) -> Response:
    """What `give` gives, for the right password only."""
    username = account.username if account else None
    take = cloud.desk.faults.take
    if not body.get("password"):
        raise Fault("InvalidArgument", "password must not be empty", 400)
    if body.get("applicationId") != APPLICATION_IDS[cloud.value_of(faults.REGION, HOME_REGION)]:
        raise Fault("InvalidArgument", "applicationId is not known", 400)
    if take(faults.SIGN_IN_OUTAGE, place, username):
        raise Fault("SSO_InternalError", "An internal error has occurred")
    try:
        let_in = cloud.lets_in(account, body["password"])
    except Locked:
        raise Fault("SSO_AuthenticateMaxAttemptsExceeded", "Maximum attempts exceeded") from None
    zeros = take(faults.ZERO_UUID, place, username)
    if zeros == "always" or (zeros and not let_in):
        return json_response(ZEROS)
    if not let_in or account is None:
        raise _refusal(cloud, place, account)
    return json_response(give(account))


def _refusal(cloud: Cloud, place: str, account: Account | None) -> Fault:
    """One code for wrong name, password and region alike; an id that is not known has its own."""
    by_id = place == faults.LOG_IN
    code = cloud.desk.faults.take(faults.REFUSAL_CODE, place, account.username if account else None)
    if code is None:
        code = "SSO_InternalError" if by_id and account is None else "AccountPasswordInvalid"
    if code == "SSO_InternalError":
        return Fault(code, f"Cannot Authenticate by {'AccountId' if by_id else 'AccountName'}")
    return Fault(code, "Publisher account password failed")


def _read(cloud: Cloud, _body: Mapping[str, str], query: Mapping[str, str]) -> Response:
    session = query.get("sessionid", "").lower()
    if session == ZEROS:
        # Recorded: no JSON at all, and status 200.
        return Response("", media_type="text/plain")
    if not is_uuid(session):
        raise Fault("InvalidArgument", "Invalid UUID string", 400)
    account = _of_session(cloud, session)
    if cloud.value_of(faults.NO_RECEIVER, False, account.username):
        raise Fault("MonitoredReceiverNotAssigned", "Publisher account does not have a valid monitored receiver.")
    minutes = _number(cloud, query, "minutes", MOST_MINUTES, account)
    most = _number(cloud, query, "maxcount", MOST_VALUES, account)
    found = _found(cloud, account, timedelta(minutes=minutes))[:most]
    return json_response(_as_written(cloud, account, found))


def _of_session(cloud: Cloud, session: str) -> Account:
    """Whose session it is, if it lives."""
    owner = cloud.owner_of(session)
    if owner is None:
        raise Fault("SessionIdNotFound", f"Failed to find session object. [SessionId = {session}]")
    account, alive = owner
    ended = cloud.desk.faults.take(faults.SESSION_ENDED, faults.READ, account.username)
    if ended:
        cloud.end_session(session)
    if ended == "not_found":
        raise Fault("SessionIdNotFound", f"Failed to find session object. [SessionId = {session}]")
    if ended or not alive:
        raise Fault("SessionNotValid", "Error in the application.")
    return account


def _number(cloud: Cloud, query: Mapping[str, str], name: str, most: int, account: Account) -> int:
    text = query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Fault("InvalidArgument", f"{name} must be a number", 400)
    number = int(text)
    if number > most and cloud.desk.faults.take(faults.LIMITS, faults.READ, account.username) == "refuse":
        raise Fault("InvalidArgument", f"{name} must be at most {most}", 400)
    return min(number, most)


def _found(cloud: Cloud, account: Account, back: timedelta) -> list[JsonObject]:
    trace, now = cloud.traces.get(account.username), cloud.now()
    if trace is None or not back or cloud.desk.faults.take(faults.EMPTY, faults.READ, account.username):
        return []
    late = cloud.desk.faults.take(faults.LATE_BATCH, username=account.username)
    shift = timedelta(seconds=cloud.value_of(faults.ST_SHIFT_S, 0.0, account.username))
    return records.values(account, trace, now, now - back, late=settled(late) if late else None, shift=shift)


def _as_written(cloud: Cloud, account: Account, found: list[JsonObject]) -> list[JsonObject]:
    """The records with what faults make of them."""
    take, username = cloud.desk.faults.take, account.username
    if found and (hours := take(faults.FUTURE_TIME, faults.READ, username)):
        records.date_ahead(found[0], cloud.now() + timedelta(hours=hours), account)
    if found and (how := take(faults.ODD_RECORD, faults.READ, username)):
        records.spoil(found[0], how)
    trend_text = take(faults.TREND_TEXT, faults.READ, username)
    time_text = take(faults.TIME_TEXT, faults.READ, username)
    legacy = take(faults.FORM, faults.READ, username)
    for record in found:
        if legacy:
            records.make_legacy(record, account)
            continue
        if trend_text:
            records.write_trend(record, trend_text)
        if time_text:
            records.write_times(record, time_text, account)
    return found


async def _stats(request: Request) -> Response:
    """Calls since the first start; those of this control path are not counted."""
    return json_response({"calls": cloud_of(request).ledger.counts("calls")})


async def _truth(request: Request) -> Response:
    """One row a physical reading of the last 14 days up to now, oldest first, whatever was uploaded."""
    cloud = cloud_of(request)
    username = request.path_params["username"]
    if username not in cloud.accounts:
        return json_response({"error": "no such account"}, 404)
    trace, now = cloud.traces.get(username), cloud.now()
    return json_response(
        [
            {
                "systemTime": record.measured_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "value": wire_value(record.glucose_mg_dl)[0],
            }
            for record in (trace.records_between(now - timedelta(days=14), now + records.INSTANT) if trace else ())
        ]
    )
