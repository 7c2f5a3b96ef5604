"""Have every connection's tokens renewed at its vendor, which ends the refresh tokens that others may know."""

from collections import Counter
from collections.abc import Mapping

from evercgm.actions.watching import Count, unwatched
from evercgm.core.audit import OPERATOR
from evercgm.storage import audit, connections
from evercgm.storage.database import Database

PAGE = 500


async def renew_all(db: Database, watch: Count = unwatched) -> Mapping[str, int]:
    """Mark them all, page by page; the workers renew each before its next call. How many, by status.

    Paused ones are renewed when they are resumed; expired ones hold nothing that the vendor still takes.
    """
    kinds = Counter[str]()
    after: str | None = ""
    while after is not None:
        async with db.as_worker() as conn:
            rows = await connections.renew_page(conn, after, PAGE)
        kinds.update(row["kind"] for row in rows)
        watch(kinds.total())
        after = rows[-1]["id"] if len(rows) == PAGE else None
    async with db.as_worker() as conn:
        await audit.record(conn, OPERATOR, "renewal_asked", None, connections=kinds.total())
    return kinds
