"""``evercgm serve`` and ``work``: the API with its page, and a background worker."""

import asyncio
import signal
import socket
from typing import Annotated

import typer

from evercgm.cli.surroundings import Databases, databases, find_settings
from evercgm.core.errors import SettingsError
from evercgm.logs import set_up_logs
from evercgm.runtime import open_runtime
from evercgm.settings import Settings, require_key
from evercgm.storage.schema.reach import refuse_transaction_pooler
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.worker.run import Pace
from evercgm.worker.run import work as run_worker

STOP_WITHIN_S = 8
LogFormat = Annotated[str | None, typer.Option("--log-format", help="json or text.")]
Heartbeat = Annotated[float, typer.Option(help="Seconds of silence after which a worker's jobs go to another.")]


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8400,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Only the API and the page.")] = False,
    log_format: LogFormat = None,
) -> None:
    """Serve the API and the page, with one worker unless told otherwise."""
    settings = find_settings()
    require_key(settings)
    set_up_logs(settings.log_level, log_format)
    listener = listen(host, port)
    with databases(settings) as found:
        asyncio.run(_serve(settings, found, listener, None if no_worker else Pace()))


def work(
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Syncs at a time.")] = 10,
    heartbeat: Heartbeat = 30.0,
    log_format: LogFormat = None,
) -> None:
    """Run a background worker; any number of them, on any number of machines."""
    settings = find_settings()
    require_key(settings)
    set_up_logs(settings.log_level, log_format)
    with databases(settings) as found:
        asyncio.run(_work(settings, found, Pace(concurrency, heartbeat)))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError where the port is taken or the address is not ours."""
    # Named TCP, so that asyncio sends small answers at once (TCP_NODELAY) instead of waiting 40 ms for more.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as failure:
        listener.close()
        reason = getattr(failure, "strerror", None) or "no such port"
        raise SettingsError(f"--port {port}: cannot listen on {host}:{port} ({reason}); choose another") from None
    listener.set_inheritable(True)
    return listener


async def _serve(settings: Settings, found: Databases, listener: socket.socket, pace: Pace | None) -> None:
    # Loaded here: half a second that no other command should wait for.
    import uvicorn

    from evercgm.api.app import create_app

    # uvicorn raises the signal again when it has ended; these keep it from ending us before our own work is done.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _told_already)
    if pace is not None:
        await _check_worker(found)
    async with open_runtime(settings, found.service) as runtime:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(runtime),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_WITHIN_S,
            )
        )
        if pace is None:
            await server.serve(sockets=[listener])
            return
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_worker(runtime, found.worker, stop, pace))
            await server.serve(sockets=[listener])
            stop.set()


def _told_already(_signal: int, _frame: object) -> None:
    """uvicorn has acted on it."""


async def _work(settings: Settings, found: Databases, pace: Pace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await _check_worker(found)
    async with open_runtime(settings, found.service) as runtime:
        await run_worker(runtime, found.worker, stop, pace)


async def _check_worker(found: Databases) -> None:
    """The worker's own connection is held to the same rights as the service's, and must be one that LISTEN passes."""
    own = found.worker.reveal() != found.service.reveal()
    setting = "WORKER_DATABASE_URL" if own else "DATABASE_URL"
    await refuse_transaction_pooler(found.worker.reveal(), setting)
    if own:
        await refuse_too_much(found.worker.reveal(), setting)
