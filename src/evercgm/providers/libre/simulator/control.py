"""The control path of the simulated LibreLinkUp cloud: faults, clock, statistics, the truth; not the vendor's."""

from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.libre.simulator.cloud import cloud_of
from evercgm.providers.libre.simulator.curve import INSTANT
from evercgm.simulator_kit import control
from evercgm.simulator_kit.answers import json_response


def routes(prefix: str) -> list[Route]:
    """All control routes below this path."""
    return [
        Route(f"{prefix}/stats", _stats),
        *control.routes(prefix, cloud_of),
        Route(f"{prefix}/patients/{{patient}}/truth", _truth),
    ]


async def _stats(request: Request) -> Response:
    """Calls by place since the first start; those of this control path are not counted."""
    return json_response({"calls": cloud_of(request).state.ledger.counts("calls")})


async def _truth(request: Request) -> Response:
    """One row a value of history up to now, oldest first, whatever was uploaded; ``start`` optional (12 hours ago)."""
    cloud = cloud_of(request)
    patients = {one.patient_id: one for account in cloud.accounts.values() for one in account.patients}
    patient = patients.get(request.path_params["patient"])
    if patient is None:
        return json_response({"error": "no such person"}, 404)
    uploads, trace = cloud.uploads(None), cloud.traces.get(patient.patient_id)
    try:
        given = request.query_params.get("start")
        start = datetime.fromisoformat(given).astimezone(UTC) if given else uploads.now - timedelta(hours=12)
    except ValueError:
        return json_response({"error": "start is not a date"}, 400)
    points = trace.records_between(start, uploads.now + INSTANT) if trace else ()
    return json_response(
        [
            {"at": point.measured_at, "value": point.glucose_mg_dl}
            for point in points
            if point.ordinal % patient.every == 0 and uploads.is_measured(point.measured_at)
        ]
    )
