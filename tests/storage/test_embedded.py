"""The PostgreSQL of our own: made, found again, stopped, killed and started again, as root and as anybody."""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from evercgm.storage import embedded
from evercgm.storage.postgres_binaries import EmbeddedError
from evercgm.storage.schema.prepare import prepare

SOURCE = Path(embedded.__file__).parents[2]
AS_ORDINARY_USER = """
import os, sys
from pathlib import Path
import psycopg
from evercgm.storage import embedded
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
try:
    server = embedded.start(Path(sys.argv[1]))
    with psycopg.connect(server.superuser_dsn) as connection:
        print(connection.execute("select current_database()").fetchone()[0])
    embedded.stop(Path(sys.argv[1]))
except embedded.EmbeddedError as error:
    print(error)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory that everybody may search (pytest's own are closed to the server's account)."""
    folder = Path(tempfile.mkdtemp(prefix="evercgm-embedded-"))
    folder.chmod(0o755)
    yield folder / "data"
    embedded.stop(folder / "data")
    shutil.rmtree(folder)


def postmaster(server: embedded.Embedded) -> int:
    return int((server.server_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found.append(int(entry.parent.name))
    return found


@contextmanager
def reserved(port: int) -> Iterator[None]:
    """Nobody is given this port of a stopped server meanwhile; the server itself, which asks for it, gets it again."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        yield


def wait_for_listener(port: int) -> None:
    """Until somebody listens there; a minute is far beyond what any machine needs."""
    give_up = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < give_up, "nobody came to listen"
            time.sleep(0.05)
        else:
            return


def ordinary(data_dir: Path) -> str:
    """What a start as an unprivileged user says."""
    who = pwd.getpwnam("nobody")
    done = subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER, str(data_dir), str(who.pw_gid), str(who.pw_uid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.stderr == ""
    return done.stdout.strip()


async def test_the_first_start_makes_a_server_that_the_service_can_use(data_dir):
    server = embedded.start(data_dir)
    applied = await prepare(server)

    again = await prepare(server)

    assert len(applied) == 5
    assert again == []
    with psycopg.connect(server.service_dsn) as connection:
        connection.execute("set role cgm_worker")
        assert connection.execute("select count(*) from public.cgm_connections").fetchone() == (0,)


def test_neither_owner_nor_service_is_a_superuser(data_dir):
    server = embedded.start(data_dir)

    with psycopg.connect(server.superuser_dsn) as connection:
        row = connection.execute(
            "select rolsuper, rolbypassrls from pg_roles where rolname = 'evercgm_owner'"
        ).fetchone()

    assert row == (False, False)


def test_a_running_server_is_returned_as_it_is(data_dir):
    server = embedded.start(data_dir)
    pid = postmaster(server)

    assert server == embedded.start(data_dir)
    assert pid == postmaster(server)


def test_a_later_start_finds_data_port_and_passwords_again(data_dir):
    server = embedded.start(data_dir)
    with psycopg.connect(server.owner_dsn) as connection:
        connection.execute("create table kept as select 42 as answer")
    embedded.stop(data_dir)
    embedded.stop(data_dir)

    with reserved(server.port):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.owner_dsn)
        later = embedded.start(data_dir)

    assert server == later
    with psycopg.connect(later.owner_dsn) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


@pytest.mark.parametrize("with_children", [True, False])
def test_after_kill_9_a_start_finds_what_was_committed(data_dir, with_children):
    server = embedded.start(data_dir)
    with psycopg.connect(server.owner_dsn) as connection:
        connection.execute("create table kept as select 42 as answer")
    busy = psycopg.connect(server.owner_dsn)
    busy.execute("insert into kept values (43)")

    pid = postmaster(server)
    victims = [pid, *children(pid)] if with_children else [pid]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    later = embedded.start(data_dir)

    # It has not waited for the minute that pg_ctl is given; how long a busy machine takes is no matter.
    assert time.monotonic() - started < 50
    busy.close()
    with psycopg.connect(later.owner_dsn) as connection:
        assert connection.execute("select answer from kept").fetchall() == [(42,)]


def test_another_program_on_the_port_is_no_obstacle(data_dir):
    server = embedded.start(data_dir)
    embedded.stop(data_dir)
    blocker = subprocess.Popen(
        [sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(server.port)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for_listener(server.port)
        later = embedded.start(data_dir)

        assert server.port != later.port
        assert later == embedded.start(data_dir)
    finally:
        blocker.terminate()
        blocker.wait()


def test_nothing_listens_beyond_the_loopback_address(data_dir):
    server = embedded.start(data_dir)
    port = f"{server.port:04X}"

    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"
    ]

    assert [f"0100007F:{port}"] == listening
    assert f".s.PGSQL.{server.port}" not in Path("/proc/net/unix").read_text()


def test_passwords_are_asked_for_and_kept_to_ourselves(data_dir):
    server = embedded.start(data_dir)
    notes = data_dir / "postgres.json"

    assert stat.S_IMODE(notes.stat().st_mode) == 0o600
    assert server.service_password not in repr(server)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://evercgm_owner:wrong@127.0.0.1:{server.port}/evercgm")


def test_a_failed_statement_leaves_no_values_in_the_server_s_log(data_dir):
    server = embedded.start(data_dir)
    with psycopg.connect(server.owner_dsn, autocommit=True) as connection:
        connection.execute("create table t (secret text check (secret = ''))")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("insert into t values ('marked-token')")

    assert "marked-token" not in (server.server_dir / "postgres.log").read_text()


def test_an_ordinary_user_starts_one_too(data_dir):
    data_dir.mkdir()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)

    assert ordinary(data_dir) == "evercgm"


def test_a_directory_that_is_not_writable_is_named_in_one_line(data_dir):
    data_dir.mkdir()
    data_dir.chmod(0o555)

    assert f"the data directory {data_dir} is not writable: Permission denied" == ordinary(data_dir)

    data_dir.chmod(0o755)
    file = data_dir / "file"
    file.touch()
    with pytest.raises(EmbeddedError, match=r"not writable: Not a directory$"):
        embedded.start(file / "below")


def test_lost_passwords_are_named_and_nothing_is_made_anew(data_dir):
    embedded.start(data_dir)
    embedded.stop(data_dir)
    notes = (data_dir / "postgres.json").read_text()
    (data_dir / "postgres.json").unlink()

    with pytest.raises(EmbeddedError, match=r"postgres\.json is missing"):
        embedded.start(data_dir)

    (data_dir / "postgres.json").write_text(notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server is the user")
def test_as_root_below_a_closed_folder_the_files_go_elsewhere_and_it_is_said_once(data_dir):
    data_dir.mkdir()
    data_dir.parent.chmod(0o700)
    said: list[str] = []

    server = embedded.start(data_dir, report=said.append)
    try:
        embedded.stop(data_dir)
        with reserved(server.port):
            later = embedded.start(data_dir, report=said.append)
    finally:
        embedded.stop(data_dir)
        shutil.rmtree(server.server_dir)

    assert server == later
    assert len(said) == 1
    assert str(server.server_dir) in said[0]
