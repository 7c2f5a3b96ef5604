"""A simulated cloud on this machine's network, and a provider's own client for it: real HTTP, nothing in between."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette


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
