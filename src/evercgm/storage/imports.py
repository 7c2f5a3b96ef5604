"""What an import of a file leaves beside its readings: a connection where it needs one, and a line of the history."""

import uuid

from evercgm.core.connection import BY_FILE
from evercgm.storage import connections
from evercgm.storage.database import Connection, load_queries
from evercgm.storage.readings import Saved

QUERIES = load_queries("imports.sql")


async def connection_for(conn: Connection, person_id: str, provider: str, *, make: bool) -> str | None:
    """As the worker: the person's connection at this provider, locked, whoever made it; where there is none a new one
    without tokens if ``make``, else None.
    """
    found = await connections.connection_of_person(conn, person_id, provider)
    if found is not None or not make:
        return found["id"] if found else None
    values = {"id": str(uuid.uuid4()), "person_id": person_id, "provider": provider, "region": BY_FILE}
    await conn.execute(QUERIES["make_connection"], values)
    await conn.execute(QUERIES["own_by_files"], values)
    return values["id"]


async def note(conn: Connection, connection_id: str, person_id: str, saved: Saved) -> None:
    """Write the import down in the connection's history, in the transaction that stored its readings."""
    values = {
        "id": str(uuid.uuid4()),
        "connection_id": connection_id,
        "person_id": person_id,
        "region": BY_FILE,
        "fetched": saved.fetched,
        "inserted": saved.inserted,
        "updated": saved.updated,
    }
    await conn.execute(QUERIES["note_run"], values)
    await conn.execute(QUERIES["note_success"], values)
