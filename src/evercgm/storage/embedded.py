"""The PostgreSQL that we start ourselves: made once, started, stopped, and started again after any crash.

It listens on the loopback address alone, with passwords, as an unprivileged account, and it syncs to disk.
Creating our tables in it is prepare.py's work.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from evercgm.storage.postgres_binaries import (
    Account,
    Binaries,
    EmbeddedError,
    find_binaries,
    runnable_by,
    server_account,
)

HOST = "127.0.0.1"
DATABASE = "evercgm"
SUPERUSER, OWNER, SERVICE = "evercgm_admin", "evercgm_owner", "evercgm"
RELOCATED = Path("/var/lib/evercgm")
_RETRY_FOR_S = 10.0
# The log may not repeat what a failed statement carried: terse drops "Failing row contains (...)".
_CONFIGURATION = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running server. The DSNs carry passwords, so they are kept out of ``repr``."""

    port: int
    server_dir: Path
    service_dsn: str = field(repr=False)
    owner_dsn: str = field(repr=False)
    superuser_dsn: str = field(repr=False)
    service_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Notes:
    """What ``postgres.json`` remembers, mode 0600."""

    server_dir: str
    port: int
    superuser_password: str = field(repr=False)
    owner_password: str = field(repr=False)
    service_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Server:
    """One server on disk: where, by which programs, as whom."""

    home: Path
    binaries: Binaries
    account: Account

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    def pg_ctl(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pg_ctl on this server and wait for what it does, at most a minute."""
        program = str(self.binaries.folder / "pg_ctl")
        return self.account.run([program, verb, "-D", str(self.data), "-w", "-t", "60", *words])


def start(
    data_dir: Path,
    *,
    options: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Embedded:
    """Start the server of this data directory, made first where it is new; a running one is returned.

    ``options``: further server parameters, for tests. ``report`` gets one line where files go elsewhere.
    Raises EmbeddedError with one line that says what is wrong.
    """
    data_dir = data_dir.absolute()
    _make_writable(data_dir)
    with _locked(data_dir):
        account = server_account()
        notes = _read_notes(data_dir) or _new_notes(data_dir, account, report)
        if not _running(notes):
            server = _server(notes, account)
            if not (server.data / "PG_VERSION").is_file():
                _initialise(server, notes)
            notes = _launch(server, notes, data_dir, options or {})
        _make_owner_and_database(notes)
        return _embedded(notes)


def is_running(data_dir: Path) -> bool:
    """Whether the server of this data directory answers."""
    notes = _read_notes(data_dir)
    return notes is not None and _running(notes)


def stop(data_dir: Path) -> None:
    """Stop the server (open transactions are rolled back); one that does not run is fine."""
    data_dir = data_dir.absolute()
    if not (data_dir / "postgres.json").is_file():
        return
    with _locked(data_dir):
        notes = _read_notes(data_dir)
        if notes is None or not _running(notes):
            return
        server = _server(notes, server_account())
        stopped = server.pg_ctl("stop", "-m", "fast")
        if stopped.returncode != 0:
            raise EmbeddedError(f"PostgreSQL in {server.data} did not stop: {stopped.stderr.strip()}")


def _make_writable(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        probe = data_dir / f".probe-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EmbeddedError(f"the data directory {data_dir} is not writable: {error.strerror}") from error


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One starter or stopper at a time; the kernel drops the lock of a killed one."""
    with (data_dir / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_notes(data_dir: Path) -> _Notes | None:
    path = data_dir / "postgres.json"
    if path.is_file():
        try:
            return _Notes(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise EmbeddedError(f"{path} cannot be read: restore it from a backup") from error
    if (data_dir / "postgres").exists():
        raise EmbeddedError(f"{data_dir}/postgres.json is missing: restore it, or move the folder postgres away")
    return None


def _new_notes(data_dir: Path, account: Account, report: Callable[[str], None]) -> _Notes:
    home = data_dir
    if not account.can_search(data_dir):
        home = RELOCATED / f"{data_dir.name}-{secrets.token_hex(6)}"
        home.mkdir(parents=True)
        for folder in (home, RELOCATED):
            folder.chmod(0o755)
        report(f"the database's files are in {home}, because its account cannot search {data_dir}")
    notes = _Notes(str(home), 0, secrets.token_hex(24), secrets.token_hex(24), secrets.token_hex(24))
    _write_notes(data_dir, notes)
    return notes


def _write_notes(data_dir: Path, notes: _Notes) -> None:
    path, fresh = data_dir / "postgres.json", data_dir / "postgres.json.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(notes), file)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def _server(notes: _Notes, account: Account) -> _Server:
    home = Path(notes.server_dir)
    version = home / "postgres" / "PG_VERSION"
    major = int(version.read_text()) if version.is_file() else None
    binaries = runnable_by(account, find_binaries(major), home)
    return _Server(home, binaries, account)


def _initialise(server: _Server, notes: _Notes) -> None:
    """Make the cluster in a folder of another name, renamed when it is whole."""
    unfinished = server.home / "postgres.new"
    password = server.home / "postgres.password"
    for locale in ("C.UTF-8", "C"):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password.touch(mode=0o600)
        server.account.own(unfinished, password)
        password.write_text(notes.superuser_password)
        try:
            made = server.account.run(_initdb(server, unfinished, password, locale))
        finally:
            password.unlink()
        if made.returncode == 0:
            break
    else:
        raise EmbeddedError(f"initdb failed: {(made.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    with (unfinished / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in _CONFIGURATION.items())
    unfinished.rename(server.data)


def _initdb(server: _Server, target: Path, password: Path, locale: str) -> list[str | Path]:
    # Compared byte by byte: the order of C.UTF-8, without asking the C library at each key of an index.
    return [
        *(server.binaries.folder / "initdb", "-D", target, "-U", SUPERUSER, f"--pwfile={password}"),
        *("-A", "scram-sha-256", "-E", "UTF8", f"--locale={locale}", "--lc-collate=C", "--no-sync"),
    ]


def _launch(server: _Server, notes: _Notes, data_dir: Path, options: Mapping[str, str]) -> _Notes:
    """Start, again and again while the children of a killed server still exit, up to ten seconds."""
    server.log.touch(mode=0o600)
    server.account.own(server.log)
    give_up = time.monotonic() + _RETRY_FOR_S
    port_taken = notes.port == 0
    while True:
        if port_taken:
            notes = replace(notes, port=_free_port())
            _write_notes(data_dir, notes)
        log_starts = server.log.stat().st_size
        settings = {"port": str(notes.port), **options}
        words = " ".join(f"-c {name}={value}" for name, value in settings.items())
        started = server.pg_ctl("start", "-l", str(server.log), "-o", words)
        if started.returncode == 0 or _running(notes):
            return notes
        said = _log_from(server.log, log_starts)
        port_taken = "Address already in use" in said or "could not create any TCP/IP sockets" in said
        passing = port_taken or "lock file" in said or "still in use" in said
        if not passing or time.monotonic() > give_up:
            why = [line for line in said.splitlines() if "FATAL" in line] or [started.stderr.strip()]
            raise EmbeddedError(f"PostgreSQL in {server.data} did not start: {why[0]} (see {server.log})")
        time.sleep(0.2)


def _log_from(log: Path, position: int) -> str:
    with log.open("rb") as file:
        file.seek(position)
        return file.read().decode(errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _running(notes: _Notes) -> bool:
    """Whether our server answers to our password from our folder; another program on the port is not it."""
    if notes.port == 0 or not (Path(notes.server_dir) / "postgres" / "postmaster.pid").is_file():
        return False
    try:
        with psycopg.connect(_dsn(notes, SUPERUSER, "postgres"), connect_timeout=5) as connection:
            row = connection.execute("show data_directory").fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None and Path(row[0]).resolve() == (Path(notes.server_dir) / "postgres").resolve()


def _embedded(notes: _Notes) -> Embedded:
    return Embedded(
        port=notes.port,
        server_dir=Path(notes.server_dir),
        service_dsn=_dsn(notes, SERVICE, DATABASE),
        owner_dsn=_dsn(notes, OWNER, DATABASE),
        superuser_dsn=_dsn(notes, SUPERUSER, DATABASE),
        service_password=notes.service_password,
    )


def _dsn(notes: _Notes, user: str, database: str) -> str:
    passwords = {
        SUPERUSER: notes.superuser_password,
        OWNER: notes.owner_password,
        SERVICE: notes.service_password,
    }
    return f"postgresql://{user}:{passwords[user]}@{HOST}:{notes.port}/{database}"


def verifier(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], role: str, password: str) -> str:
    """What the server keeps of a password (SCRAM-SHA-256): made here, so that no log of statements shows it."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _make_owner_and_database(notes: _Notes) -> None:
    """The database's owner may make roles but is no superuser; prepare.py makes the service's role."""
    with psycopg.connect(_dsn(notes, SUPERUSER, "postgres"), autocommit=True) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
            connection.execute(
                sql.SQL("create role {} login createrole nosuperuser nobypassrls password {}").format(
                    sql.Identifier(OWNER), sql.Literal(verifier(connection, OWNER, notes.owner_password))
                )
            )
        if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
            )
