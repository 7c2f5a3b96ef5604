"""The control path of the simulated Dexcom cloud: faults, clock, settings, statistics, the truth; not Dexcom's."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.providers.dexcom.simulator import records
from evercgm.providers.dexcom.simulator.cloud import Settings, cloud_of
from evercgm.providers.dexcom.simulator.uploads import INSTANT
from evercgm.simulator_kit import control
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.arrows import wire_value


class BadQuery(Exception):
    """The window or a date in the query cannot be used; the text says why."""


def routes(prefix: str) -> list[Route]:
    """All control routes below this path."""
    return [
        Route(f"{prefix}/stats", _stats),
        Route(f"{prefix}/settings", _change_settings, methods=["POST"]),
        *control.routes(prefix, cloud_of),
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
                "value": wire_value(uploads.value_of(at))[0],
            }
            for at in (trace.records_between(start, end) if trace else ())
        ]
    )


def _truth_window(query: Mapping[str, str], now: Callable[[], datetime]) -> tuple[datetime, datetime]:
    start = any_date(query.get("start", "0001-01-01"), "start")
    end = any_date(query["end"], "end") if "end" in query else now()
    return start, min(end, now())
