"""What may explain holes in a person's readings, read as that person; changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from evercgm.core.caller import Caller
from evercgm.core.connection import BY_FILE, CADENCE
from evercgm.core.gaps import HOLE, OVERDUE, Edge, Evidence, Hole, SetAside, Source, Trouble
from evercgm.core.reading import UNREAD
from evercgm.storage.database import Connection, Database, Row, load_queries
from evercgm.storage.views import choose_person

QUERIES = load_queries("gaps.sql")
MOST = 1000
_NO_READING_OF_NOW = frozenset({"future_time"})
_BY_START = attrgetter("start")


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a vendor's region and a device, as the vendor's record has them; what each means says ``core.gaps.Source``."""

    delay: timedelta
    cadence: timedelta
    keeps: timedelta | None
    import_format: str | None = None


# By provider, region, whether its other ways in are meant, and the device's id.
FactsOf = Callable[[str, str | None, bool, str | None], Facts]


async def evidence(
    db: Database, caller: Caller, person_id: str | None, start: datetime, end: datetime, facts_of: FactsOf
) -> tuple[list[Hole], Evidence]:
    """The newest 1,000 holes between two aware instants, and what is known beside them.

    ``facts_of`` gives the facts of a provider's region; of its other ways in where the third is set.
    Raises NotYours, BadInput(person_id).
    """
    async with db.as_person(caller.claims) as conn:
        chosen = await choose_person(conn, person_id)
        values = {"person_id": chosen, "start": start, "end": end, "most": MOST}
        rows = await _rows(conn, "sources", values | {"by_file": BY_FILE})
        facts = {row["id"]: _facts(row, facts_of) for row in rows}
        limits = {
            "connection_ids": list(facts),
            "holes_s": [one.cadence.total_seconds() * HOLE for one in facts.values()],
            "hole_s": CADENCE.total_seconds() * HOLE,
        }
        holes = await _rows(conn, "holes", values | limits)
        aside = await _rows(conn, "set_aside", values)
        troubles = await _rows(conn, "troubles", values | {"overdue_s": OVERDUE.total_seconds()})
        troubles += await _rows(conn, "pauses", values)
        now = rows[0]["now"] if rows else datetime.now(UTC)
    known = Evidence(
        sources=[_source(row, facts[row["id"]]) for row in rows],
        set_aside=[one for row in aside if (one := _set_aside(row)) is not None],
        troubles=sorted((_trouble(row, now) for row in troubles), key=_BY_START, reverse=True),
        now=now,
    )
    return [_hole(row) for row in holes] or [Hole(None, None)], known


async def _rows(conn: Connection, query: str, values: dict[str, object]) -> list[Row]:
    return await (await conn.execute(QUERIES[query], values)).fetchall()


def _hole(row: Row) -> Hole:
    before = Edge(row["before_at"], row["before_connection"], row["before_transmitter"], row["before_ticks"])
    if row["after_at"] is None:
        return Hole(before, None)
    return Hole(before, Edge(row["after_at"], row["after_connection"], row["after_transmitter"], row["after_ticks"]))


def _facts(row: Row, facts_of: FactsOf) -> Facts:
    return facts_of(row["provider"], row["region"], row["by_other_ways"], row["device_id"])


def _trouble(row: Row, now: datetime) -> Trouble:
    return Trouble(row["start_at"], row["end_at"] or now, row["reason"], row["connection_id"])


def _source(row: Row, facts: Facts) -> Source:
    return Source(
        id=row["id"],
        status=row["status"],
        reason=row["reason"],
        delay=facts.delay,
        keeps=facts.keeps,
        connected_at=row["connected_at"],
        last_sync_at=row["last_sync_at"],
        next_sync_at=row["next_sync_at"],
        history_done=row["history_done"] or row["by_other_ways"],
        history_start=row["history_start"],
        by_file=row["region"] == BY_FILE,
        cadence=facts.cadence,
        import_format=facts.import_format,
    )


def _set_aside(row: Row) -> SetAside | None:
    """None where the record's own time cannot be read: it says nothing about any hole."""
    try:
        at = datetime.fromisoformat(row["measured_text"])
    except ValueError:
        return None
    if row["reason"] in _NO_READING_OF_NOW:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return SetAside(aware.astimezone(UTC), row["reason"] not in UNREAD)
