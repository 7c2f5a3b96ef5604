"""What is asked of CareLink's data, and how; what the answer means is said in mapping."""

from datetime import timedelta

import httpx2

from evercgm.core.errors import ReconnectNeeded, VendorTryLater
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Survey, VendorApp
from evercgm.providers.medtronic import accounts, kept, mapping
from evercgm.providers.medtronic.calls import ask, raise_for
from evercgm.providers.medtronic.discovery import version_of
from evercgm.providers.medtronic.hosts import checked
from evercgm.providers.medtronic.kept import Access

MESSAGE_PATH = "/display/message"
# CareLink, read 2026-11: what is older exists nowhere but in an export by hand.
KEEPS = timedelta(hours=24)


def account_of(tokens: Tokens) -> str | None:
    """This account's view of the patient; None where tokens are of several and nobody was chosen."""
    try:
        known = kept.opened(tokens.access, Access)
    except ReconnectNeeded:
        return None
    return _account_id(known) if known.view.patient else None


async def survey(http: httpx2.AsyncClient, app: VendorApp, access: Secret) -> Survey:
    """Whose readings these are, the first and the last of them. Raises what ``read`` raises.

    Asked and not taken from the clock: a first reading that is claimed, and then not there, is an outage to a sync.
    """
    now = utc_now()
    held = await read(http, app, access, Window(now - KEEPS, now))
    if not held.readings:
        # What is all unreadable is to be read, and told, all the same.
        return Survey(held.account_id, now - KEEPS if held.rejected else None, None, None)
    return Survey(held.account_id, held.readings[0].measured_at, held.readings[-1].measured_at, None)


async def read(http: httpx2.AsyncClient, app: VendorApp, access: Secret, window: Window) -> Batch:  # noqa: ARG001
    """The last 24 hours, whatever the window. CareLink v13, "display/message", read 2026-11.

    Raises VendorDenied, VendorTryLater, VendorChanged, OperatorMustAct; ReconnectNeeded(unfollowed).
    """
    known = kept.opened(access, Access)
    view = known.view
    body = {
        "username": view.username,
        "role": view.role,
        "patientId": view.patient,
        "appVersion": _app_version(version_of(app)),
    }
    answer = await ask(http, checked(view.data_url, app.base_url) + MESSAGE_PATH, known.token, body)
    if answer.status == 400:
        await _explain_bad_request(http, app, known)
    raise_for(answer, known.issued_at, utc_now())
    return mapping.read_message(answer.body, _account_id(known), utc_now())


async def _explain_bad_request(http: httpx2.AsyncClient, app: VendorApp, known: Access) -> None:
    """The patient has ended the link, or it is maintenance. Raises ReconnectNeeded, VendorTryLater and more."""
    checked(known.view.care_url, app.base_url)
    if not await accounts.is_followed(http, known.view, known.token, known.issued_at):
        raise ReconnectNeeded("unfollowed")
    raise VendorTryLater("a data call was answered with status 400, though the link is there")


def _account_id(known: Access) -> str:
    return mapping.account_id_of(known.view.username, known.view.patient)


def _app_version(version: str) -> str:
    """In three parts, as the vendor's app says it: some accounts are refused without it."""
    return version if version.count(".") > 1 else f"{version}.0"
