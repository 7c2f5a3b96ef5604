"""Calls the operator: once when a region begins to refuse us or to answer strangely, not for each failure."""

from evercgm.core.errors import EvercgmError, VendorDenied
from evercgm.logs import get_logger
from evercgm.settings import DEXCOM_CREDENTIALS
from evercgm.storage.checkup import is_first_in_alarm
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection

log = get_logger(__name__)
REASON = "operator_must_act"
# Any other failure at the token endpoint, and answers that nobody can read.
ALARMING = (REASON, "vendor_changed")


def setting_of(provider: str, region: str) -> str:
    """The name of the setting that holds our secret there."""
    names = DEXCOM_CREDENTIALS.get(region) if provider == "dexcom" else None
    return names[1] if names else f"credentials of {provider}"


async def call_operator(conn: Connection, loaded: Loaded, reason: str, failure: EvercgmError) -> None:
    """Log the change to an alarming reason, where this is the first connection of its region to suffer it.

    A 403 (the vendor grants our app no access to this account, or no more) is told for each connection.
    """
    if isinstance(failure, VendorDenied) and not failure.expired_token and loaded.reason != reason:
        log.error("operator_alarm", connection_id=loaded.id, provider=loaded.provider, region=loaded.region, status=403)
    if reason not in ALARMING or loaded.reason == reason:
        return
    first = await is_first_in_alarm(
        conn, provider=loaded.provider, region=loaded.region, connection_id=loaded.id, reason=reason
    )
    if first:
        log.error(
            "operator_alarm",
            provider=loaded.provider,
            region=loaded.region,
            reason=reason,
            setting=setting_of(loaded.provider, loaded.region) if reason == REASON else None,
            error=type(failure).__name__,
        )
