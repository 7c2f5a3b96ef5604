"""One call to CareLink's accounts or data: headers, and status into error."""

from datetime import datetime, timedelta

import httpx2

from evercgm.core.errors import VendorDenied, VendorTryLater
from evercgm.core.tokens import Secret
from evercgm.provider_kit.send import Answer, raise_for_data, send

# A call without one is blocked in front of the host.
USER_AGENT = "evercgm"
# A token this young has just been renewed: to renew it once more would change nothing.
FRESH_FOR = timedelta(minutes=2)
# After a 403 with a fresh token CareLink wants ten quiet minutes, and it keeps no more than 24 h.
DENIED_WAIT_S = 600


async def ask(http: httpx2.AsyncClient, url: str, token: Secret, json: object = None) -> Answer:
    """GET, or POST where there is a body; any status is an answer. Raises VendorTryLater, VendorChanged."""
    headers = {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json", "User-Agent": USER_AGENT}
    return await send(http, "GET" if json is None else "POST", url, headers=headers, json=json)


def raise_for(answer: Answer, issued_at: datetime, now: datetime) -> None:
    """Turn an answer that holds no data into its error; 2xx passes. Times aware UTC.

    Raises VendorDenied: a 403 counts as an expired token, unless the token is fresh; VendorTryLater, VendorRateLimited,
    VendorChanged.
    """
    if answer.status == 403 and not is_page(answer) and now - issued_at > FRESH_FOR:
        raise VendorDenied("a data call was refused with status 403", expired_token=True)
    if is_page(answer) and answer.status not in (401, 429):
        raise VendorTryLater(f"a page in place of data, with status {answer.status}", answer.retry_after_s)
    raise_for_data(answer, DENIED_WAIT_S)


def is_page(answer: Answer) -> bool:
    """Whether this is HTML: blocked in front of the host, or maintenance; never an answer of the host itself."""
    return answer.body.lstrip()[:1] == b"<"
