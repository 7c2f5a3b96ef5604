"""Puts what is due into the job engine, one job per connection; forgets what has had its time."""

from evercgm.storage import attempts, connections, jobs, readings
from evercgm.storage.database import Database

# A turn enqueues at most this many that were asked for, and as many that are due; the rest at the next one, 5 s on.
MOST = 1000


async def enqueue_due(db: Database) -> int:
    """Enqueue connections whose time has come and runs that wait; returns how many were looked at."""
    async with db.as_worker() as conn:
        await attempts.forget_old(conn)
        await readings.forget_rejected(conn)
        asked, due = await connections.due(conn, MOST)
        await jobs.enqueue_syncs(conn, asked, jobs.PERSON_PRIORITY)
        await jobs.enqueue_syncs(conn, due)
    return len(asked) + len(due)
