"""Take over connections that the host app made: open its envelopes, seal the tokens anew, sync from now on.

What cannot be opened is left exactly as it is. The readings that the host made are linked by the merge rule at
the next sync, which reads the whole history.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evercgm.actions.watching import Count, unwatched
from evercgm.core.audit import OPERATOR
from evercgm.core.errors import BadInput, SealBroken
from evercgm.core.tokens import Secret
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Consent
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import adoption, attempts, connections
from evercgm.storage.audit import record
from evercgm.storage.database import Database, Row
from evercgm.storage.host_envelope import Form, HostEnvelope, form_of
from evercgm.storage.vault import Place, Vault

log = get_logger(__name__)
Left = Literal["unreadable", "empty", "erased", "no_region", "unknown_region", "region_not_offered", "gone"]
# A connection is called by the worse of its two tokens.
WORST_FIRST: tuple[Form, ...] = ("unreadable", "empty", "ours", "plain", "host")


@dataclass(frozen=True, slots=True)
class Terms:
    """What to take over and how: the route, the region of rows that name none, the keys that open them.

    ``leaked``: others may have the host's key, so every pair is renewed at the vendor at once.
    """

    route: str
    region: str | None
    envelope: HostEnvelope
    leaked: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Connections that are not ours: ``forms`` by provider and form; of the chosen provider ``ready`` and ``left``."""

    forms: Mapping[str, Mapping[Form, int]]
    ready: int
    left: Mapping[Left, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many are ours now, and how many were left alone, by reason."""

    adopted: int
    left: Mapping[Left, int]


@dataclass(frozen=True, slots=True)
class _Opened:
    form: Form
    access: Secret
    refresh: Secret


def check_terms(vendors: Vendors, route: str, region: str | None, host_key: bytes, *, leaked: bool = False) -> Terms:
    """The terms of a run. Raises BadInput: a provider that hands out no tokens by consent; a region not set up here."""
    known = sorted(name for name, one in vendors.providers.items() if isinstance(one.login, Consent))
    if route not in known:
        raise BadInput("--provider", f"only these can be taken over: {', '.join(known)}")
    if region is not None and (route, region) not in vendors.apps:
        raise BadInput("--region", f"this region is not set up here; set up: {_offered(vendors, route)}")
    return Terms(route, region, HostEnvelope(host_key), leaked)


async def look(db: Database, vendors: Vendors, terms: Terms) -> Found:
    """Count them all; changes nothing."""
    forms: dict[str, Counter[Form]] = {}
    left: Counter[Left] = Counter()
    ready = 0
    async for row in adoption.foreign_connections(db):
        opened = _open(row, db.vault, terms.envelope)
        forms.setdefault(row["provider"], Counter())[opened.form] += 1
        if row["provider"] != terms.route:
            continue
        reason = _why_left(row, opened, vendors, terms)
        if reason is None:
            ready += 1
        else:
            left[reason] += 1
    return Found(forms, ready, left)


def require_region(vendors: Vendors, terms: Terms, found: Found) -> None:
    """Raises BadInput where ``found`` has connections that name no region, and the terms name none either."""
    nameless = found.left.get("no_region")
    if nameless:
        raise BadInput("--region", f"{nameless} connections name no region; give it: {_offered(vendors, terms.route)}")


async def adopt(db: Database, vendors: Vendors, terms: Terms, watch: Count = unwatched) -> Outcome:
    """Take over what can be, each connection in its own transaction; a run that was cut off goes on where it ended."""
    left: Counter[Left] = Counter()
    adopted = 0
    async for row in adoption.foreign_connections(db):
        if row["provider"] != terms.route:
            continue
        reason = await _adopt_one(db, vendors, terms, row["person_id"], row["id"])
        if reason is None:
            adopted += 1
        else:
            left[reason] += 1
        watch(adopted + left.total())
    return Outcome(adopted, left)


async def _adopt_one(db: Database, vendors: Vendors, terms: Terms, person_id: str, connection_id: str) -> Left | None:
    """None once it is ours; else why it was left alone. Everything is read again under the locks."""
    async with db.as_worker() as conn:
        await attempts.lock_person(conn, person_id)
        row = await adoption.lock_foreign(conn, connection_id)
        if row is None:
            return "gone"
        opened = _open(row, db.vault, terms.envelope)
        reason = _why_left(row, opened, vendors, terms)
        region = _region(row, terms)
        if reason is not None or region is None:
            return reason
        pair = (opened.access, opened.refresh)
        # After a leak a pair that is refused was used by somebody else, unless the region is only the operator's word.
        doubtful = not (terms.leaked and row["region"])
        await adoption.take_over(
            conn, db.vault, connection_id, region=region, pair=pair, renew=terms.leaked, doubtful=doubtful
        )
        what = {"connection_id": connection_id, "provider": row["provider"], "region": region, "form": opened.form}
        await record(conn, OPERATOR, "adopted", row["person_id"], **what)
        if terms.leaked:
            await record(conn, OPERATOR, "rekeyed", row["person_id"], **what)
    log.info("adopted", connection_id=connection_id, region=region, form=opened.form)
    return None


def _why_left(row: Row, opened: _Opened, vendors: Vendors, terms: Terms) -> Left | None:
    if opened.form == "unreadable" or opened.form == "empty":
        return opened.form
    if row["erased"]:
        return "erased"
    region = _region(row, terms)
    if region is None:
        return "no_region"
    if region not in vendors.providers[terms.route].regions:
        return "unknown_region"
    return None if (terms.route, region) in vendors.apps else "region_not_offered"


def _region(row: Row, terms: Terms) -> str | None:
    named = (row["region"] or "").strip().lower()
    return named or terms.region


def _open(row: Row, vault: Vault, envelope: HostEnvelope) -> _Opened:
    access_form, access = open_token(row["access_token"], connections.access_place(row["id"]), vault, envelope)
    refresh_form, refresh = open_token(row["refresh_token"], connections.refresh_place(row["id"]), vault, envelope)
    form = next(form for form in WORST_FIRST if form in (access_form, refresh_form))
    return _Opened(form, access, refresh)


def open_token(stored: str, place: Place, vault: Vault, envelope: HostEnvelope) -> tuple[Form, Secret]:
    """The form that a token truly has, and the token; one that does not open is ``unreadable``."""
    form = form_of(stored)
    try:
        if form == "host":
            return form, envelope.open(stored)
        if form == "ours":
            return form, vault.open(stored, place)
    except SealBroken:
        return "unreadable", Secret("")
    return form, Secret(stored if form == "plain" else "")


def _offered(vendors: Vendors, route: str) -> str:
    return ", ".join(sorted(region for name, region in vendors.apps if name == route)) or "none"
