"""What is asked of LibreLinkUp's data calls, where and how; what the answers mean is said in mapping.

Facts of the service were read in code and recorded answers of systems that run, 2022 to 2026: it publishes none.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import httpx2
import msgspec

from evercgm.core.errors import (
    OperatorMustAct,
    ReconnectNeeded,
    VendorChanged,
    VendorDenied,
    VendorError,
    VendorTryLater,
)
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Survey, VendorApp
from evercgm.provider_kit.send import Answer, raise_for_data, send
from evercgm.providers.libre import mapping
from evercgm.providers.libre.mapping import Envelope, Followed, Listing

log = get_logger(__name__)
WORLD, RUSSIA, CHINA = "https://api.libreview.io", "https://api.libreview.ru", "https://api-cn.myfreestyle.cn"
# The vendor's own regional hosts of the world; a name that it sends and that is not here is followed nowhere.
SHARDS = ("ae", "ap", "au", "ca", "de", "eu", "eu2", "fr", "jp", "la", "us")
# The floor on the app's version since October 2025; it rises about once a year.
DEFAULT_VERSION = "4.16.0"
PRODUCT = "llu.android"
USER_AGENT = "evercgm"
KEEPS = timedelta(hours=12)
LOGBOOK_REACH = timedelta(days=14)
MAINTENANCE_S = 600
# After a 403, mostly a gate's page (libre facts A8): half a day, as elsewhere, would lose what it keeps for 12 hours.
DENIED_WAIT_S = 3600
# Of the answer's own status.
GOOD, STEP, MAINTENANCE, TOO_OLD = 0, 4, 911, 920
# HTTP statuses seen at the sign-in only, without a body: this address is banned for a while.
ADDRESS_BANS = (430, 476)
_UNFOLLOWED = frozenset({"couldnotloadpatient", "followernotconnecttopatient"})
# The session is no longer known there; it comes with one HTTP status or another.
_NO_SESSION = "missingcacheduser"


class Access(msgspec.Struct, frozen=True):
    """What our access token holds: the vendor's, whose it is, whom it reads, and on which of the vendor's hosts."""

    token: str
    user_id: str
    patient_id: str
    shard: str


def hosts(base_url: str) -> tuple[str, ...]:
    """All hosts that an account of this region may live on."""
    return (base_url, *(place(base_url, shard) for shard in SHARDS)) if base_url == WORLD else (base_url,)


def place(base_url: str, shard: str) -> str:
    """The base URL of a regional host; "" is the entry. Raises VendorChanged for one that is not in the table."""
    if not shard:
        return base_url
    if shard not in SHARDS or base_url in (RUSSIA, CHINA):
        raise VendorChanged("an account sent to a region that is not in our table")
    return f"https://api-{shard}.libreview.io" if base_url == WORLD else f"{base_url}/{shard}"


def headers(app: VendorApp) -> dict[str, str]:
    """What every call carries."""
    version = app.version or DEFAULT_VERSION
    return {"product": PRODUCT, "version": version, "User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}


def read_answer(app: VendorApp, answer: Answer) -> Envelope:
    """Any answer: with another HTTP status than 200 what it says beside that, which may be nothing.

    Raises OperatorMustAct where the vendor takes this version of its app no longer; VendorTryLater for 200 and no JSON.
    """
    try:
        envelope = mapping.read_envelope(answer.body)
    except VendorTryLater:
        if answer.status == 200:
            raise
        return Envelope(None, None)
    if envelope.status == TOO_OLD:
        message = f"LibreLinkUp takes version {app.version or DEFAULT_VERSION} of its app no longer"
        raise OperatorMustAct(message, "app_version", mapping.version_in(envelope))
    return envelope


def account_of(tokens: Tokens) -> str | None:
    """The followed person's id; None where tokens are of several and nobody was chosen."""
    try:
        return read_access(tokens.access).patient_id or None
    except VendorDenied:
        return None


async def survey(http: httpx2.AsyncClient, app: VendorApp, token: Secret) -> Survey:
    """What is there of the followed person: the newest value; scans are kept for 14 days, all else for 12 hours.

    Raises ReconnectNeeded(unfollowed), OperatorMustAct, VendorDenied, VendorTryLater, VendorChanged.
    """
    access, now = read_access(token), datetime.now(UTC)
    one = _followed(await connections(http, app, access), access.patient_id)
    newest, first = one.newest, None
    if newest is None:
        # The graph may hold a history all the same. Asked and not taken from the clock: a first reading that is
        # claimed, and then not there, is an outage to a sync.
        graph = await _graph(http, app, access, now)
        newest = _newest(graph)
        # What is all unreadable is to be read, and told, all the same.
        first = now - KEEPS if graph.rejected else None
    if newest is not None:
        first = min(now - LOGBOOK_REACH, newest)
    return Survey(one.id, first, newest, one.device_id)


def _followed(listing: Listing, patient_id: str) -> Followed:
    """Who is read, in the list. Raises ReconnectNeeded(unfollowed); VendorChanged where it may be one unreadable."""
    for one in listing.people:
        if one.id == patient_id:
            return one
    if listing.entries > len(listing.people):
        raise VendorChanged("a list of connections that lacks the one who is read, and holds some without an id")
    raise ReconnectNeeded("unfollowed")


async def read(http: httpx2.AsyncClient, app: VendorApp, token: Secret, window: Window) -> Batch:
    """All that the vendor shows of the followed person, whatever the window: its calls know none.

    Where the window begins before what the graph reaches, and something came since, the logbook's scans as well; that
    it fails takes nothing of the graph with it.
    Raises as ``survey``.
    """
    access, now = read_access(token), datetime.now(UTC)
    batch = await _graph(http, app, access, now)
    newest = _newest(batch)
    # A sensor that has been still for days has no scans since either: it costs one call a poll, not two.
    if newest is None or window.start >= min(newest, now) - KEEPS:
        return batch
    return mapping.joined(batch, await _logbook(http, app, access, now))


async def _graph(http: httpx2.AsyncClient, app: VendorApp, access: Access, now: datetime) -> Batch:
    path = f"/llu/connections/{access.patient_id}/graph"
    return mapping.read_graph(await _get(http, app, access, path), now, access.patient_id)


def _newest(batch: Batch) -> datetime | None:
    return max((reading.measured_at for reading in batch.readings + batch.live), default=None)


async def _logbook(http: httpx2.AsyncClient, app: VendorApp, access: Access, now: datetime) -> Batch:
    """The scans of the logbook; where it alone fails, a record that could not be read in their place.

    So the graph is stored, and the cursor stays for some polls, at which the logbook is asked for again. Raises
    VendorDenied for an expired token, ReconnectNeeded, OperatorMustAct: those are no matter of the logbook alone.
    """
    try:
        return mapping.read_logbook(await _get(http, app, access, f"/llu/connections/{access.patient_id}/logbook"), now)
    except (VendorChanged, VendorTryLater) as failure:
        left_out: VendorError = failure
    except VendorDenied as denied:
        if denied.expired_token:
            raise
        left_out = denied
    log.warning("logbook_left_out", provider="libre", error=type(left_out).__name__)
    return mapping.no_logbook(now)


async def connections(http: httpx2.AsyncClient, app: VendorApp, access: Access) -> Listing:
    """Whom the account follows. Raises as ``survey``."""
    return mapping.read_connections(await _get(http, app, access, "/llu/connections"))


def read_access(token: Secret) -> Access:
    """Our own access token. Raises VendorDenied where it is none of ours: a new sign-in mends that."""
    try:
        return msgspec.json.decode(token.reveal(), type=Access)
    except (msgspec.MsgspecError, ValueError):
        raise VendorDenied("an access token of another form", expired_token=True) from None


async def _get(http: httpx2.AsyncClient, app: VendorApp, access: Access, path: str) -> object:
    own = {
        "Authorization": f"Bearer {access.token}",
        "Account-Id": hashlib.sha256(access.user_id.encode()).hexdigest(),
    }
    answer = await send(http, "GET", place(app.base_url, access.shard) + path, headers=headers(app) | own)
    envelope = read_answer(app, answer)
    _raise_refusal(answer, envelope)
    if envelope.status == GOOD:
        return envelope.data
    if envelope.status == STEP and envelope.word in _UNFOLLOWED:
        raise ReconnectNeeded("unfollowed")
    raise_for_outage(envelope)


def _raise_refusal(answer: Answer, envelope: Envelope) -> None:
    """Raise what stands against any use of this answer."""
    if envelope.word == _NO_SESSION:
        raise VendorDenied("the vendor does not know the session any more", expired_token=True)
    if envelope.sends_on:
        # The account has moved: the next sign-in begins at the entry and is sent to where it lives now.
        raise VendorDenied("the account lives on another host now", expired_token=True)
    if answer.status in ADDRESS_BANS:
        raise VendorTryLater(f"the vendor's cloud answered with status {answer.status}", answer.retry_after_s)
    raise_for_data(answer, DENIED_WAIT_S)


def raise_for_outage(envelope: Envelope) -> NoReturn:
    """What an answer's own status stands for that means nothing else: the token is kept, and it is tried again."""
    if envelope.status == MAINTENANCE:
        raise VendorTryLater("the vendor's cloud is under maintenance", MAINTENANCE_S)
    raise VendorTryLater("the vendor's cloud answered with a status that we do not know")
