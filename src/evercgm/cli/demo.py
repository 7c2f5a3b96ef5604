"""``evercgm demo``: everything on this machine with one command, simulated vendor clouds included."""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from evercgm.cli.children import Children, demo_lock
from evercgm.cli.person import sign_in_link
from evercgm.cli.serve import listen
from evercgm.cli.surroundings import DEMO_ENVIRONMENT, Databases, find_settings, make_key
from evercgm.core.errors import EvercgmError, SettingsError
from evercgm.core.tokens import Secret
from evercgm.settings import read_settings
from evercgm.storage import embedded, persons
from evercgm.storage.schema.prepare import prepare

NOTES = "demo.json"
LOG = "demo.log"
READY_WITHIN_S = 60.0
PERSONS = ("Alex", "Robin")
# Of each way in the region that the demo offers; all of its clouds are below one address.
DEMO_REGIONS = {"dexcom": "us", "dexcom_share": "us", "libre": "world", "medtronic": "us"}
PASSED_ON = (
    "ENCRYPTION_KEY",
    "ENCRYPTION_KEYS_PREVIOUS",
    "EVERCGM_DENIED_KEYS",
    "EVERCGM_LOG_LEVEL",
    "EVERCGM_METRICS_TOKEN",
    "EVERCGM_VENDOR_BASE_URLS",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for; ``heartbeat_s`` is the job engine's."""

    port: int
    simulator_port: int
    data_dir: Path
    trace: Path | None
    as_json: bool
    heartbeat_s: float
    expires_in_s: int


def demo(
    port: Annotated[int, typer.Option(help="The service's port; 0 takes a free one.")] = 8400,
    simulator_port: Annotated[int, typer.Option(help="The simulated clouds' port; 0 takes a free one.")] = 8401,
    data_dir: Annotated[Path | None, typer.Option(help="Where data and keys are kept.")] = None,
    trace: Annotated[Path | None, typer.Option(help="A CSV that the first simulated account replays.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready.")] = False,
    heartbeat: Annotated[float, typer.Option(help="Silence of a worker before its jobs go on, in s.")] = 30.0,
    expires_in: Annotated[int, typer.Option(help="Life of the simulated access tokens, in s.")] = 7200,
) -> None:
    """Start PostgreSQL, simulated vendor clouds, the API, the page and a worker; print a sign-in link."""
    # Wrong settings stop us here, by name, and not one of the children later.
    read_settings(os.environ, simulators=True)
    where = data_dir or Path(os.environ.get("EVERCGM_DATA_DIR") or ".demo")
    plan = Plan(port, simulator_port, where.absolute(), trace, as_json, heartbeat, expires_in)
    if trace is not None and not trace.is_file():
        raise SettingsError(f"--trace {trace}: there is no such file")
    try:
        # Others may pass through, not look: as root, the server runs as somebody else. Secrets in here are 0600.
        plan.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        (plan.data_dir / "demo.lock").touch(mode=0o600)
    except OSError as failure:
        raise SettingsError(f"--data-dir {where}: {failure.strerror or failure}; choose a writable one") from None
    with demo_lock(plan.data_dir) as ours:
        _run(plan) if ours else _show_running(plan)


def _run(plan: Plan) -> None:
    # Left by a demo that was killed: they tell of ports that are gone.
    for name in (NOTES, DEMO_ENVIRONMENT):
        (plan.data_dir / name).unlink(missing_ok=True)
    port = _free_port("127.0.0.1", plan.port)
    signal.signal(signal.SIGTERM, _stop)
    children = Children(None if plan.as_json else plan.data_dir / LOG)
    try:
        _tell(plan, "Starting PostgreSQL")
        make_key(plan.data_dir)
        server = embedded.start(plan.data_dir, report=lambda line: _tell(plan, line))
        asyncio.run(prepare(server))
        environment = _environment(plan, port)
        given = json.loads(environment.get("EVERCGM_VENDOR_BASE_URLS") or "{}")
        missing = [route for route in DEMO_REGIONS if route not in given]
        if missing:
            simulated = _start_simulators(plan, children, environment, port, missing)
            environment["EVERCGM_VENDOR_BASE_URLS"] = json.dumps({**given, **simulated})
        _tell_neighbours(plan.data_dir, environment)
        _start_service(plan, children, environment, port)
        _announce(plan, environment, server)
        children.watch()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        children.stop()
        for name in (NOTES, DEMO_ENVIRONMENT):
            (plan.data_dir / name).unlink(missing_ok=True)
        embedded.stop(plan.data_dir)


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _free_port(host: str, port: int) -> int:
    with listen(host, port) as listener:
        return int(listener.getsockname()[1])


def _environment(plan: Plan, port: int) -> dict[str, str]:
    """What the children get: what this machine has, without settings that are not the demo's."""
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "DEXCOM_", "SUPABASE_"))
    }
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "WORKER_DATABASE_URL", "ENCRYPTION_KEY"):
        outside.pop(name, None)
    chosen = {n: v for n, v in os.environ.items() if v and (n in PASSED_ON or n.startswith("DEXCOM_"))}
    ours = {
        "EVERCGM_DATA_DIR": str(plan.data_dir),
        "EVERCGM_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "EVERCGM_ALLOW_SIMULATORS": "1",
    }
    return {**outside, **chosen, **ours}


def _start_simulators(
    plan: Plan, children: Children, environment: dict[str, str], port: int, routes: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The clouds of these ways in, by route and region; our registration at Dexcom is kept for the next start."""
    _tell(plan, "Starting the simulated vendor clouds")
    simulator_port = _free_port("127.0.0.1", plan.simulator_port)
    client_id, client_secret = _registration(plan.data_dir)
    environment.setdefault("DEXCOM_CLIENT_ID", client_id)
    environment.setdefault("DEXCOM_CLIENT_SECRET", client_secret)
    arguments = ["-m", "evercgm.cli.simulate", "all", "--json", "--port", str(simulator_port)]
    arguments += ["--data-dir", str(plan.data_dir / "simulators")]
    arguments += ["--client-id", environment["DEXCOM_CLIENT_ID"]]
    arguments += ["--redirect-uri", f"http://127.0.0.1:{port}/api/metabolic/cgm/dexcom/callback"]
    arguments += ["--expires-in", str(plan.expires_in_s)]
    arguments += ["--trace", str(plan.trace.absolute())] if plan.trace else []
    child_environment = {**environment, "SIMULATOR_CLIENT_SECRET": environment["DEXCOM_CLIENT_SECRET"]}
    child = children.start("simulator", arguments, child_environment, first_line=True)
    url = json.loads(child.first_line)["url"]
    return {route: {DEMO_REGIONS[route]: f"{url}/{route}"} for route in routes}


def _tell_neighbours(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Let ``evercgm sync`` and the like, run beside the demo, speak to the same vendors under the same address."""
    names = (*PASSED_ON, "EVERCGM_PUBLIC_URL", "EVERCGM_ALLOW_SIMULATORS")
    told = {n: v for n, v in environment.items() if n in names or n.startswith("DEXCOM_")}
    path = data_dir / DEMO_ENVIRONMENT
    path.touch(mode=0o600)
    path.write_text(json.dumps(told))


def _registration(data_dir: Path) -> tuple[str, str]:
    path = data_dir / "simulated-registration.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"client_id": "evercgm-demo", "client_secret": secrets.token_urlsafe(24)}))
    stored = json.loads(path.read_text())
    return stored["client_id"], stored["client_secret"]


def _start_service(plan: Plan, children: Children, environment: Mapping[str, str], port: int) -> None:
    _tell(plan, "Starting the service and a worker")
    children.start("serve", ["-m", "evercgm.cli.main", "serve", "--no-worker", "--port", str(port)], environment)
    work = ["-m", "evercgm.cli.main", "work", "--heartbeat", str(plan.heartbeat_s)]
    children.start("work", work, environment)
    children.wait_for(f"http://127.0.0.1:{port}/readyz", READY_WITHIN_S)


def _announce(plan: Plan, environment: Mapping[str, str], server: embedded.Embedded) -> None:
    """Seed the owner once, write what a second start needs to know, and print the link."""
    owner_id, people = asyncio.run(_seed(plan.data_dir, server.owner_dsn))
    notes = {
        "url": environment["EVERCGM_PUBLIC_URL"],
        "database_url": server.service_dsn,
        "admin_database_url": server.superuser_dsn,
        "simulators": {
            route: next(iter(regions.values()))
            for route, regions in json.loads(environment["EVERCGM_VENDOR_BASE_URLS"]).items()
        },
        "owner_id": owner_id,
        "persons": [{"id": person.id, "label": person.label} for person in people],
    }
    path = plan.data_dir / NOTES
    path.touch(mode=0o600)
    path.write_text(json.dumps(notes))
    _print(plan, notes, _link(notes, environment))


async def _seed(data_dir: Path, dsn: str) -> tuple[str, list[persons.Person]]:
    stored = data_dir / "owner"
    if not stored.exists():
        stored.write_text(str(uuid.uuid4()))
    owner_id = stored.read_text().strip()
    if not await persons.list_persons(dsn, owner_id):
        for label in PERSONS:
            await persons.add_person(dsn, owner_id, label)
    return owner_id, await persons.list_persons(dsn, owner_id)


def _show_running(plan: Plan) -> None:
    """Another demo runs on this data directory: a new link to that one."""
    path = plan.data_dir / NOTES
    deadline = time.monotonic() + READY_WITHIN_S
    while not path.exists() or not path.read_text():
        if time.monotonic() > deadline:
            raise EvercgmError("another demo is starting here and has not become ready; try again")
        time.sleep(0.2)
    notes = json.loads(path.read_text())
    environment = {"EVERCGM_PUBLIC_URL": notes["url"], "EVERCGM_DATA_DIR": str(plan.data_dir)}
    chosen = {name: os.environ[name] for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEYS_PREVIOUS") if name in os.environ}
    _print(plan, notes, _link(notes, {**environment, **chosen}))


def _link(notes: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    settings = find_settings(environment, simulators=True)
    dsn = Secret(notes["database_url"])
    return asyncio.run(sign_in_link(settings, Databases(dsn, dsn, None), notes["owner_id"]))


def _print(plan: Plan, notes: Mapping[str, Any], link: Mapping[str, str]) -> None:
    if plan.as_json:
        line = {**notes, "sign_in_url": link["url"], "owner_jwt": link["jwt"]}
        sys.stdout.write(json.dumps(line) + "\n")
    else:
        sys.stdout.write(f"\nOpen this link; it signs you in once, within 15 minutes:\n\n  {link['url']}\n\n")
        sys.stdout.write(f"The data stay in {plan.data_dir}, the log in {LOG} there. Stop with Ctrl-C.\n")
    sys.stdout.flush()


def _tell(plan: Plan, line: str) -> None:
    if not plan.as_json:
        sys.stderr.write(f"  {line}\n")
