"""Take the host app's tokens from under a key that others may have, and say what it still gives away.

Each connection is taken over as ``adopt`` does it, and is due for a refresh at once: the vendor then ends the refresh
token that was exposed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from evercgm.actions import adopt
from evercgm.actions.adopt import Found, Outcome, Terms, open_token
from evercgm.actions.watching import Count, unwatched
from evercgm.core.audit import OPERATOR
from evercgm.core.tokens import Secret
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import adoption, connections
from evercgm.storage.audit import record
from evercgm.storage.database import Database, Row
from evercgm.storage.host_envelope import Form
from evercgm.storage.vault import Place


@dataclass(frozen=True, slots=True)
class Aside:
    """Connections that were set aside: ``ready`` hold a token that can be sealed anew, ``unreadable`` one that cannot.

    ``all``: whatever they hold, nobody renews it at the vendor.
    """

    all: int
    ready: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """``resealed``: connections that were set aside and hold our seal now."""

    outcome: Outcome
    resealed: int


@dataclass(frozen=True, slots=True)
class Exposed:
    """What the leaked key, or a copy of the database, gives away at this moment.

    ``host``: connections that are still the host app's, by provider and form. ``waiting``: ours, their pair not yet
    renewed at the vendor, by status.
    """

    host: Mapping[str, Mapping[Form, int]]
    waiting: Mapping[str, int]
    aside: Aside


async def look_aside(db: Database, terms: Terms) -> Aside:
    """Count what was set aside; changes nothing."""
    counts: Counter[str] = Counter()
    async for row in adoption.quarantined(db):
        opened = _open(db, terms, row)
        forms = {form for form, _, _ in opened.values()}
        counts["all"] += 1
        counts["ready"] += bool(forms & {"host", "plain"})
        counts["unreadable"] += "unreadable" in forms
    return Aside(counts["all"], counts["ready"], counts["unreadable"])


async def rekey(db: Database, vendors: Vendors, terms: Terms, watch: Count = unwatched) -> Rekeyed:
    """All that can be done here, each connection in its own transaction; a run that was cut off goes on where it ended.

    ``watch`` is told of connections, then of those that were set aside.
    """
    await adoption.renew_at_once(db, terms.route)
    outcome = await adopt.adopt(db, vendors, terms, watch)
    done = outcome.adopted + sum(outcome.left.values())
    resealed = 0
    async for row in adoption.quarantined(db):
        resealed += await _reseal_one(db, terms, row["id"])
        done += 1
        watch(done)
    return Rekeyed(outcome, resealed)


async def exposed(db: Database, found: Found, terms: Terms) -> Exposed:
    """``found``: what ``adopt.look`` sees now."""
    return Exposed(found.forms, await adoption.never_renewed(db), await look_aside(db, terms))


async def _reseal_one(db: Database, terms: Terms, connection_id: str) -> bool:
    """Whether something of it was sealed anew. What does not open stays as it is."""
    async with db.as_worker() as conn:
        row = await adoption.lock_quarantined(conn, connection_id)
        if row is None:
            return False
        opened = _open(db, terms, row)
        sealed = {
            column: db.vault.seal(token, place)
            for column, (form, token, place) in opened.items()
            if form in ("host", "plain")
        }
        if not sealed:
            return False
        await adoption.reseal_quarantined(conn, connection_id, sealed)
        await record(conn, OPERATOR, "rekeyed", row["person_id"], connection_id=connection_id, set_aside=True)
    return True


def _open(db: Database, terms: Terms, row: Row) -> dict[str, tuple[Form, Secret, Place]]:
    """Both tokens by column: form, the token, where it is sealed for once its row is put back."""
    places = {
        "access_token": connections.access_place(row["id"]),
        "refresh_token": connections.refresh_place(row["id"]),
    }
    return {
        column: (*open_token(row[column], place, db.vault, terms.envelope), place) for column, place in places.items()
    }
