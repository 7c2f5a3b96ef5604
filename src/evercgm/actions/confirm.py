"""A person says yes to another vendor account: the pair that waited becomes the connection's."""

from evercgm.actions.connect import store
from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.errors import AnswerNeeded, NotYours
from evercgm.logs import get_logger
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import attempts, connections
from evercgm.storage.database import Database, become_worker

log = get_logger(__name__)


async def confirm(db: Database, vendors: Vendors, caller: Caller, attempt_id: str) -> str:
    """Store what the callback kept waiting, once; the connection's id.

    Cursor and history begin anew where the account is another or unknown; older readings stay with their stream.
    Raises NotYours (unknown, another owner's, used, or older than ten minutes), SealBroken, and AnswerNeeded where a
    yes is not enough: the sign-in asks whom of several people it is about.
    """
    async with db.as_worker() as conn:
        found = await attempts.look_waiting(conn, attempt_id, caller.owner_id)
        choice = await attempts.look_choice(conn, db.vault, attempt_id, caller.owner_id)
    if choice is not None:
        raise AnswerNeeded("who", "is missing: the id of one of the people whom the account follows", choice.choices)
    if found is None:
        raise NotYours("attempt", attempt_id)
    person_id = found["person_id"]
    async with db.as_person(caller.claims) as conn:
        await attempts.lock_person(conn, person_id)
        if not await connections.owns_person(conn, person_id):
            raise NotYours("person", person_id)
        await become_worker(conn)
        waiting = await attempts.consume_waiting(conn, db.vault, attempt_id, caller.owner_id, person_id)
        if waiting is None:
            raise NotYours("attempt", attempt_id)
        connection_id = await store(conn, db, vendors, waiting, audit.owner(caller))
    log.info("account_changed", connection_id=connection_id, route=waiting.route)
    return connection_id
