"""The control path of the simulated Dexcom cloud: faults, clock, settings, statistics, the truth; not Dexcom's."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.dexcom.simulator import records
from evercgm.providers.dexcom.simulator.cloud import Cloud, Settings, cloud_of, json_response
from evercgm.providers.dexcom.simulator.faults import Instant
from evercgm.providers.dexcom.simulator.uploads import INSTANT
from evercgm.simulator_kit.faults import FaultError


class BadQuery(Exception):
    """The window or a date in the query cannot be used; the text says why."""


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`set`: values by name (null turns off); the rest holds for each of them."""

    set: dict[str, object]
    count: int | None = None
    probability: float = 1.0
    path: str | None = None
    username: str | None = None


class ClockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Move by seconds, or to an instant (RFC 3339 with zone)."""

    advance_s: Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)] | None = None
    now: Instant | None = None


def routes(prefix: str) -> list[Route]:
    """All control routes below this path."""
    return [
        Route(f"{prefix}/stats", _stats),
        Route(f"{prefix}/settings", _change_settings, methods=["POST"]),
        Route(f"{prefix}/faults", _faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{prefix}/clock", _clock, methods=["GET", "POST"]),
        Route(f"{prefix}/accounts/{{username}}/truth", _truth),
    ]


def any_date(text: str, name: str) -> datetime:
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


async def _faults(request: Request) -> Response:
    """GET: what is on, with hits. POST: turn on; `{}` turns all off. DELETE: all off, or `?name=`."""
    cloud = cloud_of(request)
    try:
        if request.method == "DELETE":
            cloud.clear_faults(request.query_params.get("name"))
        elif request.method == "POST":
            return _ordered(cloud, await request.body())
    except (FaultError, msgspec.MsgspecError) as error:
        return json_response({"error": str(error)}, 400)
    return json_response({"faults": [fault.told() for fault in cloud.faults.active]})


def _ordered(cloud: Cloud, body: bytes) -> Response:
    if msgspec.json.decode(body) == {}:
        cloud.clear_faults()
        return json_response({"faults": []})
    order = msgspec.json.decode(body, type=FaultOrder)
    limits = msgspec.structs.asdict(order)
    values = limits.pop("set")
    done = [cloud.set_fault(name, value, **limits) for name, value in values.items()]
    return json_response({"faults": [fault.told() for fault in done]})


async def _clock(request: Request) -> Response:
    """GET: the cloud's time. POST: `{"advance_s": n}` or `{"now": "…Z"}`."""
    cloud = cloud_of(request)
    if request.method == "POST":
        try:
            order = msgspec.json.decode(await request.body(), type=ClockOrder)
            by = None if order.advance_s is None else timedelta(seconds=order.advance_s)
            cloud.move_clock(by=by, now=order.now)
        except (msgspec.MsgspecError, OverflowError) as error:
            return json_response({"error": str(error)}, 400)
    return json_response({"now": cloud.clock(), "shift_s": cloud.clock.shift.total_seconds()})


async def _truth(request: Request) -> Response:
    """One row a physical reading up to now, oldest first, with its latest value, whatever was uploaded;
    `start`, `end` optional."""
    cloud = cloud_of(request)
    username = request.path_params["username"]
    if username not in cloud.accounts:
        return json_response({"error": "no such account"}, 404)
    trace = cloud.traces.get(username)
    uploads = cloud.uploads(username)
    try:
        start, end = _truth_window(request.query_params, lambda: uploads.now + INSTANT)
    except BadQuery as error:
        return json_response({"error": str(error)}, 400)
    return json_response(
        [
            {
                **records.moment(at.measured_at, uploads.offset_at(at.measured_at)),
                "value": records.wire_value(uploads.value_of(at))[0],
            }
            for at in (trace.records_between(start, end) if trace else ())
        ]
    )


def _truth_window(query: Mapping[str, str], now: Callable[[], datetime]) -> tuple[datetime, datetime]:
    start = any_date(query.get("start", "0001-01-01"), "start")
    end = any_date(query["end"], "end") if "end" in query else now()
    return start, min(end, now())
