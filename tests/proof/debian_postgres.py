"""A throw-away cluster of Debian's PostgreSQL 15, never the system's: made in a folder of its own, gone afterwards."""

import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from evercgm.storage.postgres_binaries import server_account

BINARIES = Path("/usr/lib/postgresql/15/bin")
# A server as a European host might have it: neither is what our code may count on.
FOREIGN_HABITS = {"timezone": "Europe/Berlin", "datestyle": "German,DMY"}
_FOR_TESTS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "unix_socket_directories": ""}


@dataclass(frozen=True)
class Place:
    """A database of a server, everything in it done by that server's administrator."""

    admin_dsn: str
    owner_dsn: str


@contextmanager
def fresh_places(*urls: str) -> Iterator[list[Place]]:
    """An empty database on each server (superusers' URLs) with the habits of another country; dropped afterwards."""
    plain = f"proof_{secrets.token_hex(6)}"
    name = sql.Identifier(plain)
    habits = [
        sql.SQL("alter database {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        for setting, value in FOREIGN_HABITS.items()
    ]
    for url in urls:
        _execute(url, sql.SQL("create database {} template template0").format(name), *habits)
    dsns = [urlsplit(url)._replace(path=f"/{plain}").geturl() for url in urls]
    try:
        yield [Place(dsn, dsn) for dsn in dsns]
    finally:
        for url in urls:
            _execute(url, sql.SQL("drop database {} with (force)").format(name))


def _execute(url: str, *statements: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def debian_cluster() -> Iterator[str]:
    """A running PostgreSQL 15 with the habits of another country; the superuser's URL."""
    if not (BINARIES / "initdb").is_file():
        pytest.fail("Debian's PostgreSQL 15 is missing; install it with: sudo apt-get install -y postgresql-15")
    account, password = server_account(), secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="evercgm-pg15-"))
    word, data, port = folder / "password", folder / "data", free_port()
    word.touch(mode=0o600)
    word.write_text(password)
    account.own(folder, word)
    words = " ".join(f"-c {name}={value}" for name, value in {**_FOR_TESTS, **FOREIGN_HABITS, "port": port}.items())
    try:
        made = account.run(
            [
                *(BINARIES / "initdb", "-D", data, "-U", "admin", "-A", "scram-sha-256", f"--pwfile={word}"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ]
        )
        assert made.returncode == 0, made.stderr
        pg_ctl = [BINARIES / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        started = account.run([*pg_ctl, "-o", words.replace("directories=", "directories=''"), "start"])
        assert started.returncode == 0, (folder / "log").read_text()
        try:
            yield f"postgresql://admin:{password}@127.0.0.1:{port}/postgres"
        finally:
            account.run([*pg_ctl, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
