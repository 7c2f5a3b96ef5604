"""``evercgm serve`` and ``work``: the API with its page, and a background worker."""

import asyncio
import socket
from types import FrameType
from typing import Annotated, Any

import typer

from evercgm.cli.metrics_port import metrics_port
from evercgm.cli.stopping import run_in_time, told_to_stop
from evercgm.cli.surroundings import Databases, databases, find_settings
from evercgm.core.errors import SettingsError
from evercgm.logs import set_up_logs
from evercgm.runtime import Runtime, open_runtime
from evercgm.settings import METRICS_PORT, Settings, require_key
from evercgm.storage.schema.reach import refuse_transaction_pooler
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.worker.run import Pace
from evercgm.worker.run import work as run_worker

STOP_WITHIN_S = 6
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
    listener, beside = listen(host, port), _listen_for_metrics(settings)
    with databases(settings) as found:
        run_in_time(_serve(settings, found, listener, beside, None if no_worker else Pace()))


def work(
    concurrency: Annotated[int, typer.Option(min=2, max=200, help="Syncs at a time, besides two for people.")] = 20,
    heartbeat: Heartbeat = 30.0,
    log_format: LogFormat = None,
) -> None:
    """Run a background worker; any number of them, on any number of machines."""
    settings = find_settings()
    require_key(settings)
    set_up_logs(settings.log_level, log_format)
    beside = _listen_for_metrics(settings)
    with databases(settings) as found:
        run_in_time(_work(settings, found, beside, Pace(concurrency, heartbeat)))


def _listen_for_metrics(settings: Settings) -> socket.socket | None:
    return None if settings.metrics_port is None else listen(*settings.metrics_port, setting=METRICS_PORT)


def listen(host: str, port: int, setting: str = "--port") -> socket.socket:
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
        raise SettingsError(f"{setting} {port}: cannot listen on {host}:{port} ({reason}); choose another") from None
    listener.set_inheritable(True)
    return listener


async def _serve(
    settings: Settings, found: Databases, listener: socket.socket, beside: socket.socket | None, pace: Pace | None
) -> None:
    # Loaded here: half a second that no other command should wait for.
    import uvicorn

    from evercgm.api.app import create_app

    stop = asyncio.Event()
    told = told_to_stop(stop)

    class Server(uvicorn.Server):
        """Takes the signals over; a worker beside it ends at the same time."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            told()
            super().handle_exit(sig, frame)

    if pace is not None:
        await _check_worker(found)
    async with open_runtime(settings, found.service) as runtime, metrics_port(runtime, beside, _metrics_app):
        server = Server(
            uvicorn.Config(
                create_app(runtime),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_WITHIN_S,
            )
        )
        # Told before it has begun to listen to signals.
        server.should_exit = stop.is_set()
        async with asyncio.TaskGroup() as group:
            if pace is not None:
                group.create_task(run_worker(runtime, found.worker, stop, pace))
            await server.serve(sockets=[listener])
            stop.set()


async def _work(settings: Settings, found: Databases, beside: socket.socket | None, pace: Pace) -> None:
    stop = asyncio.Event()
    told_to_stop(stop)
    await _check_worker(found)
    async with open_runtime(settings, found.service) as runtime, metrics_port(runtime, beside, _metrics_app):
        await run_worker(runtime, found.worker, stop, pace)


def _metrics_app(runtime: Runtime) -> Any:
    # Loaded here: a worker without this port does not need it.
    from evercgm.api.metrics_routes import create_metrics_app

    return create_metrics_app(runtime)


async def _check_worker(found: Databases) -> None:
    """The worker's own connection is held to the same rights as the service's, and must be one that LISTEN passes."""
    own = found.worker.reveal() != found.service.reveal()
    setting = "WORKER_DATABASE_URL" if own else "DATABASE_URL"
    await refuse_transaction_pooler(found.worker.reveal(), setting)
    if own:
        await refuse_too_much(found.worker.reveal(), setting)
