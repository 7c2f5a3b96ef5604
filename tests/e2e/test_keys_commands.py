"""``evercgm keys …`` as an operator types it: what is printed, exit codes, and no secret in any of it."""

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo_process import environment, until
from sealed_world import fill, fill_connections, run

from evercgm.settings import KEY_BYTES
from evercgm.storage.database import open_database
from evercgm.storage.vault import Vault, key_id

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
RING = {"ENCRYPTION_KEY": NEW.hex(), "ENCRYPTION_KEYS_PREVIOUS": OLD.hex()}
UNDER_NEW = "select count(*) from public.cgm_connections where access_token like %s"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def keys(tmp_path: Path, database: Any) -> Command:
    """Runs ``evercgm keys …`` on the test's database; refuses to see a key or token in its output."""

    def command(*arguments: str, shows_key: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "evercgm.cli.main", "keys", *arguments],
            env={**environment(tmp_path / "data"), "DATABASE_URL": database.service_dsn, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        printed = done.stdout + done.stderr
        for secret in (OLD.hex(), NEW.hex(), "access-token", "refresh-token", "plain-", "PRIVATE KEY"):
            assert secret not in printed
        assert "v1." not in printed
        assert "Traceback" not in printed
        return done

    return command


async def filled(database: Any) -> str:
    async with open_database(database.service_dsn, Vault(OLD)) as db:
        return await fill(db, database.admin_dsn)


def of(answer: dict[str, Any], key: bytes) -> dict[str, Any]:
    return next(one for one in answer["keys"] if one["key_id"] == key_id(key))


def test_a_new_key_stands_alone_on_stdout_and_may_be_used_at_once(keys: Command) -> None:
    first, second = keys("new"), keys("new", ENCRYPTION_KEY="no key")

    key = first.stdout.strip()
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == f"{key}\n"
    assert len(bytes.fromhex(key)) == KEY_BYTES
    assert key != second.stdout.strip()
    assert key_id(bytes.fromhex(key)) in first.stderr
    assert key not in first.stderr
    assert "ENCRYPTION_KEYS_PREVIOUS" in first.stderr
    assert keys("status", ENCRYPTION_KEY=key).returncode == 0


def test_a_new_key_for_programs(keys: Command) -> None:
    answer = json.loads(keys("new", "--json").stdout)

    assert set(answer) == {"key", "key_id"}
    assert answer["key_id"] == key_id(bytes.fromhex(answer["key"]))


async def test_status_counts_by_place_form_and_key_and_says_who_is_needed(database: Any, keys: Command) -> None:
    await filled(database)

    done = keys("status", "--json", **RING)

    answer = json.loads(done.stdout)
    places = {place.pop("place"): place for place in answer["places"]}
    assert done.returncode == 0
    assert places["cgm_connections.access_token"]["ours"] == {key_id(OLD): 1}
    assert places["host_connections.access_token"]["host"] == 1
    assert places["host_connections.refresh_token"]["plain"] == 1
    assert places["oauth_attempts.pkce_verifier"]["empty"] == 1
    assert of(answer, OLD) == {"key_id": key_id(OLD), "primary": False, "values": 11, "removable": False}
    assert of(answer, NEW) == {"key_id": key_id(NEW), "primary": True, "values": 0, "removable": False}
    assert answer["unopened"] == 0


async def test_a_person_reads_a_line_a_place_and_a_key(database: Any, keys: Command) -> None:
    await filled(database)

    done = keys("status", **RING)

    lines = done.stdout.splitlines()
    assert any(line.split() == ["cgm_connections.access_token", "1", "under", key_id(OLD)] for line in lines)
    assert f"key {key_id(OLD)}: needed by 11 values: evercgm keys rotate" in lines
    assert lines[-2].startswith(f"key {key_id(NEW)}: ENCRYPTION_KEY, 0 values")


async def test_rotated_after_a_dry_run_and_the_old_key_is_called_removable(database: Any, keys: Command) -> None:
    await filled(database)
    tokens = "select access_token, refresh_token from public.cgm_connections order by id"
    before = run(database.admin_dsn, tokens)

    dry = keys("rotate", "--dry-run", **RING)

    assert dry.returncode == 0
    assert dry.stdout.startswith(f"11 values would be sealed anew with {key_id(NEW)}.")
    assert before == run(database.admin_dsn, tokens)

    done = keys("rotate", "--json", **RING)

    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert sum(answer["resealed"].values()) == 11
    assert of(answer, OLD) == {"key_id": key_id(OLD), "primary": False, "values": 0, "removable": True}
    words = keys("rotate", **RING)
    assert "nothing to seal anew" in words.stdout
    assert f"key {key_id(OLD)}: needed by 0 values; an old key may be removed once every serve and work" in words.stdout
    assert keys("status", ENCRYPTION_KEY=NEW.hex()).returncode == 0


async def test_no_key_is_called_removable_while_a_value_does_not_open(database: Any, keys: Command) -> None:
    connection_id = await filled(database)
    lost = Vault(secrets.token_bytes(32))
    run(
        database.admin_dsn,
        "update public.cgm_connections set access_token = %s where id = %s",
        f"v1.{lost.key_ids[0]}.AAAA",
        connection_id,
    )

    done, told = keys("rotate", "--json", **RING), keys("status", **RING)

    answer = json.loads(done.stdout)
    assert (done.returncode, told.returncode) == (1, 1)
    assert answer["unopened"] == 1
    assert of(answer, OLD) == {"key_id": key_id(OLD), "primary": False, "values": 0, "removable": False}
    assert f"1 unreadable (naming key {lost.key_ids[0]})" in told.stdout
    assert "1 values do not open" in told.stdout
    assert "may be removed once" not in told.stdout


async def test_without_the_old_key_status_fails_and_rotation_changes_nothing(database: Any, keys: Command) -> None:
    await filled(database)
    tokens = "select access_token, refresh_token from public.cgm_connections order by id"
    before = run(database.admin_dsn, tokens)

    status, done = (keys(word, "--json", ENCRYPTION_KEY=NEW.hex()) for word in ("status", "rotate"))

    assert (status.returncode, done.returncode) == (1, 1)
    assert json.loads(status.stdout)["unopened"] == 9
    assert before == run(database.admin_dsn, tokens)


def test_where_the_database_does_not_answer_it_cannot_tell(keys: Command) -> None:
    done = keys("status", DATABASE_URL="postgresql://u:marked-password@127.0.0.1:1/x", ENCRYPTION_KEY=NEW.hex())

    assert done.returncode == 2
    assert done.stdout == ""
    assert "marked-password" not in done.stderr


async def test_where_the_database_refuses_to_be_read_it_cannot_tell_and_a_rotation_fails(
    database: Any, keys: Command
) -> None:
    await filled(database)
    run(database.admin_dsn, "revoke usage on schema cgm_private from cgm_worker")

    status, rotation = keys("status", **RING), keys("rotate", **RING)

    assert (status.returncode, rotation.returncode) == (2, 1)
    assert status.stdout == ""
    for done in (status, rotation):
        assert (
            done.stderr.splitlines()[-1] == "evercgm: the database does not answer or refuses (InsufficientPrivilege)"
        )


def test_without_a_key_it_is_said(keys: Command) -> None:
    done = keys("rotate")

    assert done.returncode == 2
    assert "ENCRYPTION_KEY is not set" in done.stderr


async def test_a_key_left_in_the_data_directory_opens_and_seals_nothing_beside_a_database_of_ones_own(
    database: Any, keys: Command, tmp_path: Path
) -> None:
    await filled(database)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "encryption.key").write_text(OLD.hex())
    before = run(database.admin_dsn, "select access_token, refresh_token from public.cgm_connections order by id")

    started = serve(tmp_path, {"DATABASE_URL": database.service_dsn})
    for done in (keys("status"), keys("rotate"), keys("renew", "--yes"), started):
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("evercgm: ENCRYPTION_KEY is not set")
        assert "data directory" in done.stderr
        assert OLD.hex() not in done.stderr

    assert before == run(
        database.admin_dsn, "select access_token, refresh_token from public.cgm_connections order by id"
    )
    assert json.loads(keys("status", "--json", **RING).stdout)["unopened"] == 0


def test_a_superuser_is_refused(keys: Command, database: Any) -> None:
    done = keys("rotate", DATABASE_URL=database.admin_dsn, **RING)

    assert done.returncode == 2
    assert "superuser" in done.stderr


def test_a_rotation_killed_half_way_has_lost_nothing_and_goes_on(database: Any, keys: Command, tmp_path: Path) -> None:
    count = 10_000
    fill_connections(Vault(OLD), database.admin_dsn, count)
    new = f"v1.{key_id(NEW)}.%"
    with half_way_closed(database.admin_dsn, count):
        process = subprocess.Popen(
            [sys.executable, "-m", "evercgm.cli.main", "keys", "rotate", "--json"],
            env={**environment(tmp_path / "data"), "DATABASE_URL": database.service_dsn, **RING},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        until(lambda: run(database.admin_dsn, UNDER_NEW, new)[0][0], "a part is sealed anew")
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        printed, _ = process.communicate()
    done_first = run(database.admin_dsn, UNDER_NEW, new)[0][0]

    assert printed == ""
    assert 0 < done_first < count
    half_way = json.loads(keys("status", "--json", **RING).stdout)
    assert half_way["unopened"] == 0
    assert of(half_way, OLD)["values"] == 2 * (count - done_first)

    resumed = keys("rotate", "--json", **RING)

    answer = json.loads(resumed.stdout)
    assert resumed.returncode == 0
    assert answer["resealed"]["cgm_connections.access_token"] == count - done_first
    assert of(answer, NEW)["values"] == 2 * count
    phases = run(database.admin_dsn, "select detail ->> 'phase' from cgm_private.audit_events order by id")
    assert phases == [("begun",), ("begun",), ("ended",)]
    assert json.loads(keys("status", "--json", ENCRYPTION_KEY=NEW.hex()).stdout)["unopened"] == 0


@contextmanager
def half_way_closed(dsn: str, count: int) -> Iterator[None]:
    """Nobody gets past the middle one of the connections meanwhile, however late we look."""
    middle = "select id from public.cgm_connections order by id offset %s limit 1"
    ((id_,),) = run(dsn, middle, count // 2)
    run(
        dsn,
        f"""create function public.wait() returns trigger language plpgsql as
            'begin perform pg_advisory_xact_lock_shared(1); return new; end';
            create trigger wait before update on public.cgm_connections for each row
            when (old.id = '{id_}') execute function public.wait()""",
    )
    with psycopg.connect(dsn) as gate:
        gate.execute("select pg_advisory_xact_lock(1)")
        yield
    # Whoever waited there has ended before the table can be had.
    run(dsn, "drop trigger wait on public.cgm_connections; drop function public.wait()")


@pytest.mark.parametrize(
    ("env", "name", "hint"),
    [
        ({}, "ENCRYPTION_KEY", "is not set"),
        ({"ENCRYPTION_KEY": "ab" * 31}, "ENCRYPTION_KEY", "31 bytes"),
        ({"ENCRYPTION_KEY": "00" * 32}, "ENCRYPTION_KEY", "one byte repeated"),
        ({"ENCRYPTION_KEY": OLD.hex(), "ENCRYPTION_KEYS_PREVIOUS": OLD.hex()}, "ENCRYPTION_KEYS_PREVIOUS", "twice"),
        ({"ENCRYPTION_KEYS_PREVIOUS": OLD.hex()}, "ENCRYPTION_KEYS_PREVIOUS", "without ENCRYPTION_KEY"),
    ],
)
def test_the_service_does_not_start_without_a_usable_ring(
    database: Any, tmp_path: Path, env: dict[str, str], name: str, hint: str
) -> None:
    done = serve(tmp_path, {"DATABASE_URL": database.service_dsn, **env})

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr
    assert hint in done.stderr
    assert OLD.hex() not in done.stderr


async def test_a_process_with_the_old_key_alone_does_not_start_on_a_rotated_database(
    database: Any, keys: Command, tmp_path: Path
) -> None:
    await filled(database)
    keys("rotate", **RING)

    done = serve(tmp_path, {"DATABASE_URL": database.service_dsn, "ENCRYPTION_KEY": OLD.hex()})

    assert done.returncode == 1
    assert "signing_keys.sealed_private: no key of the ring opens this value" in done.stderr


def serve(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", "serve", "--port", "0", "--no-worker"],
        env={**environment(folder / "data"), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_a_renewal_is_asked_for_on_purpose_and_says_what_it_reaches(database: Any, keys: Command) -> None:
    await filled(database)
    ended = "select count(*) from public.cgm_connections where token_expires_at <= now() at time zone 'UTC'"
    before = run(database.admin_dsn, ended)

    unasked = keys("renew", **RING)
    untouched = run(database.admin_dsn, ended)
    told = keys("renew", "--yes", **RING)
    for_programs = keys("renew", "--yes", "--json", **RING)

    assert (unasked.returncode, told.returncode, for_programs.returncode) == (2, 0, 0)
    assert "--yes" in unasked.stderr
    assert before == untouched
    assert "will be renewed at their next sync" in told.stdout
    assert "within two hours" in told.stdout
    assert sum(json.loads(for_programs.stdout)["renewed_at_next_call"].values()) > 0
