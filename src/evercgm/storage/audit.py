"""The record of deeds: the service's role may add to it and read it, nobody of the service may change it."""

import json

import psycopg

from evercgm.core import audit
from evercgm.core.audit import Action, Actor
from evercgm.core.caller import Caller
from evercgm.core.errors import NotYours, TooOften
from evercgm.logs import get_logger
from evercgm.storage.database import Connection, Database, load_queries

log = get_logger(__name__)
QUERIES = load_queries("audit.sql")
# Nothing that is written here is ever deleted: so often may an owner do one deed for one person within an hour.
MOST_AN_HOUR = 60
# Whoever wants out gets out. It needs a connection each time, and to connect is bounded.
NEVER_REFUSED: tuple[Action, ...] = ("disconnected", "route_removed")
# Vendors lock an account after a few wrong passwords, and nobody shall try them out on a stranger's account here.
FEWER_AN_HOUR: dict[Action, int] = {"sign_in_tried": 6}


async def record(
    conn: Connection, actor: Actor, action: Action, person_id: str | None, **detail: str | int | bool | None
) -> None:
    """As the worker or the tables' owner, in the deed's own transaction. ``detail``: ids, counts and codes of ours.

    Raises TooOften where this owner did the same for this person 60 times within the last hour, or tried a password 6
    times; then nothing is done.
    """
    values = {
        "bounded": actor.is_owner and action not in NEVER_REFUSED,
        "most": FEWER_AN_HOUR.get(action, MOST_AN_HOUR),
        "actor": actor.name,
        "request_id": actor.request_id,
        "action": action,
        "person_id": person_id,
        "detail": json.dumps({name: value for name, value in detail.items() if value is not None}),
    }
    row = await (await conn.execute(QUERIES["record"], values)).fetchone()
    if row is not None:
        raise TooOften(row["wait_s"])


async def record_for_persons(conn: Connection, actor: Actor, action: Action, owner_id: str) -> None:
    """``record`` for what concerns an owner: each of their persons may read it. Without any it is the operator's."""
    persons = await (await conn.execute(QUERIES["persons_of"], {"owner_id": owner_id})).fetchall()
    for person in persons:
        await record(conn, actor, action, person["id"])
    if not persons:
        await record(conn, actor, action, None, owner_id=owner_id)


async def record_export(db: Database, asker: Caller, person_id: str, **detail: str | None) -> None:
    """Before data of a person of the asker's leave as a file: what cannot be written down does not leave.

    Raises TooOften.
    """
    async with db.as_worker() as conn:
        await record(conn, audit.owner(asker), "exported", person_id, **detail)


async def record_refusal(db: Database, asker: Caller, refused: NotYours) -> None:
    """Tell the person whose thing it is that somebody else asked for it; nothing where it is nobody's.

    For after the answer, in a transaction of its own: the asker must not learn from it which of the two it was. At
    most one event for an asker and a person within an hour. A database that fails is logged, not raised.
    """
    actor = audit.owner(asker)
    values = {
        "actor": actor.name,
        "request_id": actor.request_id,
        "asker": asker.owner_id,
        "kind": refused.kind,
        "id": refused.id,
    }
    try:
        async with db.as_worker() as conn:
            row = await (await conn.execute(QUERIES["whose"], values)).fetchone()
            # A statement of its own: it must see what was committed before we were alone.
            if row is not None and row["alone"]:
                await conn.execute(QUERIES["record_refusal"], {**values, "person_id": row["person_id"]})
    except (psycopg.Error, OSError) as failure:
        log.warning("refusal_not_recorded", error=type(failure).__name__)
