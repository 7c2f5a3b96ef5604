"""A person's connections as their owner sees them: never a token, a cursor or a key id."""

from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from evercgm.actions import pause
from evercgm.actions.disconnect import disconnect
from evercgm.api.caller import Changing, Reading, Wired
from evercgm.api.fields import PathId, PersonQuery, Told
from evercgm.core.connection import Freshness, consent_ends_soon, freshness, message_for
from evercgm.runtime import Runtime
from evercgm.storage import views
from evercgm.storage.views import ConnectionView

router = APIRouter(tags=["connections"])


class Connection(BaseModel):
    """``reason`` is a stable code and ``message`` its sentence, both null where all is well."""

    id: str
    person_id: str
    provider: str
    region: str | None
    status: Literal["connected", "disconnected", "error", "expired"]
    reason: str | None
    message: str | None
    device_id: str | None
    connected_at: Told
    token_expires_at: Told | None
    last_sync_at: Told | None
    next_sync_at: Told | None
    newest_reading_at: Told | None
    freshness: Freshness


class Connections(BaseModel):
    """A list of connections."""

    connections: list[Connection]


class Totals(BaseModel):
    """Readings that came by the connection, and on how many UTC days."""

    total: int
    days: int


class OneConnection(Connection):
    """A connection with what it has brought."""

    readings: Totals


class Disconnected(BaseModel):
    """Readings stay; ``vendor_revoked`` tells whether the vendor, too, forgot the consent."""

    readings_kept: int
    vendor_revoked: bool


@router.get("/connections")
async def list_connections(runtime: Wired, caller: Reading, person_id: PersonQuery = None) -> Connections:
    """The connections of one person, or of all of the caller's persons."""
    found = await views.connections(runtime.db, caller, person_id)
    return Connections(connections=[Connection.model_validate(_facts(runtime, item)) for item in found])


@router.get("/connections/{connection_id}")
async def get_connection(connection_id: PathId, runtime: Wired, caller: Reading) -> OneConnection:
    """One connection, with the totals of its readings."""
    found, totals = await views.connection(runtime.db, caller, connection_id)
    facts = {**_facts(runtime, found), "readings": {"total": totals.total, "days": totals.days}}
    return OneConnection.model_validate(facts)


@router.post("/connections/{connection_id}/pause")
async def pause_connection(connection_id: PathId, runtime: Wired, caller: Changing) -> OneConnection:
    """Fetch nothing until it is resumed; the access is kept, sealed."""
    await pause.pause(runtime.db, caller, connection_id)
    return await get_connection(connection_id, runtime, caller)


@router.post("/connections/{connection_id}/resume")
async def resume_connection(connection_id: PathId, runtime: Wired, caller: Changing) -> OneConnection:
    """Go on after a pause; what was missed is fetched at once."""
    await pause.resume(runtime.db, caller, connection_id)
    return await get_connection(connection_id, runtime, caller)


@router.delete("/connections/{connection_id}")
async def delete_connection(connection_id: PathId, runtime: Wired, caller: Changing) -> Disconnected:
    """Forget the tokens and the connection; the readings stay."""
    kept = await disconnect(runtime.db, caller, connection_id)
    return Disconnected(readings_kept=kept, vendor_revoked=False)


def _facts(runtime: Runtime, found: ConnectionView) -> dict[str, object]:
    names = set(Connection.model_fields) - {"reason", "message", "freshness"}
    reason, ends_at = found.reason, _consent_ends_at(runtime, found)
    if found.status == "disconnected" and reason not in (*pause.ENDED, "not_adopted"):
        # The trouble of before the pause is remembered, yet the pause is why nothing comes.
        reason = "paused"
    elif found.status == "connected" and reason is None and ends_at and consent_ends_soon(ends_at, found.now):
        reason = "consent_ends_soon"
    return {
        **{name: getattr(found, name) for name in names},
        "reason": reason,
        "message": message_for(reason, ends_at),
        "freshness": freshness(found.newest_reading_at, found.now, _usual_delay(runtime, found)),
    }


def _consent_ends_at(runtime: Runtime, found: ConnectionView) -> datetime | None:
    """When the vendor may end the consent, None where nobody knows."""
    provider = next((one for one in runtime.vendors.providers.values() if one.provider == found.provider), None)
    return found.connected_at + provider.consent_lasts if provider and provider.consent_lasts else None


def _usual_delay(runtime: Runtime, found: ConnectionView) -> timedelta:
    for provider in runtime.vendors.providers.values():
        region = provider.regions.get(found.region or "")
        if provider.provider == found.provider and region is not None:
            return region.delay
    return timedelta()
