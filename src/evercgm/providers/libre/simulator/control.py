"""The control path of the simulated LibreLinkUp cloud: faults, clock, statistics, the truth, LibreView's export."""

from datetime import UTC, datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.libre.simulator import curve, export
from evercgm.providers.libre.simulator.cloud import Cloud, cloud_of
from evercgm.providers.libre.simulator.curve import INSTANT
from evercgm.providers.libre.simulator.people import Patient
from evercgm.simulator_kit import control
from evercgm.simulator_kit.answers import json_response

NOBODY = {"error": "no such person"}
EXPORTED = timedelta(days=90)


def routes(prefix: str) -> list[Route]:
    """All control routes below this path."""
    return [
        Route(f"{prefix}/stats", _stats),
        *control.routes(prefix, cloud_of),
        Route(f"{prefix}/patients/{{patient}}/truth", _truth),
        Route(f"{prefix}/patients/{{patient}}/export.csv", _export),
    ]


async def _stats(request: Request) -> Response:
    """Calls by place since the first start; those of this control path are not counted."""
    return json_response({"calls": cloud_of(request).state.ledger.counts("calls")})


async def _truth(request: Request) -> Response:
    """One row a value of history up to now, oldest first, whatever was uploaded; ``start`` optional (12 hours ago)."""
    cloud = cloud_of(request)
    patient = _patient(cloud, request)
    if patient is None:
        return json_response(NOBODY, 404)
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


async def _export(request: Request) -> Response:
    """What the person would download by hand at LibreView; the query says in which form (``export.Form``)."""
    cloud = cloud_of(request)
    patient = _patient(cloud, request)
    if patient is None:
        return json_response(NOBODY, 404)
    try:
        form = msgspec.convert(dict(request.query_params), export.Form)
    except msgspec.ValidationError as error:
        return json_response({"error": str(error)}, 400)
    uploads, trace = cloud.uploads(None), cloud.traces.get(patient.patient_id)
    history = curve.history(trace, uploads, patient.every, EXPORTED) if trace else []
    scans = list(curve.scans(trace, uploads)) if trace else []
    body = export.write(form, patient, cloud.style(patient, "export", ""), history, scans, uploads.now)
    return Response(body, media_type="text/csv")


def _patient(cloud: Cloud, request: Request) -> Patient | None:
    patients = {one.patient_id: one for account in cloud.accounts.values() for one in account.patients}
    return patients.get(request.path_params["patient"])
