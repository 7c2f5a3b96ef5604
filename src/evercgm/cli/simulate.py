"""`evercgm simulate`: a vendor's cloud on this machine; the only importer of simulators."""

import errno
import logging
import signal
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Protocol

import msgspec
import typer
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from evercgm.providers.dexcom.simulator.app import PREFIX as DEXCOM_PREFIX
from evercgm.providers.dexcom.simulator.app import create_app as create_dexcom
from evercgm.providers.dexcom.simulator.cloud import SANDBOX_ACCOUNTS, Settings
from evercgm.providers.dexcom.simulator.faults import KINDS as DEXCOM_FAULTS
from evercgm.providers.dexcom.simulator.state import Client
from evercgm.providers.dexcom_share.simulator.app import PREFIX as SHARE_PREFIX
from evercgm.providers.dexcom_share.simulator.app import create_app as create_share
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS as SHARE_ACCOUNTS
from evercgm.providers.dexcom_share.simulator.faults import KINDS as SHARE_FAULTS
from evercgm.providers.libre.simulator.app import PREFIX as LIBRE_PREFIX
from evercgm.providers.libre.simulator.app import create_app as create_libre
from evercgm.providers.libre.simulator.faults import KINDS as LIBRE_FAULTS
from evercgm.providers.libre.simulator.people import DEMO_ACCOUNTS as LIBRE_ACCOUNTS
from evercgm.providers.medtronic.simulator.app import PREFIX as MEDTRONIC_PREFIX
from evercgm.providers.medtronic.simulator.app import create_app as create_medtronic
from evercgm.providers.medtronic.simulator.cloud import ACCOUNTS as CARELINK_ACCOUNTS
from evercgm.providers.medtronic.simulator.faults import KINDS as CARELINK_FAULTS
from evercgm.simulator_kit.answers import ConnectionCut
from evercgm.simulator_kit.faults import FaultError, FaultKind, read_text
from evercgm.simulator_kit.trace import TraceError

BAD_USE = 2
# Well-known values: they open nothing but a simulator.
DEMO_CLIENT_ID = "evercgm-demo"
DEMO_CLIENT_KEY = "evercgm-demo-only"
DEMO_CALLBACK = "http://127.0.0.1:8400/api/metabolic/cgm/dexcom/callback"
STOP_WITHIN_S = 2

Kinds = Sequence[FaultKind[Any]]


class Account(Protocol):
    """Somebody who can sign in."""

    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str | None: ...
    @property
    def label(self) -> str: ...


# Name, password (None where there is none), label.
Person = tuple[str, str | None, str]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free port.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
DataDir = Annotated[Path, typer.Option(help="Where the anchor, tokens and sessions are kept.")]
TraceFile = Annotated[Path | None, typer.Option(help="CSV (local_time,glucose_mg_dl) that the first account replays.")]
Anchor = Annotated[
    str | None,
    typer.Option(
        metavar="INSTANT",
        help="Where the recordings end (RFC 3339) at the first start, instead of now: two clouds agree.",
    ),
]
Faults = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A fault that is on from the start (list below); may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line when listening, nothing else.")]

simulate_app = typer.Typer(help="Run a vendor's cloud on this machine, for tests and the demo.", no_args_is_help=True)


def _fault_list(kinds: Kinds) -> str:
    """One paragraph a fault."""
    told = [f"{kind.name}: {kind.meaning} Takes {kind.values}; as in {kind.example}" for kind in kinds]
    return "\n\n".join(["Faults (also while it runs, at the control path's /faults):", *told])


@simulate_app.command("dexcom", epilog=_fault_list(DEXCOM_FAULTS))
def simulate_dexcom(
    port: Port = 8401,
    host: Host = "127.0.0.1",
    data_dir: DataDir = Path(".simulators/dexcom"),
    trace: TraceFile = None,
    anchor: Anchor = None,
    expires_in: Annotated[int, typer.Option(min=1, max=86_400, help="Life of an access token in seconds.")] = 7200,
    client_id: Annotated[str, typer.Option(help="The registered application.")] = DEMO_CLIENT_ID,
    client_secret: Annotated[str, typer.Option(envvar="SIMULATOR_CLIENT_SECRET", help="Its secret.")] = DEMO_CLIENT_KEY,
    redirect_uri: Annotated[
        list[str] | None,
        typer.Option(help=f"Registered callback; may be repeated. Default {DEMO_CALLBACK}"),
    ] = None,
    fault: Faults = None,
    as_json: AsJson = False,
) -> None:
    """Dexcom's official API v3: login page, tokens, readings."""
    client = Client(client_id, client_secret, tuple(redirect_uri or [DEMO_CALLBACK]))
    faults, ends_at = _read_faults(DEXCOM_FAULTS, fault), _read_anchor(anchor)

    def make() -> Starlette:
        settings = Settings(expires_in=expires_in)
        app = create_dexcom(data_dir, clients=[client], trace=trace, settings=settings, anchor=ends_at)
        for name, value in faults:
            app.state.cloud.set_fault(name, value)
        return app

    people: list[Person] = [(account.username, None, account.label) for account in SANDBOX_ACCOUNTS]
    _run("Dexcom", make, data_dir, (host, port), DEXCOM_PREFIX, people, as_json)


@dataclass(frozen=True, slots=True)
class Followed:
    """A cloud whose people sign in by password."""

    command: str
    title: str
    what: str
    port: int
    prefix: str
    faults: Kinds
    accounts: Sequence[Account]
    create: Callable[..., Starlette]


FOLLOWED = (
    Followed(
        "dexcom-share", "Dexcom Share", "Dexcom Share, the follower service: the last 24 hours in real time.",
        8402, SHARE_PREFIX, SHARE_FAULTS, SHARE_ACCOUNTS, create_share,
    ),
    Followed(
        "libre", "LibreLinkUp", "LibreLinkUp, the follower service of FreeStyle Libre: connections, graph, logbook.",
        8403, LIBRE_PREFIX, LIBRE_FAULTS, LIBRE_ACCOUNTS, create_libre,
    ),
    Followed(
        "medtronic", "CareLink", "Medtronic's CareLink as its CarePartner app sees it: the last 24 hours.",
        8404, MEDTRONIC_PREFIX, CARELINK_FAULTS, CARELINK_ACCOUNTS, create_medtronic,
    ),
)  # fmt: skip


def _command(cloud: Followed) -> Callable[..., None]:
    def simulate(
        port: Port = cloud.port,
        host: Host = "127.0.0.1",
        data_dir: DataDir = Path(".simulators", cloud.command),
        trace: TraceFile = None,
        anchor: Anchor = None,
        fault: Faults = None,
        as_json: AsJson = False,
    ) -> None:
        faults, ends_at = _read_faults(cloud.faults, fault), _read_anchor(anchor)

        def make() -> Starlette:
            app = cloud.create(data_dir, trace=trace, anchor=ends_at)
            for name, value in faults:
                app.state.cloud.set_fault(name, value)
            return app

        _run(cloud.title, make, data_dir, (host, port), cloud.prefix, _people(cloud.accounts), as_json)

    return simulate


for _one in FOLLOWED:
    simulate_app.command(_one.command, help=_one.what, epilog=_fault_list(_one.faults))(_command(_one))


def _people(accounts: Sequence[Account], prefix: str = "") -> list[Person]:
    return [(account.username, account.password, prefix + account.label) for account in accounts]


@simulate_app.command("all")
def simulate_all(
    port: Port = 8401,
    host: Host = "127.0.0.1",
    data_dir: DataDir = Path(".simulators"),
    trace: TraceFile = None,
    expires_in: Annotated[int, typer.Option(min=1, max=86_400, help="Life of Dexcom's access tokens in s.")] = 7200,
    client_id: Annotated[str, typer.Option(help="Dexcom's registered application.")] = DEMO_CLIENT_ID,
    client_secret: Annotated[str, typer.Option(envvar="SIMULATOR_CLIENT_SECRET", help="Its secret.")] = DEMO_CLIENT_KEY,
    redirect_uri: Annotated[list[str] | None, typer.Option(help="Registered callback; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """All of them on one port, each below its own path; Dexcom's two ways show the same glucose."""
    client = Client(client_id, client_secret, tuple(redirect_uri or [DEMO_CALLBACK]))

    def make() -> Clouds:
        settings = Settings(expires_in=expires_in)
        dexcom = create_dexcom(data_dir / "dexcom", clients=[client], trace=trace, settings=settings)
        anchor = dexcom.state.cloud.state.anchor
        return Clouds(
            {
                DEXCOM_PREFIX: dexcom,
                **{one.prefix: one.create(data_dir / one.command, trace=trace, anchor=anchor) for one in FOLLOWED},
            }
        )

    people = [person for cloud in FOLLOWED for person in _people(cloud.accounts, f"{cloud.title}: ")]
    _run("vendor clouds", make, data_dir, (host, port), "", people, as_json)


class Clouds:
    """Several clouds on one port, each below its prefix."""

    def __init__(self, clouds: Mapping[str, Starlette]) -> None:
        self._clouds = clouds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        cloud = self._clouds.get("/" + str(scope["path"]).split("/", 2)[1])
        await (cloud or PlainTextResponse("no such cloud", 404))(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as opened:
            await receive()
            for cloud in self._clouds.values():
                await opened.enter_async_context(cloud.router.lifespan_context(cloud))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _run(
    title: str,
    make: Callable[[], ASGIApp],
    data_dir: Path,
    address: tuple[str, int],
    prefix: str,
    people: Sequence[Person],
    as_json: bool,
) -> None:
    """Make the cloud once its port is taken, and serve it until it is told to stop."""
    with _listen(*address) as listener:
        try:
            app = make()
        except (TraceError, FaultError) as error:
            raise _bad_use(str(error)) from error
        except (OSError, sqlite3.Error) as error:
            raise _bad_use(f"{data_dir}: cannot keep data there ({_reason(error)})") from error
        url = _url_of(listener) + prefix
        _serve(app, listener, lambda: _announce(title, url, people, as_json))


def _read_faults(kinds: Kinds, texts: Sequence[str] | None) -> list[tuple[str, object]]:
    try:
        return [(kind.name, value) for kind, value in (read_text(kinds, text) for text in texts or ())]
    except FaultError as error:
        raise _bad_use(str(error)) from error


def _read_anchor(text: str | None) -> datetime | None:
    try:
        anchor = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise _bad_use(f"anchor {text!r}: is no instant; right is one as 2026-12-01T08:00:00Z") from None
    if anchor is not None and anchor.tzinfo is None:
        raise _bad_use(f"anchor {text!r}: has no zone; right is one as 2026-12-01T08:00:00Z")
    return anchor


def _listen(host: str, port: int) -> socket.socket:
    """Bound before the server starts: only so is the free port known and a taken one refused in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else _reason(error)
        raise _bad_use(f"cannot listen on {host} port {port}: {reason}") from error


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(title: str, url: str, people: Sequence[Person], as_json: bool) -> None:
    if as_json:
        line = {
            "url": url,
            "accounts": [{"username": name, "password": word, "label": label} for name, word, label in people],
            "control_url": f"{url}/control",
        }
        typer.echo(msgspec.json.encode(line))
        return
    typer.echo(f"Simulated {title} at {url}")
    for name, word, label in people:
        if word is not None:
            typer.echo(f"  {name}, password {word}: {label}")
    typer.echo(f"Statistics at {url}/control/stats\nStop with Ctrl+C.")


def _serve(app: ASGIApp, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT. No access log: it would hold codes and states."""
    # uvicorn raises the signal again when it is done; without these the exit code would tell of a crash.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_WITHIN_S)
    logging.getLogger("uvicorn.error").addFilter(_is_no_wanted_cut)
    _AnnouncingServer(config, announce).run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    """Tells when requests are answered, not before."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._announce()


def _is_no_wanted_cut(record: logging.LogRecord) -> bool:
    """A connection that a fault cut is no error of ours."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionCut))


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _bad_use(text: str) -> typer.Exit:
    typer.echo(f"evercgm simulate: {text}", err=True)
    return typer.Exit(BAD_USE)


def _reason(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


if __name__ == "__main__":
    simulate_app()
