"""Calls the operator: once when a region's credentials begin to be refused, not for each connection or failure."""

from evercgm.core.errors import EvercgmError, VendorDenied
from evercgm.logs import get_logger
from evercgm.settings import DEXCOM_CREDENTIALS
from evercgm.storage.checkup import is_first_in_alarm
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection

log = get_logger(__name__)
REASON = "operator_must_act"


def setting_of(provider: str, region: str) -> str:
    """The name of the setting that holds our secret there."""
    names = DEXCOM_CREDENTIALS.get(region) if provider == "dexcom" else None
    return names[1] if names else f"credentials of {provider}"


async def call_operator(conn: Connection, loaded: Loaded, reason: str, failure: EvercgmError) -> None:
    """Log the change to ``operator_must_act``, where this is the first connection of its region to suffer it.

    A 403 (the vendor grants our app no access to this account, or no more) is told for each connection.
    """
    if isinstance(failure, VendorDenied) and not failure.expired_token and loaded.reason != reason:
        log.error("operator_alarm", connection_id=loaded.id, provider=loaded.provider, region=loaded.region, status=403)
    if reason != REASON or loaded.reason == REASON:
        return
    first = await is_first_in_alarm(conn, provider=loaded.provider, region=loaded.region, connection_id=loaded.id)
    if first:
        log.error(
            "operator_alarm",
            provider=loaded.provider,
            region=loaded.region,
            setting=setting_of(loaded.provider, loaded.region),
            error=type(failure).__name__,
        )
