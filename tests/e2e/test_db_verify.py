"""``evercgm db verify`` as a person runs it, and the roles with which ``serve`` and ``work`` refuse to start."""

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from demo_process import environment
from psycopg import sql

COMMAND = [sys.executable, "-m", "evercgm.cli.main"]
FIELDS = {"id", "status", "object", "expected", "found"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with settings of its own: ``run("db", "verify", DATABASE_URL=…)``."""

    def call(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**environment(tmp_path), **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def checks(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return list(json.loads(done.stdout)["checks"])


def break_it(database, statement: str) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_migrated_database_is_proved_live_in_one_line_of_json(run, database):
    done = run("db", "verify", "--live", "--strict", "--json", MIGRATION_DATABASE_URL=database.owner_dsn)

    found = checks(done)
    assert done.returncode == 0, found
    assert all(set(check) == FIELDS for check in found)
    assert {check["status"] for check in found} == {"ok"}
    assert sum(check["id"] == "L1" for check in found) == 7


def test_a_failure_names_the_object_what_was_expected_why_and_what_to_do(run, database):
    break_it(database, "grant select (access_token) on cgm_connections to authenticated")

    done = run("db", "verify", MIGRATION_DATABASE_URL=database.owner_dsn)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("FAIL"))
    assert lines[place].endswith("column public.cgm_connections.access_token")
    assert [line.split()[0] for line in lines[place + 1 : place + 5]] == ["expected", "found", "why", "do"]
    assert "0 warnings, 1 failed, 0 unknown" in lines[-1]


def test_a_name_with_what_does_not_print_forges_no_line(run, database):
    break_it(database, 'create index "a\nok   T1  tables and columns: all" on cgm_connections (device_id)')

    done = run("db", "verify", MIGRATION_DATABASE_URL=database.owner_dsn)

    (line,) = (line for line in done.stdout.splitlines() if "tables and columns: all" in line and "WARN" in line)
    assert line.endswith(r'index public.cgm_connections."a\nok   T1  tables and columns: all"')


def test_warnings_are_good_unless_they_are_held_strictly(run, database):
    break_it(database, 'drop index "Person_ownerId_idx"')

    plain = run("db", "verify", MIGRATION_DATABASE_URL=database.owner_dsn)
    strict = run("db", "verify", "--strict", MIGRATION_DATABASE_URL=database.owner_dsn)

    assert (plain.returncode, strict.returncode) == (0, 1)
    assert "@@index([ownerId])" in plain.stdout
    assert 'create index concurrently "Person_ownerId_idx"' in plain.stdout


def test_the_services_own_address_is_enough_and_the_live_proof_needs_more(run, database):
    plain = run("db", "verify", "--json", DATABASE_URL=database.service_dsn)
    live = run("db", "verify", "--json", "--live", DATABASE_URL=database.service_dsn)

    assert (plain.returncode, live.returncode) == (0, 2)
    assert [check["id"] for check in checks(live) if check["status"] != "ok"] == ["L1"]


def test_a_service_that_logs_in_as_superuser_is_told(run, database):
    both = {"MIGRATION_DATABASE_URL": database.owner_dsn, "DATABASE_URL": database.admin_dsn}

    apart, alone = run("db", "verify", "--json", **both), run("db", "verify", DATABASE_URL=database.admin_dsn)

    (found,) = (check for check in checks(apart) if check["status"] != "ok")
    assert (apart.returncode, found["id"], found["found"]) == (1, "R1", "is a superuser")
    assert alone.returncode == 0
    assert "WARN R1" in alone.stdout


@pytest.mark.parametrize(
    "url",
    ["postgresql://someone:marked-password@127.0.0.1:1/x", "marked-password", "mysql://u:marked-password@127.0.0.1/x"],
)
def test_an_address_that_leads_nowhere_is_told_without_being_repeated(run, url):
    done = run("db", "verify", "--json", MIGRATION_DATABASE_URL=url)

    assert done.returncode == 2
    assert "MIGRATION_DATABASE_URL" in done.stderr
    assert "marked-password" not in done.stdout + done.stderr
    assert "127.0.0.1" not in done.stdout + done.stderr


def test_without_a_database_it_makes_none(run, tmp_path):
    done = run("db", "verify")

    assert done.returncode == 2
    assert "not set" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_form_is_bad_use(run, database):
    done = run("db", "verify", "--expect", "finished", MIGRATION_DATABASE_URL=database.owner_dsn)

    assert done.returncode == 2
    assert "staging" in done.stderr


@pytest.mark.parametrize("command", ["serve", "work"])
def test_serve_and_work_refuse_a_role_that_may_do_more(run, database, command):
    name = f"test_strong_{secrets.token_hex(4)}"
    dsn = database.service_dsn.replace(database.service_dsn.split("@")[0], f"postgresql://{name}:x")
    key = {"ENCRYPTION_KEY": secrets.token_hex(32)}
    break_it(database, run("db", "login-role", name).stdout)
    break_it(database, f"alter role {name} password 'x'; grant service_role to {name}")
    try:
        done = [run(command, DATABASE_URL=one, **key) for one in (dsn, database.admin_dsn, database.owner_dsn)]
    finally:
        break_it(database, f"drop role {name}")

    assert [one.returncode for one in done] == [2, 2, 2]
    reasons = ("may become service_role", "is a superuser", "owns tables of ours")
    assert all(reason in one.stderr for reason, one in zip(reasons, done, strict=True))


def test_a_worker_refuses_a_strong_connection_of_its_own_and_works_with_least_rights(run, database, tmp_path):
    name = f"test_least_{secrets.token_hex(4)}"
    dsn = database.service_dsn.replace(database.service_dsn.split("@")[0], f"postgresql://{name}:x")
    env = {"DATABASE_URL": dsn, "ENCRYPTION_KEY": secrets.token_hex(32)}
    break_it(database, run("db", "login-role", name).stdout)
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} password 'x'").format(sql.Identifier(name)))
    try:
        strong = {"WORKER_DATABASE_URL": database.admin_dsn}
        refused = [run("work", **strong, **env), run("serve", "--port", "0", **strong, **env)]
        started = _starts({**environment(tmp_path), **env})
    finally:
        break_it(database, f"drop role {name}")

    assert [done.returncode for done in refused] == [2, 2]
    assert all("WORKER_DATABASE_URL: role" in done.stderr for done in refused)
    assert started == 0


def _starts(env: dict[str, str]) -> int:
    """Start a worker, wait for its word, end it: its exit code."""
    command = [*COMMAND, "work", "--log-format", "json"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("worker_started" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        return process.wait(timeout=30)
