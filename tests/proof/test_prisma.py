"""The host app's Prisma 7.10.0 on our schema: its models are valid, its client works, its diff finds nothing to do."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from foreign_tools import said
from prisma_host import NOTHING_TO_DO, prisma_command, script
from starts import STARTS, lay, migrating_dsn

from evercgm.storage.schema.migrate import migrate

OWNER_INDEX = '-- DropIndex\nDROP INDEX "Person_ownerId_idx";'


async def migrated(database: Any, start: str) -> Any:
    await lay(database, start)
    await migrate(migrating_dsn(database, start), unknown="quarantine")
    return database


def test_the_models_are_valid(prisma: Path) -> None:
    done = prisma_command(prisma, "validate")

    assert (done.returncode, "is valid" in said(done)) == (0, True), said(done)


@pytest.mark.parametrize("start", STARTS)
async def test_the_client_lists_creates_finds_and_deletes(prisma: Path, make_empty_database: Any, start: str) -> None:
    database = await migrated(make_empty_database(), start)
    with psycopg.connect(database.admin_dsn) as conn:
        conn.execute("""insert into public."Person" (id, "ownerId") values ('person-prisma', 'somebody')""")
        before = conn.execute("select id, provider::text, person_id from public.cgm_connections order by id").fetchall()

    told = script(prisma, "client.mjs", database.admin_dsn, PERSON_ID="person-prisma")

    assert told == {
        "listed": [list(row) for row in before],
        "found": True,
        "expires": "2026-01-02T03:04:05.678Z",
        "metadata": {"region": "eu"},
        "readings": 1,
        "changed": "error",
        "left": None,
    }


@pytest.mark.parametrize("start", STARTS)
async def test_prismas_own_diff_finds_nothing_to_do(prisma: Path, make_empty_database: Any, start: str) -> None:
    database = await migrated(make_empty_database(), start)

    told = script(prisma, "diff.mjs", database.admin_dsn)

    # The standalone start stands in for a host app, whose table may have an index that is the host's to declare.
    assert (OWNER_INDEX if start == "empty" else NOTHING_TO_DO) == told["script"].strip()


async def test_before_migration_prismas_own_diff_would_drop_the_providers(
    prisma: Path, make_empty_database: Any
) -> None:
    database = make_empty_database()
    await lay(database, "staging")

    told = script(prisma, "diff.mjs", database.admin_dsn)

    assert not told["empty"]
    assert 'DROP COLUMN "provider"' in told["script"]
