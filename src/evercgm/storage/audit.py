"""The record of deeds: the service's role may add to it and read it, nobody of the service may change it."""

import json

from evercgm.core.audit import Action, Actor
from evercgm.storage.database import Connection, load_queries

QUERIES = load_queries("audit.sql")


async def record(
    conn: Connection, actor: Actor, action: Action, person_id: str | None, **detail: str | int | bool | None
) -> None:
    """As the worker, in the transaction of the deed itself. ``detail``: ids, counts and codes of ours, nothing else."""
    values = {
        "actor": actor.name,
        "request_id": actor.request_id,
        "action": action,
        "person_id": person_id,
        "detail": json.dumps({name: value for name, value in detail.items() if value is not None}),
    }
    await conn.execute(QUERIES["record"], values)
