"""Delete what the service holds of a person, in one transaction, and keep only that it happened."""

from collections.abc import Sequence
from dataclasses import dataclass

from evercgm.actions.watching import Count, unwatched
from evercgm.core import audit
from evercgm.core.audit import OPERATOR, Actor
from evercgm.core.caller import Caller
from evercgm.core.erasure import Erasure, HostRows, Rows
from evercgm.core.errors import BadInput, NotYours
from evercgm.logs import get_logger
from evercgm.storage import connections
from evercgm.storage import erase as storage
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, become_worker
from evercgm.storage.erase import Scope, everything

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What was (or would be) deleted, and what stays the host app's own."""

    erased: Rows
    kept: HostRows


async def look(db: Database, person_id: str, *, all_readings: bool = False) -> Report:
    """As the operator: what ``erase`` would do. Raises BadInput(--person) where there is no such person."""
    async with db.as_worker() as conn:
        await _require_person(conn, person_id)
        return Report(*await storage.count(conn, person_id, everything(all_readings)))


async def look_at_own(db: Database, caller: Caller, person_id: str) -> Report:
    """As the person's owner: what ``erase_own`` would do without ``all_readings``. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        await _prove_own(conn, person_id)
        return Report(*await storage.count(conn, person_id, everything(False)))


async def erase(db: Database, person_id: str, *, all_readings: bool = False) -> Report:
    """As the operator. Raises BadInput(--person) where there is no such person."""
    async with db.as_worker() as conn:
        await _require_person(conn, person_id)
        return await _erase(conn, OPERATOR, person_id, all_readings)


async def erase_own(db: Database, caller: Caller, person_id: str, *, all_readings: bool = False) -> Report:
    """As the person's owner. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        await _prove_own(conn, person_id)
        return await _erase(conn, audit.owner(caller), person_id, all_readings)


async def erased_persons(db: Database) -> list[Erasure]:
    """Who was erased, for a replay after a restore."""
    async with db.as_worker() as conn:
        return await storage.erased_persons(conn)


async def look_again(db: Database, erasures: Sequence[Erasure]) -> list[Report]:
    """What ``replay`` would do, one report for each."""
    async with db.as_worker() as conn:
        return [Report(*await storage.count(conn, one.person_id, _scope_of(one))) for one in erasures]


async def replay(db: Database, erasures: Sequence[Erasure], watch: Count = unwatched) -> list[Report]:
    """Delete again what a restore has brought back: nothing younger than each erasure. One transaction a person.

    Persons who are not there any more are remembered all the same. May be repeated.
    """
    reports = []
    for erasure in erasures:
        async with db.as_worker() as conn:
            report = Report(*await storage.erase(conn, erasure.person_id, _scope_of(erasure)))
            if report.erased != Rows() or not await storage.is_noted(conn, erasure):
                await storage.note_erased(conn, erasure.person_id, erasure.erased_at)
                await _record(conn, OPERATOR, erasure, report, replayed=True)
        reports.append(report)
        watch(len(reports))
    return reports


async def _erase(conn: Connection, actor: Actor, person_id: str, all_readings: bool) -> Report:
    report = Report(*await storage.erase(conn, person_id, everything(all_readings)))
    erased_at = await storage.note_erased(conn, person_id, None)
    await _record(conn, actor, Erasure(person_id, erased_at, erased_at if all_readings else None), report)
    log.info("erased", connections=report.erased.connections, readings=sum(report.erased.readings.values()))
    return report


async def _record(conn: Connection, actor: Actor, erasure: Erasure, report: Report, *, replayed: bool = False) -> None:
    """Counts alone: the record says that it happened, and how far it reached."""
    detail: dict[str, str | int | bool | None] = {
        "connections": report.erased.connections,
        "readings": sum(report.erased.readings.values()),
        "readings_kept": sum(report.kept.readings.values()),
        "all_readings_at": erasure.all_readings_at.isoformat() if erasure.all_readings_at else None,
        "replayed": replayed or None,
    }
    await record(conn, actor, "erased", erasure.person_id, **detail)


def _scope_of(erasure: Erasure) -> Scope:
    return Scope(erasure.erased_at, erasure.all_readings_at)


async def _require_person(conn: Connection, person_id: str) -> None:
    if not await storage.is_there(conn, person_id):
        raise BadInput("--person", "there is no such person here (evercgm person list)")


async def _prove_own(conn: Connection, person_id: str) -> None:
    """Then go on as the worker in the same transaction."""
    if not await connections.owns_person(conn, person_id):
        raise NotYours("person", person_id)
    await become_worker(conn)
