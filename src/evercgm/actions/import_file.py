"""A file that a person exported at a vendor into readings: all of it, or nothing."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import BinaryIO

from evercgm.actions.watching import unwatched
from evercgm.core import audit
from evercgm.core.audit import OPERATOR, Actor
from evercgm.core.caller import Caller
from evercgm.core.errors import BadInput, NotYours
from evercgm.core.nearness import Unit
from evercgm.core.reading import Batch
from evercgm.file_imports.formats import read_file
from evercgm.file_imports.parsed import Answers, Format, Parsed
from evercgm.logs import get_logger
from evercgm.storage import attempts, connections, imports, readings
from evercgm.storage import erase as persons
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, become_worker
from evercgm.storage.readings import Owner, Saved

log = get_logger(__name__)
# Saved so many at once: what the database sorts and joins stays small, and a progress bar has something to show.
AT_ONCE = 5000
# Readings of this provider come by files alone, so the first file makes its connection.
MAKES_CONNECTION = frozenset({"abbott"})
# How many readings are stored of how many.
Watch = Callable[[tuple[int, int]], None]
_BY_TIME = attrgetter("measured_at", "record_key")


@dataclass(frozen=True, slots=True)
class Report:
    """``imported`` are new, ``known`` were there already; of these ``corrected`` have another time or value now.

    ``skipped``: lines of each kind that are no reading. ``first``, ``last``: of the file's readings, aware UTC.
    ``connection_id``: whose readings they are; None: of no connection.
    """

    format: Format
    unit: Unit
    imported: int
    known: int
    corrected: int
    skipped: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    connection_id: str | None


async def import_own(
    db: Database, caller: Caller, person_id: str, file: BinaryIO, answers: Answers, now: datetime
) -> Report:
    """As the person's owner; ``now`` aware UTC. Raises NotYours, BadInput, TooLarge; TooOften after 60 in an hour."""
    async with db.as_person(caller.claims) as conn:
        await _require_own(conn, person_id)
    kind, parsed = await asyncio.to_thread(read_file, file, answers, now)
    async with db.as_person(caller.claims) as conn:
        await _require_own(conn, person_id)
        await become_worker(conn)
        return await _store(conn, audit.owner(caller), person_id, kind, parsed, unwatched)


async def import_for(
    db: Database, person_id: str, file: BinaryIO, answers: Answers, now: datetime, watch: Watch = unwatched
) -> Report:
    """As the operator; ``now`` aware UTC. Raises BadInput, of --person where there is no such person; TooLarge."""
    kind, parsed = await asyncio.to_thread(read_file, file, answers, now)
    async with db.as_worker() as conn:
        if not await persons.is_there(conn, person_id):
            raise BadInput("--person", "there is no such person here (evercgm person list)")
        return await _store(conn, OPERATOR, person_id, kind, parsed, watch)


async def _require_own(conn: Connection, person_id: str) -> None:
    if not await connections.owns_person(conn, person_id):
        raise NotYours("person", person_id)


async def _store(conn: Connection, actor: Actor, person_id: str, kind: Format, parsed: Parsed, watch: Watch) -> Report:
    """As the worker, in one transaction: connection, readings, history and the record of the deed."""
    await attempts.lock_person(conn, person_id)
    connection_id = await imports.connection_for(
        conn, person_id, kind.provider, make=kind.provider in MAKES_CONNECTION and bool(parsed.readings)
    )
    owner = Owner(person_id, connection_id, kind.stream(parsed.unit))
    saved = await _save(conn, owner, parsed, watch)
    if connection_id is not None:
        await imports.note(conn, connection_id, person_id, saved)
    known = saved.fetched - saved.inserted
    skipped = sum(parsed.skipped.values())
    await record(conn, actor, "imported", person_id, imported=saved.inserted, known=known, skipped=skipped)
    log.info("imported", format=kind.code, imported=saved.inserted, known=known, skipped=skipped)
    times = [reading.measured_at for reading in parsed.readings]
    return Report(
        format=kind,
        unit=parsed.unit,
        imported=saved.inserted,
        known=known,
        corrected=saved.updated,
        skipped=parsed.skipped,
        first=min(times, default=None),
        last=max(times, default=None),
        connection_id=connection_id,
    )


async def _save(conn: Connection, owner: Owner, parsed: Parsed, watch: Watch) -> Saved:
    total = Saved()
    in_order = sorted(parsed.readings, key=_BY_TIME)
    for start in range(0, len(in_order), AT_ONCE):
        some = tuple(in_order[start : start + AT_ONCE])
        saved = await readings.save(conn, owner, Batch(some, (), None))
        total = Saved(
            fetched=total.fetched + saved.fetched,
            inserted=total.inserted + saved.inserted,
            updated=total.updated + saved.updated,
        )
        watch((start + len(some), len(in_order)))
    return total
