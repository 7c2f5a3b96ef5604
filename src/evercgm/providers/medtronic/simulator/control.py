"""The control path of the simulated CareLink: faults, clock, statistics, the truth; not Medtronic's."""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.medtronic.simulator.cloud import Cloud, cloud_of, json_response
from evercgm.providers.medtronic.simulator.message import DAY, INSTANT
from evercgm.simulator_kit.faults import FaultError

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


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
        Route(f"{prefix}/faults", _faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{prefix}/clock", _clock, methods=["GET", "POST"]),
        Route(f"{prefix}/patients/{{username}}/truth", _truth),
    ]


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
    """One row a physical reading of the last 24 hours, oldest first, whatever was uploaded."""
    cloud = cloud_of(request)
    trace = cloud.traces.get(request.path_params["username"])
    now = cloud.clock()
    found = trace.records_between(now - DAY, now + INSTANT) if trace else ()
    return json_response([{"measured_at": at.measured_at, "glucose_mg_dl": at.glucose_mg_dl} for at in found])
