"""What happens to a call beside its handler: refusals, pages, slowness and cut answers of the simulated Dexcom."""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.dexcom.simulator import faults
from evercgm.providers.dexcom.simulator.cloud import Cloud, cloud_of
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.troubles import through, too_many

Handler = Callable[[Request], Awaitable[Response]]
HOUR = timedelta(hours=1)
INVALID_TOKEN = {
    "fault": {
        "faultstring": "Invalid access token",
        "detail": {"errorcode": "oauth.v2.InvalidAccessToken"},
    }
}


def with_troubles(path: str, handler: Handler) -> Handler:
    """The handler behind the counter and the faults; `path` as the statistics name it."""
    place = path.rpartition("/")[2]

    async def handle(request: Request) -> Response:
        cloud = cloud_of(request)
        cloud.state.ledger.count("calls", path)
        form = await form_of(request) if place == "token" else {}
        username = _username(cloud, request, form or {}) if cloud.faults.has_username_scope() else None
        application = _application(cloud, request, form or {})

        async def answer() -> Response:
            return _refusal(cloud, place, username, application) or await handler(request)

        return await through(cloud.faults, faults.TROUBLES, place, username, answer)

    return handle


async def form_of(request: Request) -> dict[str, str] | None:
    """The urlencoded body; None if it is something else or names a field twice."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        return None
    values = parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True)
    if any(len(found) > 1 for found in values.values()):
        return None
    return {name: found[0] for name, found in values.items()}


def bearer_of(request: Request) -> str:
    """The access token of a data call; empty if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _username(cloud: Cloud, request: Request, form: Mapping[str, str]) -> str | None:
    token = bearer_of(request) or form.get("refresh_token") or form.get("code") or ""
    return cloud.state.owner_of(token) or request.query_params.get("username")


def _application(cloud: Cloud, request: Request, form: Mapping[str, str]) -> str:
    grant = cloud.state.grant_of(bearer_of(request), cloud.clock())
    return grant.client_id if grant else form.get("client_id", "")


def _refusal(cloud: Cloud, place: str, username: str | None, application: str) -> Response | None:
    """The answer that a fault gives instead of the handler; None where none does."""
    take = cloud.faults.take
    if limit := take(faults.CALLS_PER_HOUR, place, username):
        recent = cloud.recent_calls.setdefault(application, deque())
        wait_s = _wait_s(recent, limit.limit, cloud.clock())
        if wait_s is not None:
            return too_many(str(wait_s) if limit.retry_after else "")
    if body := take(faults.UNAUTHORIZED, place, username):
        return json_response(INVALID_TOKEN, 401) if body == "apigee" else Response(status_code=401)
    if take(faults.FORBIDDEN, place, username):
        return Response(status_code=403)
    return None


def _wait_s(recent: deque[datetime], limit: int, now: datetime) -> int | None:
    """Seconds until the next call may come; None if this one may, which is then counted."""
    while recent and recent[0] <= now - HOUR:
        recent.popleft()
    if len(recent) < limit:
        recent.append(now)
        return None
    return math.ceil((recent[0] + HOUR - now) / timedelta(seconds=1)) if recent else 3600
