"""Our files beside a host's own, pushed by the real Supabase CLI: it and our runner end in one shape, one history."""

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest
from foreign_tools import install_from_npm, run, said
from starts import ROWS, lay, migrating_dsn, snapshot_of

from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.migration_files import migrations

HOSTS_OWN = "20251010090002"
OURS = [migration.version for migration in migrations()]
ASIDE = "select id, reason, kept_id, reading_ids from cgm_private.quarantined_connections order by id"
STARTS_OF_HOSTS = ("host-only", "staging", "production")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Supabase CLI of the lock file."""
    return install_from_npm("supabase", tmp_path_factory.mktemp("supabase")) / "node_modules/.bin/supabase"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host app's folder: its own older migration, and ours copied in beside it."""
    folder = tmp_path / "supabase/migrations"
    folder.mkdir(parents=True)
    (folder / f"{HOSTS_OWN}_create_food_photos_bucket.sql").write_text("select 'the bucket exists already';\n")
    for migration in migrations():
        shutil.copy(migration.path, folder)
    return tmp_path


class Supabase:
    """The CLI in a host app's folder, on a database."""

    def __init__(self, program: Path, folder: Path, dsn: str):
        self.program, self.folder, self.dsn = program, folder, dsn

    def ask(self, *words: str) -> CompletedProcess[str]:
        rest = ("--yes", "--agent", "no", f"--remote={self.dsn}")
        env = {"PGSSLMODE": "disable", "HOME": str(self.folder)}
        return run(self.program, *words, *rest, cwd=self.folder, env=env)

    def do(self, *words: str) -> str:
        """What it said; it must have gone well."""
        done = self.ask(*words)
        assert done.returncode == 0, said(done)
        return said(done)

    def recorded(self) -> dict[str, bool]:
        """Each version of the folder, and whether the database has it, as ``migration list`` prints them."""
        rows = re.findall(r"`(\d+| )` *\| `(\d+| )`", self.do("migration", "list"))
        return {local: remote == local for local, remote in rows}


def values(dsn: str, query: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
async def open_start(cli: Path, host: Path, make_empty_database: Any) -> Callable[[str], Awaitable[Supabase]]:
    """Lays a start into a database of its own and answers the CLI on it."""

    async def lay_it(start: str) -> Supabase:
        database = make_empty_database()
        await lay(database, start)
        return Supabase(cli, host, migrating_dsn(database, start))

    return lay_it


@pytest.mark.parametrize("start", STARTS_OF_HOSTS)
async def test_a_push_ends_where_our_runner_ends_and_neither_has_more_to_do(open_start: Any, start: str) -> None:
    pushed, ours = await open_start(start), await open_start(start)
    if start == "staging":
        pushed.do("migration", "repair", HOSTS_OWN, "--status", "applied")
        ours.do("migration", "repair", HOSTS_OWN, "--status", "applied")

    pushed.do("db", "push")
    await migrate(ours.dsn, unknown="quarantine")

    assert differences(await snapshot_of(ours.dsn), await snapshot_of(pushed.dsn)) == []
    assert values(ours.dsn, ROWS) == values(pushed.dsn, ROWS)
    for one in (pushed, ours):
        assert one.recorded() == dict.fromkeys([HOSTS_OWN, *OURS], True)
        assert "Remote database is up to date." in one.do("db", "push")
        assert await migrate(one.dsn) == []


async def test_a_push_puts_unknown_providers_aside(open_start: Any) -> None:
    staging = await open_start("staging")
    staging.do("migration", "repair", HOSTS_OWN, "--status", "applied")

    told = staging.do("db", "push")

    assert values(staging.dsn, ASIDE) == [
        ("conn-a2", "second_spelling", "conn-a1", ["r-04"]),
        ("conn-b2", "unknown_provider", None, ["r-08"]),
        ("conn-b3", "unknown_provider", None, []),
    ]
    assert "plain-" not in told


async def test_a_push_to_staging_waits_for_the_repair_of_the_file_that_was_skipped(open_start: Any) -> None:
    staging = await open_start("staging")
    before = await snapshot_of(staging.dsn)

    refused = staging.ask("db", "push")

    assert refused.returncode == 1
    assert f"supabase/migrations/{HOSTS_OWN}_create_food_photos_bucket.sql" in said(refused)
    assert differences(before, await snapshot_of(staging.dsn)) == []


async def test_a_file_that_stops_leaves_nothing_behind_and_says_why(open_start: Any) -> None:
    production = await open_start("production")
    with psycopg.connect(production.dsn) as connection:
        connection.execute("""alter type "CGMProvider" add value 'other'""")
    before = await snapshot_of(production.dsn)

    refused = production.ask("db", "push")

    assert refused.returncode == 1
    assert 'enum public."CGMProvider": expected' in said(refused)
    after = differences(before, await snapshot_of(production.dsn))
    # The file before it changes nothing on production but its own row in the history.
    assert [str(one.key) for one in after] == ["history 20251016000001"]
