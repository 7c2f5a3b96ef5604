"""Saves a batch of readings by the merge rule: nothing lost, nothing twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evercgm.core.reading import UNREAD, Batch, Reading, reading_id
from evercgm.storage.database import Connection, load_queries

QUERIES = load_queries("readings.sql")
SAME_MOMENT = timedelta(seconds=30)
# A record that cannot be read is asked for so often before it counts as never readable.
ENOUGH_TRIES = 5


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose readings these are, and by which way they came: ``stream`` is provider/route/account."""

    person_id: str
    connection_id: str
    stream: str


@dataclass(frozen=True, slots=True)
class Saved:
    """Counts of one batch, and its newest instant (aware UTC).

    ``doubtful``: records that could not be read and have not yet been tried five times.
    """

    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    rejected: int = 0
    doubtful: int = 0
    newest: datetime | None = None


async def save(conn: Connection, owner: Owner, batch: Batch) -> Saved:
    """Save in the caller's transaction. Matches each record to what is stored; inserts only what is new."""
    await conn.execute(QUERIES["lock_person"], {"person_id": owner.person_id})
    readings = _one_per_key(batch.readings)
    rejected, doubtful = await _keep_rejected(conn, owner, batch)
    if not readings:
        return Saved(fetched=len(batch.rejected), rejected=rejected, doubtful=doubtful)
    matched, known = await _match(conn, owner, readings)
    ids = _assign_ids(owner, readings, matched)
    inserted = await _insert(conn, owner, readings, ids, matched)
    await conn.execute(
        QUERIES["relink_readings"],
        {"person_id": owner.person_id, "connection_id": owner.connection_id, "ids": list(matched.values())},
    )
    updated = await _correct(conn, owner, readings, ids, known)
    await _save_details(conn, owner, readings, ids)
    return Saved(
        fetched=len(batch.readings) + len(batch.rejected),
        inserted=inserted,
        updated=updated,
        rejected=rejected,
        doubtful=doubtful,
        newest=max(reading.measured_at for reading in readings),
    )


def _one_per_key(readings: Sequence[Reading]) -> list[Reading]:
    """The last said of each record key, oldest first."""
    by_key = {reading.record_key: reading for reading in readings}
    return sorted(by_key.values(), key=lambda reading: (reading.measured_at, reading.record_key))


async def _match(conn: Connection, owner: Owner, readings: list[Reading]) -> tuple[dict[int, str], set[int]]:
    """By place in ``readings``: the stored reading's id; and the places whose record key was known."""
    cursor = await conn.execute(
        QUERIES["match"],
        {
            "person_id": owner.person_id,
            "stream": owner.stream,
            "ns": list(range(len(readings))),
            "record_keys": [reading.record_key for reading in readings],
            "measured": [reading.measured_at for reading in readings],
            "vals": [float(reading.glucose_mg_dl) for reading in readings],
            "transmitters": [reading.transmitter_hash for reading in readings],
            "ticks": [reading.transmitter_ticks for reading in readings],
        },
    )
    rows = await cursor.fetchall()
    matched = {row["n"]: row["reading_id"] for row in rows if row["reading_id"] is not None}
    return matched, {row["n"] for row in rows if row["known"]}


def _assign_ids(owner: Owner, readings: list[Reading], matched: dict[int, str]) -> list[str]:
    """An id for each place: the stored one, or that of its twin in this batch, or a new one."""
    ids: list[str] = []
    by_tick: dict[tuple[bytes, int], str] = {}
    by_value: dict[int, int] = {}
    for n, reading in enumerate(readings):
        tick = _tick(reading)
        found = matched.get(n) or (by_tick.get(tick) if tick else None) or _near_twin(readings, ids, n, by_value)
        ids.append(found or reading_id(owner.person_id, owner.stream, reading))
        if tick:
            by_tick.setdefault(tick, ids[n])
        by_value[reading.glucose_mg_dl] = n
    return ids


def _tick(reading: Reading) -> tuple[bytes, int] | None:
    if reading.transmitter_hash is None or reading.transmitter_ticks is None:
        return None
    return reading.transmitter_hash, reading.transmitter_ticks


def _near_twin(readings: list[Reading], ids: list[str], n: int, by_value: dict[int, int]) -> str | None:
    """The id of an equal value at most 30 s earlier in the same batch (readings are oldest first)."""
    earlier = by_value.get(readings[n].glucose_mg_dl)
    if earlier is None or readings[n].measured_at - readings[earlier].measured_at > SAME_MOMENT:
        return None
    return ids[earlier]


async def _insert(
    conn: Connection, owner: Owner, readings: list[Reading], ids: list[str], matched: dict[int, str]
) -> int:
    first_place = {id_: n for n, id_ in reversed(list(enumerate(ids)))}
    new = sorted(n for n in first_place.values() if n not in matched)
    if not new:
        return 0
    cursor = await conn.execute(
        QUERIES["insert_readings"],
        {
            "person_id": owner.person_id,
            "connection_id": owner.connection_id,
            "ids": [ids[n] for n in new],
            "measured": [readings[n].measured_at for n in new],
            "vals": [float(readings[n].glucose_mg_dl) for n in new],
            "devices": [readings[n].device_id for n in new],
        },
    )
    return cursor.rowcount


async def _correct(conn: Connection, owner: Owner, readings: list[Reading], ids: list[str], known: set[int]) -> int:
    # Only the record that made a reading's id may correct it: copies with another value would flip it for ever.
    places = [n for n in sorted(known) if ids[n][14:] == reading_id(owner.person_id, owner.stream, readings[n])[14:]]
    if not places:
        return 0
    cursor = await conn.execute(
        QUERIES["correct_readings"],
        {
            "person_id": owner.person_id,
            "ids": [ids[n] for n in places],
            "vals": [float(readings[n].glucose_mg_dl) for n in places],
            "measured": [readings[n].measured_at for n in places],
        },
    )
    return cursor.rowcount


async def _save_details(conn: Connection, owner: Owner, readings: list[Reading], ids: list[str]) -> None:
    await conn.execute(
        QUERIES["save_details"],
        {
            "person_id": owner.person_id,
            "stream": owner.stream,
            "record_keys": [reading.record_key for reading in readings],
            "ids": ids,
            "trends": [reading.trend for reading in readings],
            "rates": [reading.trend_rate for reading in readings],
            "offsets": [reading.display_offset_min for reading in readings],
            "flags": [reading.flag for reading in readings],
            "transmitters": [reading.transmitter_hash for reading in readings],
            "ticks": [reading.transmitter_ticks for reading in readings],
        },
    )


async def _keep_rejected(conn: Connection, owner: Owner, batch: Batch) -> tuple[int, int]:
    """How many were set aside for the first time, and how many may yet become readable."""
    if not batch.rejected:
        return 0, 0
    cursor = await conn.execute(
        QUERIES["keep_rejected"],
        {
            "person_id": owner.person_id,
            "connection_id": owner.connection_id,
            "stream": owner.stream,
            "record_keys": [record.record_key for record in batch.rejected],
            "reasons": [record.reason for record in batch.rejected],
            "texts": [record.measured_text for record in batch.rejected],
            "unread": sorted(UNREAD),
            "enough": ENOUGH_TRIES,
        },
    )
    row = await cursor.fetchone()
    return (int(row["added"]), int(row["doubtful"])) if row else (0, 0)
