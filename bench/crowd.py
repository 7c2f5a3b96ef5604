"""Many people in one database (crowd.sql), and one of them whose calls are looked at."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from evercgm.core.reading import Reading
from evercgm.storage.database import split_queries
from evercgm.storage.readings import Owner

QUERIES = split_queries(Path(__file__).with_suffix(".sql").read_text())
# To be done to a crowd: the first person's history becomes six times as long.
LONG_HISTORY = (QUERIES.pop("long_history"), "vacuum analyze")
OF_WEARERS = ("readings", "by_hand", "set_aside")
STREAM = "dexcom/dexcom/account"
A_DAY = 288
_NEWEST = """
select d.record_key, r."timestamp" at time zone 'UTC', r.value, d.trend, d.trend_rate, d.transmitter_hash,
       d.transmitter_ticks
  from public.glucose_readings r join cgm_private.reading_details d on d.reading_id = r.id
 where r.person_id = %s order by r."timestamp" desc limit %s
"""


@dataclass(frozen=True, slots=True)
class Size:
    """``persons`` have a connection each; the first ``wearers`` have ``readings`` each, one every five minutes."""

    persons: int
    wearers: int
    readings: int


NOBODY = Size(0, 0, 0)


def id_of(kind: str, n: int | str) -> str:
    """The id of the n-th person, owner, connection; of a run it is ``n/k``."""
    return str(uuid.UUID(hashlib.md5(f"{kind}{n}".encode(), usedforsecurity=False).hexdigest()))


def owner_of(n: int) -> str:
    """The owner of the n-th person: the first two have the same."""
    return id_of("owner", max(n, 2))


def stream_of(n: int) -> Owner:
    """As whose the n-th person's readings are saved."""
    return Owner(id_of("person", n), id_of("connection", n), STREAM)


async def newest(admin: psycopg.AsyncConnection[TupleRow], n: int, most: int = A_DAY) -> list[Reading]:
    """The n-th person's newest readings, oldest first, as the vendor would send them again."""
    cursor = await admin.execute(_NEWEST, (id_of("person", n), most))
    found = [
        Reading(key, at, int(value), None, trend, rate, 60, transmitter, ticks, "g7 iOS")
        for key, at, value, trend, rate, transmitter, ticks in await cursor.fetchall()
    ]
    return found[::-1]


def fill(admin_dsn: str, size: Size, beside: Size = NOBODY) -> None:
    """Let so many people have come; ``beside`` those who are there already."""
    everybody = {"first": beside.persons, "last": size.persons}
    wearers = {"first": beside.wearers, "last": size.wearers}
    values = {"readings": size.readings, "now": datetime.now(UTC)}
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("set time zone 'UTC'")
        # Foreign keys and triggers would be asked for each row, and find nothing.
        admin.execute("set session_replication_role = replica")
        for name, statement in QUERIES.items():
            admin.execute(statement.encode(), {**values, **(wearers if name in OF_WEARERS else everybody)})
        admin.execute("vacuum analyze")
