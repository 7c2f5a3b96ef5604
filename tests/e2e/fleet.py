"""Several workers on several machines, one PostgreSQL, one simulated cloud; a journal of who wrote what, and when."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
from demo_process import environment, until
from machines import NETWORK, Machine, end, machines
from refresh_racer import add_person, vendors_at
from sync_world import CALLBACK, CLIENT, walk_consent

from evercgm.storage import embedded
from evercgm.storage.database import open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.schema.prepare import prepare
from evercgm.storage.vault import Vault

SHIFTED = Path(__file__).with_name("shifted_clock.py")
JOURNAL = Path(__file__).with_name("journal.sql")
USERS = ("User7", "User6")
REST_WITHIN_S = 90


@dataclass
class Worker:
    """A worker on its machine, whose clock is ``minutes`` off. ``options`` of ``evercgm work``."""

    machine: Machine
    minutes: int
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    options: Sequence[str]
    process: subprocess.Popen[str] = field(init=False, repr=False)

    @property
    def name(self) -> str:
        return self.machine.name

    def start(self) -> None:
        words = [sys.executable, str(SHIFTED), str(self.minutes), "work", "--log-format", "json", *self.options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.machine.command(words), env=dict(self.environment), stderr=log, text=True, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def told(self, event: str) -> int:
        """How often its log tells of this."""
        lines = self.log.read_text().splitlines()
        return sum(1 for line in lines if line.startswith("{") and json.loads(line)["event"] == event)


@dataclass
class Fleet:
    """All of it; ``persons`` by id: whose account they wear."""

    server: Embedded
    cloud: str
    workers: list[Worker]
    persons: dict[str, str]
    since: int = 0

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def now(self) -> datetime:
        """By the database's clock."""
        return self.sql("select clock_timestamp()")[0][0]  # type: ignore[no-any-return]

    def slow(self, seconds: float | None) -> None:
        """The vendor takes so long from now on; None: as quick as it is."""
        order = {"set": {"slow": seconds}}
        httpx2.post(f"{self.cloud}/control/faults", json=order, timeout=30, trust_env=False).raise_for_status()

    def make_due(self) -> None:
        """All of them, at one moment. What the journal tells is told from here on."""
        self.since = self.sql("select coalesce(max(id), 0) from public.journal")[0][0]
        self.sql("update cgm_private.sync_state set next_sync_at = now()")

    def journal(self, what: str = "run") -> list[dict[str, Any]]:
        """What was written since all were made due, in order."""
        query = "select to_jsonb(j) from public.journal j where id > %s and what = %s order by id"
        return [row[0] for row in self.sql(query, self.since, what)]

    def at_work(self, worker: Worker) -> list[str]:
        """Connections whose sync this worker has in hand."""
        held: dict[str, str | None] = {}
        for entry in self.journal():
            held[entry["connection_id"]] = entry["machine"] if entry["state"] == "running" else None
        return [connection_id for connection_id, holder in held.items() if holder == worker.name]

    def come_to_rest(self) -> None:
        """Everything that was due is done."""
        until(self.is_at_rest, "nothing is due, waits or runs", REST_WITHIN_S)

    def is_at_rest(self) -> bool:
        """Nothing is due, waits or runs."""
        return not self.sql(
            """select 1 from cgm_private.sync_state where next_sync_at <= now()
               union all select 1 from cgm_private.sync_runs where state <> 'done'
               union all select 1 from cgm_jobs.pgqueuer"""
        )

    def differing(self, end: datetime) -> list[str]:
        """Persons whose series is not the vendor's, up to a moment."""
        held = {username: self._truth(username, end) for username in set(self.persons.values())}
        return [one for one, username in self.persons.items() if self._stored(one, end) != held[username]]

    def _truth(self, username: str, end: datetime) -> list[tuple[datetime, float]]:
        """What the vendor has of an account, oldest first."""
        url = f"{self.cloud}/control/accounts/{username}/truth"
        rows = httpx2.get(url, params={"end": end.isoformat()}, timeout=60, trust_env=False).json()
        return [(datetime.fromisoformat(row["systemTime"]), row["value"]) for row in rows]

    def _stored(self, person_id: str, end: datetime) -> list[tuple[datetime, float]]:
        """What we have of a person, oldest first, twins included."""
        query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
        rows = [(at.replace(tzinfo=UTC), value) for at, value in self.sql(query, person_id)]
        return [row for row in rows if row[0] < end]


@contextmanager
def open_fleet(
    folder: Path, *, apart: bool, clocks: Mapping[str, int], persons: int, options: Sequence[str]
) -> Iterator[Fleet]:
    """Workers by name, each with a clock that is so many minutes off; all at rest, every history stored."""
    key = secrets.token_bytes(32)
    with ExitStack() as running:
        enter = running.enter_context
        server = enter(_postgres(folder / "data", apart=apart))
        port = enter(_cloud(folder / "cloud", apart=apart))
        cloud = f"http://127.0.0.1:{port}/dexcom"
        places = enter(machines(list(clocks), server.port, port, apart=apart))
        workers = [
            Worker(place, clocks[place.name], _environment(place, server, key), folder / f"{place.name}.log", options)
            for place in places
        ]
        fleet = Fleet(server, cloud, workers, asyncio.run(_connect_all(server, cloud, key, persons)))
        fleet.sql(JOURNAL.read_text())
        try:
            for worker in workers:
                worker.start()
            fleet.come_to_rest()
            yield fleet
        finally:
            for worker in workers:
                end(worker.process)


@contextmanager
def _postgres(data_dir: Path, *, apart: bool) -> Iterator[Embedded]:
    options = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    server = embedded.start(data_dir, options=options | ({"listen_addresses": "0.0.0.0"} if apart else {}))
    try:
        if apart:
            with (server.server_dir / "postgres" / "pg_hba.conf").open("a") as file:
                file.write(f"host all all {NETWORK} scram-sha-256\n")
            with psycopg.connect(server.superuser_dsn) as conn:
                conn.execute("select pg_reload_conf()")
        asyncio.run(prepare(server))
        yield server
    finally:
        embedded.stop(data_dir)


@contextmanager
def _cloud(data_dir: Path, *, apart: bool) -> Iterator[int]:
    """The simulator, a process of its own; its port."""
    words = ["-m", "evercgm.cli.simulate", "dexcom", "--json", "--port", "0", "--data-dir", str(data_dir)]
    words += ["--host", "0.0.0.0" if apart else "127.0.0.1", "--client-id", CLIENT.client_id]
    words += ["--redirect-uri", CALLBACK]
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**environment(data_dir), "SIMULATOR_CLIENT_SECRET": CLIENT.client_secret},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield urlsplit(json.loads(process.stdout.readline())["url"]).port or 0
    finally:
        end(process)


def _environment(place: Machine, server: Embedded, key: bytes) -> dict[str, str]:
    parts = urlsplit(server.service_dsn)
    host, port = place.database
    dsn = parts._replace(netloc=f"{parts.username}:{parts.password}@{host}:{port}").geturl()
    vendor = f"http://127.0.0.1:{place.vendor_port}/dexcom"
    return {
        **environment(Path(os.devnull)),
        "DATABASE_URL": dsn,
        # Who writes is told to the journal.
        "PGOPTIONS": f"-c fleet.machine={place.name}",
        "ENCRYPTION_KEY": key.hex(),
        "EVERCGM_ALLOW_SIMULATORS": "1",
        "EVERCGM_VENDOR_BASE_URLS": json.dumps({"dexcom": {"us": vendor}}),
        "DEXCOM_CLIENT_ID": CLIENT.client_id,
        "DEXCOM_CLIENT_SECRET": CLIENT.client_secret,
    }


async def _connect_all(server: Embedded, cloud: str, key: bytes, persons: int) -> dict[str, str]:
    """Each an owner's person; their first syncs are asked for."""
    found = {}
    settings = {
        "vendor_url": cloud,
        "client_id": CLIENT.client_id,
        "client_secret": CLIENT.client_secret,
        "redirect_uri": CALLBACK,
    }
    async with (
        open_database(server.service_dsn, Vault(key)) as db,
        httpx2.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        for number in range(persons):
            caller, person_id = add_person(server.superuser_dsn)
            username = USERS[number % len(USERS)]
            finished = await walk_consent(db, vendors_at(settings, http), caller, person_id, username)
            assert finished.outcome == "connected"
            found[person_id] = username
    return found
