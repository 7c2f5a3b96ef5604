"""One PostgreSQL for the whole run, and a fresh migrated database for each test that asks for one.

TEST_ADMIN_DATABASE_URL (a superuser's URL) uses a server of your own instead of the embedded one.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from evercgm.storage import embedded
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.prepare import lend_roles, make_login_role

# A busy machine is no failure: nothing here is judged by time.
settings.register_profile("evercgm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evercgm")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
_HOST_RLS_OFF = """
drop policy "Owners can view own persons" on public."Person";
drop policy "Owners can view own readings" on public.glucose_readings;
alter table public."Person" disable row level security;
alter table public.glucose_readings disable row level security;
revoke all on public."Person", public.glucose_readings from anon, authenticated;
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests want told even where all is well: in which of several ways they could be run on this machine."""
    reports = [report for key in ("passed", "failed", "error") for report in terminalreporter.getreports(key)]
    told = {value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "told"}
    for line in sorted(told):
        terminalreporter.write_line(str(line))


@dataclass(frozen=True)
class FreshDatabase:
    """A database of one test: as superuser, as the owner of its objects, as the service's login role."""

    name: str
    admin_dsn: str
    owner_dsn: str
    service_dsn: str


@dataclass(frozen=True)
class Server:
    """The server of this run, with an owner role and a service login role that are the run's own."""

    admin_dsn: str
    owner: str
    service: str
    password: str

    def database(self, name: str) -> FreshDatabase:
        """The three ways into a database of this server."""
        return FreshDatabase(
            name=name,
            admin_dsn=self._dsn(name),
            owner_dsn=self._dsn(name, self.owner),
            service_dsn=self._dsn(name, self.service),
        )

    def create(self, name: str, template: str = "template0", *, large: bool = False) -> FreshDatabase:
        """Make a database owned by the run's owner, empty or a copy of a template; ``large``: file by file."""
        statement = sql.SQL("create database {} template {} owner {} strategy {}").format(
            sql.Identifier(name),
            sql.Identifier(template),
            sql.Identifier(self.owner),
            sql.SQL("file_copy" if large else "wal_log"),
        )
        self.execute(statement)
        return self.database(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement)

    def _dsn(self, name: str, user: str | None = None) -> str:
        parts = urlsplit(self.admin_dsn)
        place = parts.netloc.rpartition("@")[2]
        netloc = parts.netloc if user is None else f"{user}:{self.password}@{place}"
        return parts._replace(netloc=netloc, path=f"/{name}").geturl()


def run_apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine from a plain fixture without touching the event loop of the tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of specifications beside the repository; its absence is a failure, not a skip."""
    assert SHARED.is_dir(), f"{SHARED} is missing"
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of this run."""
    given = os.environ.get("TEST_ADMIN_DATABASE_URL")
    if given:
        with _own_roles(given) as server:
            yield server
        return
    data_dir = Path(tempfile.mkdtemp(prefix="evercgm-tests-"))
    data_dir.chmod(0o755)
    try:
        options = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        own = embedded.start(data_dir, options=options)
        yield _with_roles(own.superuser_dsn)
    finally:
        embedded.stop(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def _with_roles(admin_dsn: str) -> Server:
    mark = secrets.token_hex(4)
    server = Server(admin_dsn, f"test_owner_{mark}", f"test_service_{mark}", secrets.token_hex(16))
    server.execute(
        sql.SQL("create role {} login createrole password {}").format(
            sql.Identifier(server.owner), sql.Literal(server.password)
        )
    )
    run_apart(lend_roles(admin_dsn, server.owner))
    return server


class _own_roles:  # noqa: N801
    """The run's roles on somebody's server, gone again afterwards."""

    def __init__(self, admin_dsn: str):
        self._server = _with_roles(admin_dsn)

    def __enter__(self) -> Server:
        return self._server

    def __exit__(self, *_: object) -> None:
        for role in (self._server.service, self._server.owner):
            with psycopg.connect(self._server.admin_dsn, autocommit=True) as connection:
                if connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
                    connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
                    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture(scope="session")
def template_of(postgres: Server) -> Iterator[Callable[[bool], str]]:
    """The name of a migrated template, made once, with the host's row-level security on or off."""
    made: dict[bool, str] = {}

    def template(host_rls: bool) -> str:
        if host_rls not in made:
            name = f"test_template_{secrets.token_hex(4)}"
            made[host_rls] = name
            fresh = postgres.create(name)
            run_apart(_build(postgres, fresh, host_rls))
        return made[host_rls]

    yield template
    for name in made.values():
        postgres.drop(name)


async def _build(server: Server, fresh: FreshDatabase, host_rls: bool) -> None:
    await bootstrap_standalone(fresh.owner_dsn)
    if not host_rls:
        async with await psycopg.AsyncConnection.connect(fresh.owner_dsn) as connection:
            await connection.execute(_HOST_RLS_OFF)
    await migrate(fresh.owner_dsn)
    await make_login_role(server.admin_dsn, server.service, server.password)


@pytest.fixture
def make_database(postgres: Server, template_of: Callable[[bool], str]) -> Iterator[Callable[..., FreshDatabase]]:
    """Makes migrated databases: ``make_database(host_rls=False)``; dropped after the test."""
    names: list[str] = []

    def make(host_rls: bool = True) -> FreshDatabase:
        names.append(f"test_{secrets.token_hex(6)}")
        return postgres.create(names[-1], template_of(host_rls))

    yield make
    for name in names:
        postgres.drop(name)


@pytest.fixture
def database(make_database: Callable[..., FreshDatabase]) -> FreshDatabase:
    """A fresh migrated database with the host's row-level security on."""
    return make_database()


@pytest.fixture
def make_empty_database(postgres: Server) -> Iterator[Callable[[], FreshDatabase]]:
    """Makes databases with nothing in them; dropped after the test."""
    names: list[str] = []

    def make() -> FreshDatabase:
        names.append(f"test_{secrets.token_hex(6)}")
        return postgres.create(names[-1])

    yield make
    for name in names:
        postgres.drop(name)
