"""``GET /events``: a stream of server-sent events about one person.

``reading``: a new newest reading, as ``GET /readings`` gives it in mg/dL, with ``person_id``. ``connection``: its
state. ``sync``: as ``GET /syncs/{id}`` gives it; its counts tell of readings that lie before the newest one, too.
A stream opens with the newest reading and the state of the rest, then tells what changes.
"""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import datetime
from types import FrameType
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from evercgm.api.caller import SESSION_COOKIE, Wired
from evercgm.api.caller import Reading as ReadingCaller
from evercgm.api.error_responses import Problem
from evercgm.api.fields import PersonQuery, rfc3339
from evercgm.api.readings_routes import reading_facts
from evercgm.core.caller import Caller
from evercgm.storage import views
from evercgm.storage.changes import Change, Hub, Listener, place_of, session_mark
from evercgm.storage.views import ReadingView, RunView

router = APIRouter(tags=["events"])
HEARTBEAT_S = 15.0
COME_BACK_AFTER_MS = 2000
_HEADERS = {"X-Accel-Buffering": "no"}
_TOO_MANY = "You have ten live streams open. Close a window of this page."
_FULL = "No more live updates can be served at the moment. Try again in a minute."


def hub_of(request: Request) -> Hub:
    """The hub of this process."""
    return cast(Hub, request.app.state.events)


class Stream(StreamingResponse):
    """Frees the listener's place however the stream ends, even before it has begun."""

    def __init__(self, hub: Hub, listener: Listener, ends_at: float | None):
        super().__init__(frames(listener, ends_at), media_type="text/event-stream", headers=_HEADERS)
        self._leave: Callable[[], None] = lambda: hub.leave(listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


# Not in the OpenAPI document: it has no way to describe an answer that does not end.
@router.get("/events", include_in_schema=False)
async def get_events(
    request: Request,
    runtime: Wired,
    caller: ReadingCaller,
    hub: Annotated[Hub, Depends(hub_of)],
    person_id: PersonQuery = None,
    last_event_id: Annotated[str | None, Header(max_length=500)] = None,
) -> Response:
    """What happens to a person's readings, connections and syncs, until the caller's token or session ends."""
    _require_room(hub, caller)
    chosen = await views.chosen_person(runtime.db, caller, person_id)
    # Others may have come in the meantime.
    _require_room(hub, caller)
    after = place_of(last_event_id) if last_event_id else None
    listener = Listener(caller.owner_id, chosen, _session(request), after)
    hub.join(listener)
    return Stream(hub, listener, _end_of_token(caller))


def _require_room(hub: Hub, caller: Caller) -> None:
    if hub.is_full():
        raise Problem(503, "streams_full", _FULL, headers={"Retry-After": "60"})
    if hub.is_full_for(caller.owner_id):
        raise Problem(429, "too_many_streams", _TOO_MANY, headers={"Retry-After": "60"})


def _session(request: Request) -> bytes | None:
    """The session that carries this call; None where a token does."""
    token = request.cookies.get(SESSION_COOKIE)
    return session_mark(token) if token and "authorization" not in request.headers else None


def _end_of_token(caller: Caller) -> float | None:
    end = caller.claims.get("exp")
    return None if end is None else float(end)


async def frames(
    listener: Listener, ends_at: float | None, clock: Callable[[], float] = time.time
) -> AsyncIterator[bytes]:
    """The bytes of a stream. ``ends_at`` is the token's end in seconds of ``clock``."""
    yield f"retry: {COME_BACK_AFTER_MS}\n\n".encode()
    while True:
        left = HEARTBEAT_S if ends_at is None else min(HEARTBEAT_S, ends_at - clock())
        if left <= 0:
            return
        try:
            change = await asyncio.wait_for(listener.waiting.get(), left)
        except TimeoutError:
            yield b": still here\n\n"
            continue
        if change is None:
            return
        yield frame(change, listener.person_id)


def frame(change: Change, person_id: str) -> bytes:
    """One event. Only readings carry an id: the rest is told anew to whoever comes back."""
    place = b"" if change.place is None else f"id: {change.place}\n".encode()
    data = msgspec.json.encode(_facts(change, person_id))
    return b"%bevent: %b\ndata: %b\n\n" % (place, change.kind.encode(), data)


def _facts(change: Change, person_id: str) -> dict[str, Any]:
    what = change.what
    if isinstance(what, ReadingView):
        return {"person_id": person_id, **reading_facts(what, "mg/dL")}
    facts = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in asdict(what).items()}
    return {**facts, "took_ms": _took(what)} if isinstance(what, RunView) else facts


def _took(run: RunView) -> int | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return int((run.finished_at - run.started_at).total_seconds() * 1000)


@asynccontextmanager
async def closing_streams(app: FastAPI) -> AsyncIterator[None]:
    """Streams end when the process is told to: a server waits for open answers before it says that it is ending."""
    hub = cast(Hub, app.state.events)
    loop = asyncio.get_running_loop()
    with _also_on_signal(lambda: loop.call_soon_threadsafe(hub.close)):
        yield
    hub.close()


@contextmanager
def _also_on_signal(act: Callable[[], object]) -> Iterator[None]:
    """Before what SIGTERM and SIGINT do already, do this as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, at: FrameType | None) -> None:
        act()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, at)

    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
