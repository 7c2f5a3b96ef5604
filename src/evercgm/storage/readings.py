"""Saves a batch of readings by the merge rule: nothing lost, nothing twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec

from evercgm.core.nearness import FILE_STREAMS, RANGE_ENDS, USUAL, WIDEST, nearness_of
from evercgm.core.reading import BELOW_RANGE_MG_DL, EPOCH, UNREAD, Batch, Reading, ids_in
from evercgm.core.sync import Window
from evercgm.storage.database import Connection, load_queries

QUERIES = load_queries("readings.sql")
SAME_MOMENT = timedelta(seconds=USUAL.seconds)
# A record that cannot be read is asked for so often before it counts as never readable.
ENOUGH_TRIES = 5
# Ends of a window are asked for in whole seconds: so near to them nothing counts as absent.
EDGE = timedelta(seconds=1)
# From one end of the world's zones to the other, where a device's clock is set.
FARTHEST_MOVE = timedelta(hours=26)
_IN_ORDER = attrgetter("measured_at", "record_key")
_FILES = {
    "files": list(FILE_STREAMS),
    "files_seconds": [near.seconds for near in FILE_STREAMS.values()],
    "files_mg_dl": [near.mg_dl for near in FILE_STREAMS.values()],
    "files_by_ends": [near.by_ends for near in FILE_STREAMS.values()],
    "widest_s": WIDEST.seconds, "widest_mg_dl": WIDEST.mg_dl, **RANGE_ENDS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose readings these are, and by which way they came: ``stream`` is provider/route/account.

    ``connection_id`` None: they came in a file, and the person has no connection there.

    Ways to the same readings have ranks, told by how their streams begin: what comes by this one takes the place of
    what came by a ``lesser`` one within ``slot``, and gives way to a ``greater`` one. ``shares``: several of its own
    records within ``slot`` are one reading. Files are lesser than all clouds. ``by_device_clock``: its instants are
    reckoned from a clock that people set, so the same record may come at another one.
    """

    person_id: str
    connection_id: str | None
    stream: str
    lesser: tuple[str, ...] = ()
    greater: tuple[str, ...] = ()
    slot: timedelta = SAME_MOMENT
    shares: bool = False
    by_device_clock: bool = False


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


def add(before: Saved, saved: Saved) -> Saved:
    """The counts of both; what is doubtful of the later one, the newest of all."""
    return Saved(
        fetched=before.fetched + saved.fetched,
        inserted=before.inserted + saved.inserted,
        updated=before.updated + saved.updated,
        rejected=before.rejected + saved.rejected,
        doubtful=saved.doubtful,
        newest=max((at for at in (before.newest, saved.newest) if at is not None), default=None),
    )


@dataclass(frozen=True, slots=True)
class _Matches:
    """By place in the batch: the stored reading's id; where nothing is to be written.

    ``leads``: where the reading was made by a lesser way, whose value gives way to this one. ``by_files``,
    ``by_clouds``, ``by_greater``: which the others' files, clouds and greater ways tell under another key, too.
    """

    ids: dict[int, str]
    settled: set[int]
    leads: set[int]
    by_files: set[int]
    by_clouds: set[int]
    by_greater: set[int]


_NO_MATCHES = _Matches({}, set(), set(), set(), set(), set())


class _Sent(msgspec.Struct, omit_defaults=True, gc=False):
    """A record on its way to the database, as JSON: a list of them is one parameter, encoded at once."""

    n: int
    record_key: str
    measured_at: datetime
    value: int
    trend: str | None = None
    trend_rate: float | None = None
    flag: str | None = None
    transmitter: bytes | None = None
    ticks: int | None = None
    id: str | None = None
    fresh: bool | None = None
    device_id: str | None = None
    display_offset_min: int | None = None


async def save(conn: Connection, owner: Owner, batch: Batch, window: Window | None = None) -> Saved:
    """Save in the caller's transaction. Matches each record to what is stored; inserts only what is new.

    What is stored of ``window`` and not in the batch stays, and is noted as absent since now.
    """
    await lock_person(conn, owner.person_id)
    readings = await _without_moved(conn, owner, _one_per_key(batch.readings))
    rejected, doubtful = await _keep_rejected(conn, owner, batch)
    sent = [_sent(n, reading) for n, reading in enumerate(readings)]
    is_new = await _is_new(conn, owner, readings, window)
    found = _NO_MATCHES if is_new else await _match(conn, owner, sent, _absences(batch, window))
    if not readings:
        fetched = len(batch.readings) + len(batch.rejected)
        return Saved(fetched=fetched, rejected=rejected, doubtful=doubtful)
    ids, new = _assign_ids(owner, readings, found.ids)
    open_places = [n for n in range(len(readings)) if n not in found.settled]
    for n in open_places:
        _complete(sent[n], readings[n], ids[n], n in new)
    inserted = await _store(conn, owner, [sent[n] for n in open_places])
    await _relink(conn, owner, [ids[n] for n in open_places if n in found.ids])
    updated = await _correct(conn, owner, readings, ids, _to_correct(owner, readings, ids, open_places, found))
    return Saved(
        fetched=len(batch.readings) + len(batch.rejected),
        inserted=inserted,
        updated=updated,
        rejected=rejected,
        doubtful=doubtful,
        newest=readings[-1].measured_at,
    )


async def lock_person(conn: Connection, person_id: str) -> None:
    """Until the transaction ends nobody else writes readings of this person; connections are locked before it."""
    await conn.execute(QUERIES["lock_person"], {"person_id": person_id})


def _one_per_key(readings: Sequence[Reading]) -> list[Reading]:
    """The last said of each record key, oldest first."""
    by_key = {reading.record_key: reading for reading in readings}
    return sorted(by_key.values(), key=_IN_ORDER)


async def _without_moved(conn: Connection, owner: Owner, readings: list[Reading]) -> list[Reading]:
    """Without what is stored already at the same local time, under the offset from UTC that its clock had then."""
    if not owner.by_device_clock or not readings:
        return readings
    values = {
        "person_id": owner.person_id,
        "stream": owner.stream,
        "keys": [reading.record_key for reading in readings],
        "measured": [reading.measured_at for reading in readings],
        "vals": [float(reading.glucose_mg_dl) for reading in readings],
        "offsets": [reading.display_offset_min for reading in readings],
        "near": SAME_MOMENT,
        "farthest": FARTHEST_MOVE,
    }
    rows = await (await conn.execute(QUERIES["moved"], values)).fetchall()
    moved = {row["record_key"] for row in rows}
    return [reading for reading in readings if reading.record_key not in moved]


def _sent(n: int, reading: Reading) -> _Sent:
    return _Sent(
        n,
        reading.record_key,
        reading.measured_at,
        reading.glucose_mg_dl,
        reading.trend,
        reading.trend_rate,
        reading.flag,
        reading.transmitter_hash,
        reading.transmitter_ticks,
    )


def _complete(sent: _Sent, reading: Reading, id_: str, is_new: bool) -> None:
    sent.id = id_
    sent.fresh = is_new
    sent.device_id = reading.device_id
    sent.display_offset_min = reading.display_offset_min


def _absences(batch: Batch, window: Window | None) -> dict[str, Any]:
    """Where to look for what an answer lacks: nowhere, if some of it could not be read. A record set aside is there."""
    if window is None or any(record.reason in UNREAD for record in batch.rejected):
        return {"start": None, "end": None, "aside": []}
    aside = [record.record_key for record in batch.rejected]
    return {"start": window.start + EDGE, "end": window.end - EDGE, "aside": aside}


def _as_json(values: Sequence[Any]) -> str:
    """One text: the driver looks through each value of an array for what to escape."""
    return msgspec.json.encode(values).decode()


async def _is_new(conn: Connection, owner: Owner, readings: list[Reading], window: Window | None) -> bool:
    """Whether nothing is stored that a record could match, or that the window's answer could lack."""
    reach = max(owner.slot, timedelta(seconds=WIDEST.seconds))
    times = [window.start, window.end] if window else []
    if readings:
        times += [readings[0].measured_at - reach, readings[-1].measured_at + reach]
    values = {
        "person_id": owner.person_id,
        "stream": owner.stream,
        "keys": _as_json([reading.record_key for reading in readings]),
        "ticks": _as_json([reading.transmitter_ticks for reading in readings if reading.transmitter_ticks is not None]),
        "first": min(times, default=None),
        "last": max(times, default=None),
    }
    row = await (await conn.execute(QUERIES["is_new"], values)).fetchone()
    return bool(row and row["is_new"])


async def _match(conn: Connection, owner: Owner, sent: list[_Sent], absences: dict[str, Any]) -> _Matches:
    near = nearness_of(owner.stream)
    values = {
        "person_id": owner.person_id,
        "connection_id": owner.connection_id,
        "stream": owner.stream,
        "of_file": owner.stream in FILE_STREAMS,
        "near_s": near.seconds,
        "near_mg_dl": near.mg_dl,
        "near_by_ends": near.by_ends,
        "records": _as_json(sent),
        "lesser": list(owner.lesser),
        "greater": list(owner.greater),
        "slot": owner.slot,
        "shares": owner.shares,
        **_FILES,
        **absences,
    }
    rows = await (await conn.execute(QUERIES["match"], values)).fetchall()
    return _Matches(
        {row["n"]: row["reading_id"] for row in rows},
        {row["n"] for row in rows if row["settled"]},
        {row["n"] for row in rows if row["first"] and _made_by_lesser(owner, row["reading_id"], row["makers"] or [])},
        {row["n"] for row in rows if row["by_files"]},
        {row["n"] for row in rows if row["by_clouds"]},
        {row["n"] for row in rows if row["by_greater"]},
    )


def _made_by_lesser(owner: Owner, reading_id: str, makers: Sequence[Sequence[str]]) -> bool:
    """Whether one of these lesser records, each a stream and a key, made the reading's id; its time may have moved."""
    return any(
        ids_in(owner.person_id, stream)(Reading(key, EPOCH, BELOW_RANGE_MG_DL))[14:] == reading_id[14:]
        for stream, key in makers
    )


def _assign_ids(owner: Owner, readings: list[Reading], matched: dict[int, str]) -> tuple[list[str], set[int]]:
    """An id for each place: the stored one, or that of its twin in this batch, or a new one; and where it is new."""
    make_id = ids_in(owner.person_id, owner.stream)
    ids: list[str] = []
    new: set[int] = set()
    near = timedelta(seconds=nearness_of(owner.stream).seconds)
    by_tick: dict[tuple[bytes, int], str] = {}
    by_value: dict[int, int] = {}
    for n, reading in enumerate(readings):
        tick = _tick(reading)
        found = matched.get(n) or (by_tick.get(tick) if tick else None) or _near_twin(readings, ids, n, by_value, near)
        if found is None:
            new.add(n)
            found = make_id(reading)
        ids.append(found)
        if tick:
            by_tick.setdefault(tick, found)
        by_value[reading.glucose_mg_dl] = n
    return ids, new


def _tick(reading: Reading) -> tuple[bytes, int] | None:
    if reading.transmitter_hash is None or reading.transmitter_ticks is None:
        return None
    return reading.transmitter_hash, reading.transmitter_ticks


def _near_twin(
    readings: list[Reading], ids: list[str], n: int, by_value: dict[int, int], near: timedelta
) -> str | None:
    """The id of an equal value ``near`` before it in the same batch (readings are oldest first)."""
    earlier = by_value.get(readings[n].glucose_mg_dl)
    if earlier is None or readings[n].measured_at - readings[earlier].measured_at > near:
        return None
    return ids[earlier]


async def _store(conn: Connection, owner: Owner, sent: list[_Sent]) -> int:
    """New readings, and the details of all that is sent, in one statement; how many were new."""
    if not sent:
        return 0
    values = {
        "person_id": owner.person_id,
        "connection_id": owner.connection_id,
        "stream": owner.stream,
        "records": _as_json(sent),
    }
    row = await (await conn.execute(QUERIES["store"], values)).fetchone()
    return int(row["inserted"]) if row else 0


async def _relink(conn: Connection, owner: Owner, ids: list[str]) -> None:
    if ids and owner.connection_id is not None:
        await conn.execute(
            QUERIES["relink_readings"],
            {"person_id": owner.person_id, "connection_id": owner.connection_id, "ids": ids},
        )


def _to_correct(
    owner: Owner, readings: list[Reading], ids: list[str], open_places: list[int], found: _Matches
) -> dict[int, bool]:
    """Places whose record may rewrite the reading that is stored; True: whatever is shown beside it.

    The record that made a reading's id may: copies with another value would flip it for ever. Where a lesser way or a
    file made it, the first of this way's. Another one may where none is shown beside it any more, but never what a
    greater way says; and a file rewrites nothing that a cloud tells.
    """
    make_id = ids_in(owner.person_id, owner.stream)
    of_file = owner.stream in FILE_STREAMS
    places: dict[int, bool] = {}
    for n in open_places:
        if n not in found.ids or n in found.by_greater:
            continue
        own = ids[n][14:] == make_id(readings[n])[14:]
        if of_file:
            if own and n not in found.by_clouds:
                places[n] = True
            continue
        own = own or n in found.leads or (n in found.by_files and n not in found.by_clouds)
        if own or not owner.greater:
            places[n] = own
    return places


async def _correct(
    conn: Connection, owner: Owner, readings: list[Reading], ids: list[str], places: dict[int, bool]
) -> int:
    if not places:
        return 0
    cursor = await conn.execute(
        QUERIES["correct_readings"],
        {
            "person_id": owner.person_id,
            "stream": owner.stream,
            "ids": [ids[n] for n in places],
            "keys": [readings[n].record_key for n in places],
            "own": list(places.values()),
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


async def forget_rejected(conn: Connection) -> None:
    """Records that were kept aside 30 days ago, 1,000 at a time."""
    await conn.execute(QUERIES["forget_rejected"])
