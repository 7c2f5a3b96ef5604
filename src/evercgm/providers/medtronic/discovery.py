"""Where CareLink's login and data are now: its discovery document and the login configuration that names; kept a day.

The version in the path decides what comes back, and the newest is never the best: see ``VERSION``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2
import msgspec

from evercgm.core.errors import OperatorMustAct, VendorTryLater
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import VendorApp
from evercgm.provider_kit.send import Answer, raise_if_passing, read_json, send
from evercgm.providers.medtronic.calls import USER_AGENT, is_page
from evercgm.providers.medtronic.hosts import DEFAULT_PORTS, checked, scheme_of

# CareLink, probed 2026-10: 3.6 to 3.8 give the Auth0 login and v13 data, every other version an older track.
VERSION = "3.6"
DISCOVERY_PATH = "/connect/carepartner/v13/discover/android/"
TRACK = "/v13"
KEPT_FOR = timedelta(hours=24)
LARGEST_DOCUMENT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Places:
    """What the two documents say of one region; every address is one of the host table."""

    care_url: str
    data_url: str
    authorize_url: str
    token_url: str
    client_id: str
    scope: str
    audience: str
    redirect_uri: str
    revoke_url: str | None = None


class _Entry(msgspec.Struct, frozen=True, rename={"sso_key": "UseSSOConfiguration"}):
    """CareLink discovery v13, "CP", read 2026-11. What ``sso_key`` names is a key beside it."""

    region: str
    sso_key: str | None = None
    baseUrlCareLink: str | None = None  # noqa: N815
    baseUrlCumulus: str | None = None  # noqa: N815


class _Discovery(msgspec.Struct, frozen=True):
    CP: list[msgspec.Raw]


class _Server(msgspec.Struct, frozen=True):
    hostname: str
    port: int = 443
    prefix: str = ""


class _Client(msgspec.Struct, frozen=True):
    client_id: str
    scope: str
    audience: str
    redirect_uri: str


class _Endpoints(msgspec.Struct, frozen=True):
    authorization_endpoint_path: str
    token_endpoint_path: str
    token_revocation_endpoint_path: str | None = None


class _Sso(msgspec.Struct, frozen=True):
    """CareLink login configuration (Auth0), read 2026-11."""

    server: _Server
    client: _Client
    system_endpoints: _Endpoints


# By base URL, version and region: a handful, however many people there are.
_kept: dict[tuple[str, str, str], tuple[datetime, Places]] = {}


def version_of(app: VendorApp) -> str:
    """The version of the vendor's app as which we ask."""
    return app.version or VERSION


async def find(http: httpx2.AsyncClient, app: VendorApp, now: Callable[[], datetime] = utc_now) -> Places:
    """Login and data of this region, at most a day old.

    Raises OperatorMustAct (another track, an address outside the table, no such document), VendorTryLater,
    VendorChanged.
    """
    key = (app.base_url, version_of(app), app.region)
    kept = _kept.get(key)
    if kept is None or not timedelta(0) <= now() - kept[0] < KEPT_FOR:
        kept = (now(), await _ask(http, app))
        _kept[key] = kept
    return kept[1]


async def _ask(http: httpx2.AsyncClient, app: VendorApp) -> Places:
    document = await _document(http, app.base_url + DISCOVERY_PATH + version_of(app))
    sso_url, care_url, data_url = read_discovery(document, app)
    return read_sso(await _document(http, sso_url), app, care_url, data_url)


async def _document(http: httpx2.AsyncClient, url: str) -> bytes:
    headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
    answer = await send(http, "GET", url, headers=headers, largest=LARGEST_DOCUMENT)
    _raise_without_document(answer)
    return answer.body


def _raise_without_document(answer: Answer) -> None:
    raise_if_passing(answer)
    if is_page(answer):
        # Blocked in front of the host, or maintenance.
        raise VendorTryLater(f"a page in place of a document, with status {answer.status}")
    if answer.status != 200 or not answer.body:
        raise OperatorMustAct(f"the vendor has no such document any more: status {answer.status}", "app_version")


def read_discovery(body: bytes, app: VendorApp) -> tuple[str, str, str]:
    """Addresses of the login configuration, of accounts and of readings, for this region.

    Raises OperatorMustAct for a document of another track, VendorChanged for one that is none.
    """
    for raw in read_json(body, _Discovery).CP:
        entry = read_json(bytes(raw), _Entry)
        if entry.region == app.region.upper():
            sso_url = read_json(bytes(raw), dict[str, object]).get(entry.sso_key or "")
            return _of_track(entry, sso_url, app)
    raise OperatorMustAct("the vendor's discovery does not name this region", "release")


def _of_track(entry: _Entry, sso_url: object, app: VendorApp) -> tuple[str, str, str]:
    data_url, care_url = entry.baseUrlCumulus, entry.baseUrlCareLink
    if not isinstance(sso_url, str) or care_url is None or data_url is None or not data_url.endswith(TRACK):
        message = "the vendor's discovery is of another track: this app version is no longer served"
        raise OperatorMustAct(message, "app_version")
    return checked(sso_url, app.base_url), checked(care_url, app.base_url), checked(data_url, app.base_url)


def read_sso(body: bytes, app: VendorApp, care_url: str, data_url: str) -> Places:
    """The whole of a region's places. Raises VendorChanged, OperatorMustAct."""
    sso = read_json(body, _Sso)
    server = sso.server
    scheme = scheme_of(app.base_url)
    port = "" if server.port == DEFAULT_PORTS.get(scheme) else f":{server.port}"
    prefix = f"/{server.prefix.strip('/')}" if server.prefix.strip("/") else ""
    login = f"{scheme}://{server.hostname}{port}{prefix}"
    revoke_path = sso.system_endpoints.token_revocation_endpoint_path
    return Places(
        care_url=care_url,
        data_url=data_url,
        authorize_url=checked(login + sso.system_endpoints.authorization_endpoint_path, app.base_url),
        token_url=checked(login + sso.system_endpoints.token_endpoint_path, app.base_url),
        client_id=sso.client.client_id,
        scope=sso.client.scope,
        audience=sso.client.audience,
        redirect_uri=sso.client.redirect_uri,
        revoke_url=None if revoke_path is None else checked(login + revoke_path, app.base_url),
    )


def consent_fields(places: Places) -> Mapping[str, str]:
    """What the login page wants to know of the app."""
    return {
        "client_id": places.client_id,
        "response_type": "code",
        "scope": places.scope,
        "audience": places.audience,
        "redirect_uri": places.redirect_uri,
    }
