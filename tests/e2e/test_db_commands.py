"""The database commands as whole processes: what they print, their exit codes, and nothing secret in any of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo_process import environment
from starts import lay

# Pieces of tokens, persons and passwords of the sample rows and of the addresses that are given here.
SECRET = ("plain-access", "plain-refresh", "enc:placeholder", "hidden-password", "127.0.0.1", "postgresql://")
ENVIRONMENTS = """
[environments.staging]
database = "STAGING_URL"

[environments.production]
database = "PRODUCTION_URL"

[environments.old-development]
decommissioned = "2025-10-14: consolidated into staging"
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def addresses(make_empty_database: Any) -> dict[str, str]:
    """STAGING and PRODUCTION as the report left them, by the variable that holds the address."""
    found = {}
    for name in ("staging", "production"):
        fresh = make_empty_database()
        await lay(fresh, name)
        found[f"{name.upper()}_URL"] = fresh.admin_dsn
    return found


@pytest.fixture
def evercgm(tmp_path: Path, addresses: dict[str, str]) -> Command:
    """Runs ``evercgm db …`` in a folder with a file of environments; refuses to see anything secret in its output."""
    (tmp_path / "evercgm.toml").write_text(ENVIRONMENTS)

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "evercgm.cli.main", "db", *arguments],
            env={**environment(tmp_path / "data"), **addresses, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        printed = done.stdout + done.stderr
        passwords = [dsn.split("@")[0].rpartition(":")[2] for dsn in addresses.values()]
        for secret in (*SECRET, *(one for one in passwords if len(one) > 8)):
            assert secret not in printed
        assert "Traceback" not in printed
        return done

    return run


def told(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_the_reports_own_story_from_the_first_look_to_no_difference(evercgm: Command) -> None:
    before = told(evercgm("status"), 1)
    assert "supabase migration repair 20251010090002 --status applied" in before
    assert "evercgm db migrate --environment production (it records what is there" in before
    assert "old-development: decommissioned: 2025-10-14: consolidated into staging" in before
    assert "7 differences (5 breaks, 2 weakens)" in told(evercgm("drift", "staging", "production"), 1)

    planned = told(evercgm("migrate", "--plan", "--environment", "staging"), 1)
    assert "'eversense' (1 connection): unknown: a run stops" in planned
    assert "' LIBRE ' (1 connection): kept as libre" in planned
    assert "A run would stop. Nothing was changed." in planned
    stopped = evercgm("migrate", "--environment", "staging")
    assert "conn-b2 ('eversense')" in told(stopped, 1)

    staging = told(evercgm("migrate", "--unknown", "quarantine", "--environment", "staging"), 0)
    assert "6 connections kept, 3 put aside" in staging
    assert "3 connections were put aside: evercgm db quarantine list" in staging
    production = told(evercgm("migrate", "--environment", "production"), 0)
    assert "20251016000001 add_cgm_connection: already existed, recorded" in production
    assert told(evercgm("migrate", "--environment", "production"), 0) == "The database is up to date.\n"

    left = told(evercgm("drift", "staging", "production", "--format", "json"), 1)
    assert [one["name"] for one in json.loads(left)["differences"]] == ["20251010090002"]
    assert told(evercgm("migrate", "--plan", "--environment", "staging"), 0).endswith("Nothing was changed.\n")


def test_programs_get_one_line_of_json(evercgm: Command) -> None:
    plan = told(evercgm("migrate", "--plan", "--json", "--environment", "production"), 0)
    applied = told(evercgm("migrate", "--json", "--environment", "production"), 0)
    status = told(evercgm("status", "--json"), 1)

    assert [text.count("\n") for text in (plan, applied, status)] == [1, 1, 1]
    assert [one["action"] for one in json.loads(plan)["migrations"]] == ["adopt", "complete", "apply", "apply", "apply"]
    assert [one["existed"] for one in json.loads(applied)["applied"]] == [True, False, False, False, False]
    by_name = {one["name"]: one for one in json.loads(status)["environments"]}
    assert [row["recorded"] for row in by_name["production"]["rows"]] == [True] * 5
    assert by_name["staging"]["host"][0]["state"] == "skipped"


def test_a_snapshot_file_is_the_database_to_drift(evercgm: Command, tmp_path: Path) -> None:
    told(evercgm("snapshot", "--environment", "staging", "--out", "staging.json"), 0)

    assert (tmp_path / "staging.json").read_text() == told(evercgm("snapshot", "--environment", "staging"), 0)
    assert "no difference" in told(evercgm("drift", "staging.json", "env:STAGING_URL"), 0)
    assert "# staging and production" in told(evercgm("drift", "staging.json", "production", "--format", "markdown"), 1)


def test_drift_of_a_recorded_migration_is_mended_by_the_command_that_all_name(
    evercgm: Command, addresses: dict[str, str]
) -> None:
    there = ["--environment", "production"]
    told(evercgm("migrate", *there), 0)
    with psycopg.connect(addresses["PRODUCTION_URL"]) as connection:
        connection.execute("drop index cgm_connections_status_idx")
        connection.execute("drop trigger cgm_connections_updated_at on cgm_connections")

    first, second = (
        f"evercgm db migrate --repair {version} --environment production"
        for version in ("20251016000001", "20261124000003")
    )
    stopped = told(evercgm("migrate", *there), 1)
    for printed in (evercgm("migrate", "--plan", *there), evercgm("status")):
        assert first in told(printed, 1)
        assert second in told(printed, 1)
    repaired = told(evercgm("migrate", "--repair", "20251016000001", *there), 0)
    as_json = json.loads(told(evercgm("migrate", "--repair", "20261124000003", "--json", *there), 0))

    assert "is recorded as applied" in stopped
    assert "made again:\n  index public.cgm_connections.cgm_connections_status_idx is missing" in repaired
    assert second in repaired
    assert as_json["repaired"]["left"] == []
    assert told(evercgm("migrate", *there), 0) == "The database is up to date.\n"
    assert "nothing is missing" in told(evercgm("migrate", "--repair", "20251016000001", *there), 0)


NO_ADDRESSES = ("postgresql://u:hidden-password@h/db", "u:hidden-password@h/db", "host=h password=hidden-password")


@pytest.mark.parametrize("given", NO_ADDRESSES)
@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--environment", "{}"],
        ["migrate", "{}"],
        ["migrate", "--repair", "{}"],
        ["migrate", "--unknown", "{}"],
        ["verify", "--expect", "{}"],
        ["verify", "--{}"],
        ["drift", "env:{}", "staging"],
        ["drift", "{}", "staging"],
        ["drift", "staging", "production", "--format", "{}"],
        ["status", "--environments", "{}"],
        ["snapshot", "--environment", "staging", "--out", "{}/x"],
        ["quarantine", "list", "{}"],
        ["login-role", "{}"],
        ["{}"],
    ],
)
def test_an_address_among_the_arguments_is_refused_and_not_repeated(
    evercgm: Command, arguments: list[str], given: str
) -> None:
    done = evercgm(*(one.format(given) for one in arguments))

    assert done.returncode == 2
    assert done.stderr
    assert "hidden" not in done.stdout + done.stderr
    assert "h/db" not in done.stdout + done.stderr


def test_a_file_that_is_nested_too_deep_is_no_snapshot(evercgm: Command, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)

    done = evercgm("drift", "deep.json", "staging")

    assert (done.returncode, done.stderr) == (2, "evercgm: A: this is no snapshot: nested too deep\n")


@pytest.mark.parametrize("name", ["anon", "authenticated", "service_role", "authenticator", "postgres", "cgm_worker",
                                  "supabase_admin", "pg_monitor", "public", "none", "user"])  # fmt: skip
def test_the_login_role_never_takes_a_name_that_means_something_else(evercgm: Command, name: str) -> None:
    done = evercgm("login-role", name)

    assert (done.returncode, done.stdout) == (2, "")
    assert "choose another" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["migrate", "--environment", "old-development"], 2, "old-development is decommissioned"),
        (["verify", "--environment", "old-development"], 2, "old-development is decommissioned"),
        (["snapshot", "--environment", "old-development"], 2, "old-development is decommissioned"),
        (["drift", "staging", "old-development"], 2, "old-development is decommissioned"),
        (["bootstrap", "--standalone", "--environment", "old-development"], 2, "old-development is decommissioned"),
        (["quarantine", "list", "--environment", "old-development"], 2, "old-development is decommissioned"),
        (["migrate", "--environment", "nowhere"], 2, "names no environment nowhere"),
        (["bootstrap", "--standalone", "--environment", "staging"], 1, "auth.users exists"),
        (["drift", "postgresql://u:hidden-password@h/d", "staging"], 2, "env:VARIABLE"),
        (["drift", "host=h password=hidden-password", "staging"], 2, "env:VARIABLE"),
        (["drift", "staging", "env:UNSET_URL"], 2, "UNSET_URL is not set"),
        (["drift", "staging", "no-such-file"], 2, "B: no such file"),
        (["drift", "staging", "evercgm.toml"], 2, "B: this is no snapshot"),
        (["status", "--environments", "none.toml"], 2, "none.toml: cannot be read"),
        (["snapshot", "--environment", "staging", "--out", "no/such/folder"], 2, "--out"),
        (["login-role", "Bad Name"], 2, "NAME"),
        (["migrate", "--repair", "20251010090002"], 2, "no migration of ours has this version"),
        (["migrate", "--repair", "20251016000001", "--plan"], 2, "--plan: say it without --repair"),
        (["migrate", "--repair", "20261124000001", "--environment", "staging"], 1, "is not recorded"),
        (["migrate", "--plan"], 2, "MIGRATION_DATABASE_URL and DATABASE_URL are not set"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(evercgm: Command, arguments: list[str], code: int, said: str) -> None:
    done = evercgm(*arguments)

    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_one_database_that_cannot_be_reached_does_not_keep_the_others(evercgm: Command) -> None:
    done = evercgm("status", STAGING_URL="postgresql://u:hidden-password@127.0.0.1:1/x")

    text = told(done, 2)
    assert "staging: unreachable: STAGING_URL: nothing listens there" in text
    assert "production: PostgreSQL" in text


def test_without_a_file_the_one_database_is_looked_at(
    evercgm: Command, tmp_path: Path, addresses: dict[str, str]
) -> None:
    (tmp_path / "evercgm.toml").unlink()

    text = told(evercgm("status", MIGRATION_DATABASE_URL=addresses["PRODUCTION_URL"]), 1)

    assert text.startswith("MIGRATION_DATABASE_URL: PostgreSQL")
    assert "-> evercgm db migrate (it records what is there" in text


def test_an_address_in_the_file_is_refused_by_its_key(evercgm: Command, tmp_path: Path) -> None:
    (tmp_path / "evercgm.toml").write_text('[environments.a]\ndatabase = "postgresql://u:hidden-password@h/d"\n')

    done = evercgm("status")

    assert done.returncode == 2
    assert "environments.a.database holds a database address" in done.stderr


def test_only_the_migrating_address_is_needed_and_no_server_of_our_own_is_started(
    evercgm: Command, tmp_path: Path, addresses: dict[str, str]
) -> None:
    told(evercgm("migrate", MIGRATION_DATABASE_URL=addresses["PRODUCTION_URL"]), 0)

    with psycopg.connect(addresses["PRODUCTION_URL"]) as connection:
        assert connection.execute("select count(*) from supabase_migrations.schema_migrations").fetchone() == (6,)
    assert not (tmp_path / "data").exists()
