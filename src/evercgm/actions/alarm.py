"""Calls the operator: once when a region begins to refuse us or to answer strangely, not for each failure."""

from dataclasses import dataclass

from evercgm.core.errors import BadInput, EvercgmError, GrantRefused, OperatorMustAct, VendorDenied, is_version
from evercgm.core.limits import Place
from evercgm.logs import get_logger
from evercgm.settings import APP_VERSIONS, DEXCOM_CREDENTIALS, UNOFFICIAL
from evercgm.storage import budgets
from evercgm.storage.checkup import is_first_in_alarm, is_first_route_in_alarm
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection, Database
from evercgm.storage.database_errors import classify
from evercgm.storage.routes import SideRoute

log = get_logger(__name__)
REASON = "operator_must_act"
# Any other failure at the token endpoint, and answers that nobody can read.
ALARMING = (REASON, "vendor_changed")
APP_VERSION, NOT_SET_UP = "app_version", "not_set_up"


@dataclass(frozen=True, slots=True)
class ToMend:
    """What mends it: ``cure`` is a word of ours, ``setting`` the one to change, ``floor`` the least version to name."""

    cure: str | None = None
    setting: str | None = None
    floor: str | None = None


def setting_of(provider: str, region: str) -> str:
    """The name of the setting that offers this region: the one that holds our secret there, or names the way in."""
    names = DEXCOM_CREDENTIALS.get(region) if provider == "dexcom" else None
    return names[1] if names else UNOFFICIAL


def cure_of(provider: str, region: str, failure: EvercgmError) -> ToMend:
    """What the operator has to do about this failure, as far as it says so."""
    if isinstance(failure, BadInput):
        return ToMend(NOT_SET_UP, setting_of(provider, region))
    if isinstance(failure, GrantRefused):
        # Told only of what was adopted: another registration of ours, or another region, is refused just so.
        return ToMend("credentials", setting_of(provider, region))
    if not isinstance(failure, OperatorMustAct):
        return ToMend()
    if failure.cure == APP_VERSION:
        return ToMend(APP_VERSION, APP_VERSIONS, failure.floor)
    named = failure.cure == "credentials" and provider == "dexcom"
    return ToMend(failure.cure, setting_of(provider, region) if named else None)


def floor_in(reason: str) -> str | None:
    """The least version of an app that a pause was noted for; None: it was for something else, or names none."""
    cure, _, floor = reason.partition(" ")
    return floor if cure == APP_VERSION and is_version(floor) else None


async def call_operator(conn: Connection, loaded: Loaded, reason: str, failure: EvercgmError) -> None:
    """Log the change to an alarming reason, where this is the first connection of its region to suffer it.

    A 403 (the vendor grants our app no access to this account, or no more) is told for each connection.
    """
    place = (loaded.provider, loaded.region)
    if isinstance(failure, VendorDenied) and not failure.expired_token and loaded.reason != reason:
        log.error("operator_alarm", connection_id=loaded.id, provider=loaded.provider, region=loaded.region, status=403)
    await _keep_in_mind(conn, place, failure)
    if reason not in ALARMING or loaded.reason == reason:
        return
    if await is_first_in_alarm(conn, place=place, connection_id=loaded.id, reason=reason):
        _tell(place, reason, failure)


async def call_operator_of_route(conn: Connection, side: SideRoute, reason: str, failure: EvercgmError) -> None:
    """As ``call_operator``, for another way in of a connection."""
    place = (side.route, side.region)
    await _keep_in_mind(conn, place, failure)
    if reason not in ALARMING or side.reason == reason:
        return
    if await is_first_route_in_alarm(conn, place=place, connection_id=side.connection_id, reason=reason):
        _tell(place, reason, failure)


async def call_operator_at_sign_in(db: Database, place: Place, failure: Exception) -> None:
    """As ``call_operator``, for a sign-in that met it: nobody's connection keeps that in mind, so each is told.

    Not where a connection of the region, or a way in, suffers it already: that one has called.
    """
    if not isinstance(failure, OperatorMustAct):
        return
    first = True
    try:
        async with db.as_worker() as conn:
            await _keep_in_mind(conn, place, failure)
            first = await is_first_in_alarm(conn, place=place, connection_id=None, reason=REASON)
            first = first and await is_first_route_in_alarm(conn, place=place, connection_id=None, reason=REASON)
    except Exception as trouble:
        # The vendor's failure is what the person must be told.
        if classify(trouble) is None:
            raise
    if first:
        _tell(place, REASON, failure)


async def _keep_in_mind(conn: Connection, place: Place, failure: EvercgmError) -> None:
    """A floor is of all calls: it pauses the region, and doctor reads there which version is wanted.

    What CareLink's documents say of our version only a sign-in meets: what is connected goes on without them.
    """
    if isinstance(failure, OperatorMustAct) and failure.floor is not None:
        await budgets.pause_for(conn, place, f"{APP_VERSION} {failure.floor}")


def _tell(place: Place, reason: str, failure: EvercgmError) -> None:
    mend = cure_of(*place, failure)
    log.error(
        "operator_alarm",
        provider=place[0],
        region=place[1],
        reason=reason,
        cure=mend.cure,
        setting=mend.setting,
        floor=mend.floor,
        error=type(failure).__name__,
    )
