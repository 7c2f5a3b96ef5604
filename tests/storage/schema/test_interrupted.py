"""A migration that dies half way leaves the old shape whole; of two runners at once one works and one waits."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from by_hand import VERSIONS, held, rows, run
from starts import lay, snapshot_of
from verify_worlds import load

from evercgm.core.errors import EvercgmError
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate, plan

# The runner's own lock, and one that only these tests take.
RUNNER, GATE = 28559150730667885, 4711
# The history's row of a version is written last, when all of the file is done and nothing is committed: there it waits.
PAUSE = f"""
create function pause() returns trigger language plpgsql set lock_timeout = 0 as $$
begin
  perform pg_advisory_xact_lock({GATE});
  return new;
end $$;
create trigger pause before insert on supabase_migrations.schema_migrations
  for each row when (new.version = '%s') execute function pause();
"""
WAITING = """
select a.pid from pg_stat_activity a join pg_locks l on l.pid = a.pid
 where l.locktype = 'advisory' and not l.granted and l.objid = %s and a.datname = current_database()
"""
RUN = "import asyncio, sys; from evercgm.storage.schema.migrate import migrate as m; asyncio.run(m(sys.argv[1]))"


@pytest.fixture
def staging(make_empty_database: Any, shared_dir: Path) -> Any:
    """The staging form without its unknown providers, so that the default of our runner takes it."""
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    run(fresh.admin_dsn, "delete from cgm_connections where id in ('conn-b2', 'conn-b3')")
    return fresh


def until(true: Callable[[], Any], what: str) -> Any:
    """Poll; a minute is far beyond what any machine needs."""
    for _ in range(600):
        found = true()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never came: {what}")


def waiting(connection: psycopg.Connection[Any]) -> list[int]:
    return [pid for (pid,) in connection.execute(WAITING, [GATE]).fetchall()]


def runners(connection: psycopg.Connection[Any]) -> list[int]:
    query = "select pid from pg_stat_activity where datname = current_database() and application_name = 'evercgm'"
    return [pid for (pid,) in connection.execute(query.encode()).fetchall()]


@pytest.mark.parametrize("death", ["of the server process", "of the client"])
@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_migration_that_dies_half_way_leaves_the_old_shape_whole(staging: Any, version: str, death: str) -> None:
    run(staging.admin_dsn, PAUSE % version)
    reached = VERSIONS.index(version)
    before = asyncio.run(snapshot_of(staging.admin_dsn))
    rows_before = held(staging.admin_dsn)

    with psycopg.connect(staging.admin_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [GATE])
        runner = subprocess.Popen([sys.executable, "-c", RUN, staging.admin_dsn], stderr=subprocess.PIPE)
        (pid,) = until(lambda: waiting(other), "the migration is half way")
        if death == "of the client":
            os.kill(runner.pid, signal.SIGKILL)
        else:
            other.execute("select pg_terminate_backend(%s)", [pid])
        _, said = runner.communicate(timeout=60)
        other.execute("select pg_advisory_unlock(%s)", [GATE])
        until(lambda: not runners(other), "the server noticed")

    assert runner.returncode == (-signal.SIGKILL if death == "of the client" else 1)
    assert b"plain-" not in said
    recorded = rows(staging.admin_dsn, "select version from supabase_migrations.schema_migrations order by version")
    assert [one for (one,) in recorded] == VERSIONS[:reached]
    if version == VERSIONS[1]:
        assert differences(before, asyncio.run(snapshot_of(staging.admin_dsn))) == []
        assert held(staging.admin_dsn) == rows_before
    run(staging.admin_dsn, "drop trigger pause on supabase_migrations.schema_migrations")
    assert [one.version for one in asyncio.run(migrate(staging.admin_dsn))] == VERSIONS[reached:]


LOCKED = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


async def test_a_second_runner_finds_no_drift_while_the_first_converts(staging: Any) -> None:
    run(staging.admin_dsn, PAUSE % VERSIONS[1])
    said: list[str] = []

    with psycopg.connect(staging.admin_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [GATE])
        first = asyncio.create_task(migrate(staging.admin_dsn))
        await asyncio.to_thread(until, lambda: waiting(other), "the conversion is done and not committed")
        second = asyncio.create_task(migrate(staging.admin_dsn, report=said.append))
        await asyncio.to_thread(until, lambda: rows(staging.admin_dsn, LOCKED) == [(2,)], "both wait")
        other.execute("select pg_advisory_unlock(%s)", [GATE])
        results = await asyncio.gather(first, second)

    assert said[0] == "another migration is running: waiting for it"
    assert sorted(one.version for result in results for one in result) == VERSIONS[1:]


async def test_a_plan_says_that_a_conversion_holds_the_tables(staging: Any) -> None:
    run(staging.admin_dsn, PAUSE % VERSIONS[1])

    with psycopg.connect(staging.admin_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [GATE])
        running = asyncio.create_task(migrate(staging.admin_dsn))
        await asyncio.to_thread(until, lambda: waiting(other), "the conversion is done and not committed")
        with pytest.raises(
            EvercgmError, match=r"another session uses these tables \(a migration, perhaps\): try again"
        ):
            await plan(staging.admin_dsn)
        other.execute("select pg_advisory_unlock(%s)", [GATE])
        await running


async def test_a_migration_says_that_the_database_went_away(staging: Any) -> None:
    run(staging.admin_dsn, PAUSE % VERSIONS[1])

    with psycopg.connect(staging.admin_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [GATE])
        running = asyncio.create_task(migrate(staging.admin_dsn))
        (pid,) = await asyncio.to_thread(until, lambda: waiting(other), "the migration is half way")
        other.execute("select pg_terminate_backend(%s)", [pid])

        with pytest.raises(EvercgmError) as told:
            await running

    assert "terminating connection" in str(told.value) or "was lost" in str(told.value)
    assert "127.0.0.1" not in str(told.value)


async def test_a_second_runner_waits_and_says_so(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)
    said: list[str] = []

    with psycopg.connect(fresh.admin_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [RUNNER])
        running = asyncio.create_task(migrate(fresh.owner_dsn, report=said.append))
        await asyncio.to_thread(until, lambda: said, "it says that it waits")
        waited = list(said)
        other.execute("select pg_advisory_unlock(%s)", [RUNNER])
        applied = await running

    assert waited == ["another migration is running: waiting for it"]
    assert [one.version for one in applied] == VERSIONS


@pytest.mark.parametrize("start", ["empty", "production"])
async def test_several_runners_at_once_apply_each_file_once(make_empty_database: Any, start: str) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)
    dsn = fresh.owner_dsn if start == "empty" else fresh.admin_dsn

    results = await asyncio.gather(*(migrate(dsn) for _ in range(3)))

    assert sorted(one.version for result in results for one in result) == VERSIONS
