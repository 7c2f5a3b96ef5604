"""What happens to a call beside its handler: refusals, pages, slowness, cut and compressed answers."""

import gzip
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.libre.simulator import faults
from evercgm.providers.libre.simulator.cloud import Cloud, cloud_of
from evercgm.simulator_kit.answers import json_response
from evercgm.simulator_kit.troubles import through

Handler = Callable[[Request], Awaitable[Response]]
PAGES = {
    403: "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body></body></html>",
    429: "<!DOCTYPE html><html><head><title>Access denied | Cloudflare</title></head><body>1015</body></html>",
}
MINUTE = timedelta(minutes=1)


def with_troubles(place: str, handler: Handler) -> Handler:
    """The handler behind the counter and the faults; ``place`` as the statistics name it."""

    async def handle(request: Request) -> Response:
        cloud = cloud_of(request)
        cloud.state.ledger.count("calls", place)
        username = await _username(cloud, request) if cloud.faults.has_username_scope() else None

        async def answer() -> Response:
            given = _refusal(cloud, request, place, username) or await handler(request)
            return _compressed(given, request) if cloud.faults.take(faults.GZIP, place, username) else given

        return await through(cloud.faults, faults.TROUBLES, place, username, answer)

    return handle


def bearer_of(request: Request) -> str:
    """The token of a call; empty if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def credentials_of(request: Request) -> tuple[str, str] | None:
    """E-mail (lower case) and password of a sign-in; None where the body is something else."""
    try:
        sent = msgspec.json.decode(await request.body(), type=dict[str, object])
    except msgspec.MsgspecError:
        return None
    email, password = sent.get("email"), sent.get("password")
    return (email.lower(), password) if isinstance(email, str) and isinstance(password, str) else None


def page(status: int, retry_after: str = "") -> Response:
    """Cloudflare's page."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Response(PAGES[status], status, headers, media_type="text/html")


async def _username(cloud: Cloud, request: Request) -> str | None:
    if token := bearer_of(request):
        return cloud.state.owner_of(token)
    sent = await credentials_of(request) if request.method == "POST" else None
    return sent[0] if sent else None


def _refusal(cloud: Cloud, request: Request, place: str, username: str | None) -> Response | None:
    """The answer that a fault gives instead of the handler; None where none does."""
    take = cloud.faults.take
    limit = take(faults.CALLS_PER_MINUTE, place, username)
    if limit is not None and _is_beyond(cloud, request, limit):
        return page(429, "60")
    if status := take(faults.CLOUDFLARE, place, username):
        return page(status)
    if take(faults.REQUIRE_USER_AGENT, place, username) and not request.headers.get("user-agent"):
        return page(403)
    return json_response({"status": 911}) if take(faults.MAINTENANCE, place, username) else None


def _is_beyond(cloud: Cloud, request: Request, limit: int) -> bool:
    """Whether this address has had its calls of the minute; if not, this one counts."""
    now: datetime = cloud.clock()
    recent = cloud.recent_calls.setdefault(request.client.host if request.client else "", deque())
    while recent and recent[0] <= now - MINUTE:
        recent.popleft()
    if len(recent) >= limit:
        return True
    recent.append(now)
    return False


def _compressed(answer: Response, request: Request) -> Response:
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return answer
    kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return Response(gzip.compress(bytes(answer.body)), answer.status_code, kept | {"Content-Encoding": "gzip"})
