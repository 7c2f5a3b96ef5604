"""The port for Prometheus beside a service or a worker, open for as long as that runs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from evercgm.runtime import Runtime

STOP_WITHIN_S = 2


@asynccontextmanager
async def metrics_port(
    runtime: Runtime, listener: socket.socket | None, create: Callable[[Runtime], Any]
) -> AsyncIterator[None]:
    """Answer on ``listener`` with the app that ``create`` makes; nothing where there is no listener."""
    if listener is None:
        yield
        return
    # Loaded here: half a second that a worker without this port should not wait for.
    import uvicorn

    class Beside(uvicorn.Server):
        """Leaves the signals to the process that it runs in."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Beside(
        uvicorn.Config(
            create(runtime),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
