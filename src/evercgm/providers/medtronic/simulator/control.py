"""The control path of the simulated CareLink: faults, clock, statistics, the truth; not Medtronic's."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.medtronic.simulator.cloud import cloud_of
from evercgm.providers.medtronic.simulator.message import DAY, INSTANT
from evercgm.simulator_kit import control
from evercgm.simulator_kit.answers import json_response


def routes(prefix: str) -> list[Route]:
    """All control routes below this path."""
    return [
        Route(f"{prefix}/stats", _stats),
        *control.routes(prefix, cloud_of),
        Route(f"{prefix}/patients/{{username}}/truth", _truth),
    ]


async def _stats(request: Request) -> Response:
    """What clients did since the first start; calls of this control path are not counted."""
    ledger = cloud_of(request).state.ledger
    return json_response(
        {
            "refresh_reuse": ledger.counts("refresh_reuse").get("", 0),
            "token_calls": ledger.counts("token_calls"),
            "calls": ledger.counts("calls"),
        }
    )


async def _truth(request: Request) -> Response:
    """One row a physical reading of the last 24 hours, oldest first, whatever was uploaded."""
    cloud = cloud_of(request)
    trace = cloud.traces.get(request.path_params["username"])
    now = cloud.clock()
    found = trace.records_between(now - DAY, now + INSTANT) if trace else ()
    return json_response([{"measured_at": at.measured_at, "glucose_mg_dl": at.glucose_mg_dl} for at in found])
