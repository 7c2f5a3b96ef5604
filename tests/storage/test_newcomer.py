"""A person of whom the server's statistics know nothing yet: a long history costs what it is long, not its square."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from one_person import make_person
from plans import Ear, by_name, explain_from_now_on, names_by_sent_text

from evercgm.core.reading import Batch, Reading
from evercgm.storage import readings
from evercgm.storage.database import Database, open_database
from evercgm.storage.readings import Owner
from evercgm.storage.vault import Vault

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
STREAM = "dexcom/dexcom/account"
KNOWN, NEWCOMER = Owner("p-2", None, STREAM), Owner("p-1", "c-1", STREAM)
PART, PARTS = 400, 5


@pytest.fixture
async def db(database: Any) -> AsyncIterator[Database]:
    make_person(database.owner_dsn)
    explain_from_now_on(database.admin_dsn)
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=1) as opened:
        yield opened


def history(first: int, count: int) -> Batch:
    return Batch(
        tuple(
            Reading(
                f"r-{n}", NOW - timedelta(minutes=5 * n), 100, transmitter_hash=b"t" * 32, transmitter_ticks=300 * n
            )
            for n in range(first, first + count)
        ),
        (),
        "account",
    )


@pytest.mark.parametrize("overlap", [0, 1], ids=["apart", "with a seam"])
@pytest.mark.parametrize("stream", [STREAM, "dexcom/clarity_csv/mg_dL"])
async def test_each_part_of_a_history_looks_at_no_more_than_the_part_before(
    database: Any, db: Database, stream: str, overlap: int
) -> None:
    async with db.as_worker() as conn:
        await readings.save(conn, KNOWN, history(0, 3 * PART))
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        # All that there is belongs to one person: of another one the planner expects not a single row.
        admin.execute("vacuum analyze")
    ear = Ear(names_by_sent_text())
    looked: list[int] = []

    async with db.as_worker() as conn:
        ear.listen(conn)
        owner = Owner(NEWCOMER.person_id, NEWCOMER.connection_id, stream)
        for part in range(PARTS):
            ear.heard.clear()
            await readings.save(conn, owner, history(part * (PART - overlap), PART))
            looked.append(_rows(ear))
            # What lies apart from all that is stored is not matched at all.
            assert ("readings.match" in by_name(ear.heard)) == (part > 0 and overlap > 0)

    assert max(looked) < 10 * PART, looked


def _rows(ear: Ear) -> int:
    """Rows and index entries that were looked at to find what is stored already."""
    heard = by_name(ear.heard)
    return sum(one.rows() for name in ("readings.is_new", "readings.match") for one in heard.get(name, ()))
