"""A simulated cloud on this machine's network, and a provider's own client for it: real HTTP, nothing in between."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import uvicorn
from starlette.applications import Starlette

from evercgm.simulator_kit.trace import CADENCE, anchor_for


@asynccontextmanager
async def on_a_socket(app: Starlette) -> AsyncIterator[str]:
    """Its address, without a slash at the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level=100, access_log=False, timeout_graceful_shutdown=1))
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        await task
        listener.close()


def between_two_readings() -> datetime:
    """At most 5 minutes ago, half way between two steps of a trace.

    A cloud whose clock stands here shows the same readings by whichever second of the day the test runs.
    """
    half: timedelta = CADENCE / 2
    return anchor_for(datetime.now(UTC) - half) + half
