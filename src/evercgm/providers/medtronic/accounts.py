"""Who signed in at CareLink, and whose values this account reads."""

from datetime import datetime

import httpx2
import msgspec

from evercgm.core.errors import Choice, ReconnectNeeded, VendorChanged
from evercgm.core.tokens import Secret
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.send import read_json
from evercgm.providers.medtronic.calls import ask, raise_for
from evercgm.providers.medtronic.claims import read_claims
from evercgm.providers.medtronic.kept import Access, View

# CareLink, "users/me", read 2026-11: all other roles are patients.
CARE_PARTNER_ROLES = frozenset({"CARE_PARTNER", "CARE_PARTNER_OUS"})
LONGEST_NAME = 256


class _Me(msgspec.Struct, frozen=True):
    """CareLink, "users/me", read 2026-11; older ones give no ``username``."""

    role: str
    username: str | None = None
    needToReconsent: object = None  # noqa: N815
    accountSuspended: object = None  # noqa: N815


class _Link(msgspec.Struct, frozen=True):
    """CareLink, "links/patients", read 2026-11."""

    username: str | None = None
    status: str | None = None
    firstName: str | None = None  # noqa: N815
    lastName: str | None = None  # noqa: N815


async def find_view(http: httpx2.AsyncClient, access: Access) -> tuple[View, tuple[Choice, ...]]:
    """Whose values are read with this token; where it follows several patients, of none yet, and the choices.

    Raises ReconnectNeeded(nobody_followed, vendor_step), VendorDenied, VendorTryLater, VendorChanged.
    """
    care_url, data_url = access.view.care_url, access.view.data_url
    answer = await ask(http, care_url + "/users/me", access.token)
    raise_for(answer, access.issued_at, utc_now())
    me = read_json(answer.body, _Me)
    if me.needToReconsent is True or me.accountSuspended not in (None, False, ""):
        raise ReconnectNeeded("vendor_step")
    username = me.username or read_claims(access.token.reveal()).username
    if not username or len(username) > LONGEST_NAME:
        raise VendorChanged("an account without a user name")
    if me.role not in CARE_PARTNER_ROLES:
        return View(username, "patient", username, care_url, data_url), ()
    patient, choices = only_one(await _followed(http, care_url, access.token, access.issued_at))
    return View(username, "carepartner", patient, care_url, data_url), choices


async def is_followed(http: httpx2.AsyncClient, view: View, token: Secret, issued_at: datetime) -> bool:
    """Whether the account may still read its patient's values. Raises VendorDenied, VendorTryLater, VendorChanged."""
    if view.role == "patient":
        return True
    return any(link.username == view.patient for link in await _followed(http, view.care_url, token, issued_at))


async def _followed(http: httpx2.AsyncClient, care_url: str, token: Secret, issued_at: datetime) -> list[_Link]:
    answer = await ask(http, care_url + "/links/patients", token)
    raise_for(answer, issued_at, utc_now())
    return read_links(answer.body)


def read_links(body: bytes) -> list[_Link]:
    """The patients who are followed now. Raises VendorChanged."""
    links = read_json(body, list[_Link]) if body.strip() else []
    return [link for link in links if link.status == "ACTIVE" and link.username]


def only_one(links: list[_Link]) -> tuple[str, tuple[Choice, ...]]:
    """The only patient; of several none, never the first, and who they are. Raises ReconnectNeeded."""
    if not links:
        raise ReconnectNeeded("nobody_followed")
    if len(links) == 1:
        return links[0].username or "", ()
    return "", tuple(Choice(link.username or "", _label(link)) for link in links)


def _label(link: _Link) -> str:
    return " ".join(part for part in (link.firstName, link.lastName) if part) or link.username or ""
