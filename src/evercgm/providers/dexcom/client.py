"""What is asked of Dexcom's data endpoints, and how; what the answers mean is said in mapping."""

from datetime import datetime, timedelta

import httpx2

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Survey, VendorApp
from evercgm.provider_kit.send import raise_for_data, send
from evercgm.providers.dexcom import mapping
from evercgm.providers.dexcom.times import query_time

DATA_PATH = "/v3/users/self/"
_ALMOST_A_SECOND = timedelta(microseconds=999_999)


async def survey(http: httpx2.AsyncClient, app: VendorApp, token: Secret) -> Survey:
    """What the account holds. Dexcom v3, "dataRange" and "devices", read 2026-11; a new account is all None.

    Raises VendorDenied, VendorTryLater, VendorChanged. An unreadable "devices" only leaves the device out.
    """
    held = mapping.read_data_range(await _get(http, app, token, "dataRange", {}))
    try:
        device_id = mapping.read_devices(await _get(http, app, token, "devices", {}))
    except VendorChanged:
        device_id = None
    return Survey(held.account_id, held.first, held.last, device_id)


async def news(http: httpx2.AsyncClient, app: VendorApp, token: Secret, since: datetime) -> datetime | None:
    """When the first of what is new since then was measured. Dexcom v3, "dataRange" with "lastSyncTime", read 2026-11.

    "New" is taken for uploaded, which is not documented; None also where the question is not understood, since its form
    is told in two ways, and where a broken clock dates the first. Raises VendorDenied, VendorTryLater.
    """
    ask = {"lastSyncTime": query_time(since) + "Z"}
    try:
        first = mapping.read_data_range(await _get(http, app, token, "dataRange", ask)).first
    except VendorChanged:
        return None
    return None if first == mapping.EARLIEST_HISTORY else first


async def read(http: httpx2.AsyncClient, app: VendorApp, token: Secret, window: Window) -> Batch:
    """The readings of one window. Dexcom v3, "egvs", read 2026-11; window <= 30 days, ends at whole seconds.

    Raises VendorDenied, VendorTryLater, VendorChanged.
    """
    ask = {"startDate": query_time(window.start), "endDate": query_time(window.end + _ALMOST_A_SECOND)}
    body = await _get(http, app, token, "egvs", ask)
    return mapping.within(mapping.read_egvs(body, utc_now()), window)


async def _get(http: httpx2.AsyncClient, app: VendorApp, token: Secret, kind: str, params: dict[str, str]) -> bytes:
    headers = {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"}
    answer = await send(http, "GET", app.base_url + DATA_PATH + kind, headers=headers, params=params)
    raise_for_data(answer)
    return answer.body
