"""A person's connections as their owner sees them: never a token, a cursor or a key id."""

from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from evercgm.actions import pause
from evercgm.actions.disconnect import disconnect, remove_route
from evercgm.api.caller import Changing, Reading, Wired
from evercgm.api.fields import PathId, PersonQuery, Told
from evercgm.core.connection import Freshness, consent_ends_soon, freshness, message_for
from evercgm.runtime import Runtime
from evercgm.storage import views
from evercgm.storage.routes import RouteView
from evercgm.storage.views import ConnectionView

router = APIRouter(tags=["connections"])


class Route(BaseModel):
    """Another way to the same readings, beside the connection's own; ``reason`` and ``message`` as there."""

    route: str
    title: str
    region: str
    official: bool
    reason: str | None
    message: str | None
    newest_reading_at: Told | None
    connected_at: Told


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
    routes: list[Route]


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
    await pause.pause(runtime.db, runtime.vendors, caller, connection_id)
    return await get_connection(connection_id, runtime, caller)


@router.post("/connections/{connection_id}/resume")
async def resume_connection(connection_id: PathId, runtime: Wired, caller: Changing) -> OneConnection:
    """Go on after a pause; what was missed is fetched at once."""
    await pause.resume(runtime.db, caller, connection_id)
    return await get_connection(connection_id, runtime, caller)


@router.delete("/connections/{connection_id}")
async def delete_connection(connection_id: PathId, runtime: Wired, caller: Changing) -> Disconnected:
    """Forget the tokens and the connection; the readings stay. A vendor that has a way to forget is asked to."""
    done = await disconnect(runtime.db, runtime.vendors, caller, connection_id)
    return Disconnected(readings_kept=done.readings_kept, vendor_revoked=done.vendor_revoked)


@router.delete("/connections/{connection_id}/routes/dexcom_share")
async def delete_share(connection_id: PathId, runtime: Wired, caller: Changing) -> OneConnection:
    """Take Dexcom Share away and forget its sign-in; the connection's own way and all readings stay."""
    await remove_route(runtime.db, caller, connection_id, "dexcom_share")
    return await get_connection(connection_id, runtime, caller)


def _facts(runtime: Runtime, found: ConnectionView) -> dict[str, object]:
    names = set(Connection.model_fields) - {"reason", "message", "freshness", "routes"}
    reason, ends_at = found.reason, _consent_ends_at(runtime, found)
    goes_on = any(way.lives for way in found.routes)
    if found.status == "disconnected" and reason != "not_adopted" and (goes_on or reason not in pause.ENDED):
        # The trouble of before the pause is remembered, yet the pause is why nothing comes.
        reason = "paused"
    elif found.status == "connected" and reason is None and ends_at and consent_ends_soon(ends_at, found.now):
        reason = "consent_ends_soon"
    return {
        **{name: getattr(found, name) for name in names},
        "reason": reason,
        "message": message_for(reason, ends_at),
        "freshness": freshness(found.newest_reading_at, found.now, _usual_delay(runtime, found)),
        "routes": [_route(runtime, way) for way in found.routes],
    }


def _route(runtime: Runtime, way: RouteView) -> dict[str, object]:
    provider = runtime.vendors.providers.get(way.route)
    return {
        "route": way.route,
        "title": provider.title if provider else way.route,
        "region": way.region,
        "official": bool(provider and provider.official),
        "reason": way.reason,
        "message": message_for(way.reason),
        "newest_reading_at": way.newest_at,
        "connected_at": way.connected_at,
    }


def _consent_ends_at(runtime: Runtime, found: ConnectionView) -> datetime | None:
    """When the vendor may end the consent, None where nobody knows."""
    provider = runtime.vendors.providers.get(found.provider)
    return found.connected_at + provider.consent_lasts if provider and provider.consent_lasts else None


def _usual_delay(runtime: Runtime, found: ConnectionView) -> timedelta:
    """That of the quickest way in that works: beside one in real time the official one's hour is no excuse."""
    providers = runtime.vendors.providers
    ways = [(found.provider, found.region)] + [(way.route, way.region) for way in found.routes if way.reason is None]
    regions = (providers[route].regions.get(region or "") for route, region in ways if route in providers)
    return min((region.delay for region in regions if region is not None), default=timedelta())
