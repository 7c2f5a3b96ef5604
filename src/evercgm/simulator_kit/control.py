"""The control path that every simulated cloud has: faults and clock; not the vendor's."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.faults import Fault, FaultError, Switchboard
from evercgm.simulator_kit.spans import Instant


class Steered(Protocol):
    """What is steered: a `Desk`, or a cloud that adds to it."""

    @property
    def faults(self) -> Switchboard: ...
    @property
    def clock(self) -> VirtualClock: ...
    def set_fault(
        self,
        name: str,
        value: object,
        *,
        count: int | None = None,
        probability: float = 1.0,
        path: str | None = None,
        username: str | None = None,
    ) -> Fault: ...
    def clear_faults(self, name: str | None = None) -> None: ...
    def move_clock(self, *, by: timedelta | None = None, now: datetime | None = None) -> datetime: ...


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


def routes(prefix: str, steered_by: Callable[[Request], Steered]) -> list[Route]:
    """`/faults` and `/clock` below this path."""

    async def faults(request: Request) -> Response:
        """GET: what is on, with hits. POST: turn on; `{}` turns all off. DELETE: all off, or `?name=`."""
        steered = steered_by(request)
        try:
            if request.method == "DELETE":
                steered.clear_faults(request.query_params.get("name"))
            elif request.method == "POST":
                return _ordered(steered, await request.body())
        except (FaultError, msgspec.MsgspecError) as error:
            return json_response({"error": str(error)}, 400)
        return json_response({"faults": [fault.told() for fault in steered.faults.active]})

    async def clock(request: Request) -> Response:
        """GET: the cloud's time. POST: `{"advance_s": n}` or `{"now": "…Z"}`."""
        steered = steered_by(request)
        if request.method == "POST":
            try:
                order = msgspec.json.decode(await request.body(), type=ClockOrder)
                by = None if order.advance_s is None else timedelta(seconds=order.advance_s)
                steered.move_clock(by=by, now=order.now)
            except (msgspec.MsgspecError, OverflowError) as error:
                return json_response({"error": str(error)}, 400)
        return json_response({"now": steered.clock(), "shift_s": steered.clock.shift.total_seconds()})

    return [
        Route(f"{prefix}/faults", faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{prefix}/clock", clock, methods=["GET", "POST"]),
    ]


def _ordered(steered: Steered, body: bytes) -> Response:
    if msgspec.json.decode(body) == {}:
        steered.clear_faults()
        return json_response({"faults": []})
    order = msgspec.json.decode(body, type=FaultOrder)
    limits = msgspec.structs.asdict(order)
    values = limits.pop("set")
    done = [steered.set_fault(name, value, **limits) for name, value in values.items()]
    return json_response({"faults": [fault.told() for fault in done]})
