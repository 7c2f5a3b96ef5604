"""Saves a batch of readings by the merge rule: nothing lost, nothing twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

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


@dataclass(frozen=True, slots=True)
class _Matches:
    """By place in the batch: the stored reading's id; whose record key was known; where nothing is to be written."""

    ids: dict[int, str]
    known: set[int]
    settled: set[int]


class _Sent(msgspec.Struct, omit_defaults=True):
    """A record on its way to the database, as JSON: a list of them is one parameter, encoded at once."""

    record_key: str
    measured_at: datetime
    value: int
    trend: str | None
    trend_rate: float | None
    flag: str | None
    transmitter: bytes | None
    ticks: int | None
    n: int | None = None
    id: str | None = None
    fresh: bool | None = None
    device_id: str | None = None
    display_offset_min: int | None = None


async def save(conn: Connection, owner: Owner, batch: Batch) -> Saved:
    """Save in the caller's transaction. Matches each record to what is stored; inserts only what is new."""
    await conn.execute(QUERIES["lock_person"], {"person_id": owner.person_id})
    readings = _one_per_key(batch.readings)
    rejected, doubtful = await _keep_rejected(conn, owner, batch)
    if not readings:
        return Saved(fetched=len(batch.rejected), rejected=rejected, doubtful=doubtful)
    found = await _match(conn, owner, readings)
    ids = _assign_ids(owner, readings, found.ids)
    open_places = [n for n in range(len(readings)) if n not in found.settled]
    inserted = await _store(conn, owner, readings, ids, open_places, found.ids)
    await _relink(conn, owner, [ids[n] for n in open_places if n in found.ids])
    updated = await _correct(conn, owner, readings, ids, [n for n in open_places if n in found.known])
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


async def _match(conn: Connection, owner: Owner, readings: list[Reading]) -> _Matches:
    sent = [_sent(reading, n=n) for n, reading in enumerate(readings)]
    cursor = await conn.execute(
        QUERIES["match"],
        {"person_id": owner.person_id, "stream": owner.stream, "records": msgspec.json.encode(sent).decode()},
    )
    rows = await cursor.fetchall()
    return _Matches(
        {row["n"]: row["reading_id"] for row in rows},
        {row["n"] for row in rows if row["known"]},
        {row["n"] for row in rows if row["settled"]},
    )


def _sent(reading: Reading, n: int) -> _Sent:
    return _Sent(
        reading.record_key,
        reading.measured_at,
        reading.glucose_mg_dl,
        reading.trend,
        reading.trend_rate,
        reading.flag,
        reading.transmitter_hash,
        reading.transmitter_ticks,
        n,
    )


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


async def _store(
    conn: Connection,
    owner: Owner,
    readings: list[Reading],
    ids: list[str],
    places: list[int],
    matched: dict[int, str],
) -> int:
    """New readings, and the details of ``places``, in one statement; how many were new."""
    if not places:
        return 0
    first_place = {ids[n]: n for n in reversed(range(len(ids)))}
    sent = []
    for n in places:
        record = _sent(readings[n], n)
        record.id = ids[n]
        record.fresh = n not in matched and first_place[ids[n]] == n
        record.device_id = readings[n].device_id
        record.display_offset_min = readings[n].display_offset_min
        sent.append(record)
    values = {
        "person_id": owner.person_id,
        "connection_id": owner.connection_id,
        "stream": owner.stream,
        "records": msgspec.json.encode(sent).decode(),
    }
    row = await (await conn.execute(QUERIES["store"], values)).fetchone()
    return int(row["inserted"]) if row else 0


async def _relink(conn: Connection, owner: Owner, ids: list[str]) -> None:
    if ids:
        await conn.execute(
            QUERIES["relink_readings"],
            {"person_id": owner.person_id, "connection_id": owner.connection_id, "ids": ids},
        )


async def _correct(conn: Connection, owner: Owner, readings: list[Reading], ids: list[str], known: list[int]) -> int:
    # Only the record that made a reading's id may correct it: copies with another value would flip it for ever.
    places = [n for n in known if ids[n][14:] == reading_id(owner.person_id, owner.stream, readings[n])[14:]]
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
