"""Begin a login, hand it to a browser, finish it: store the tokens and ask for the first sync."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evercgm.actions.alarm import call_operator_at_sign_in
from evercgm.core import audit
from evercgm.core.audit import Action, Actor
from evercgm.core.caller import Caller
from evercgm.core.errors import (
    BadInput,
    EvercgmError,
    GrantRefused,
    NotYours,
    OperatorMustAct,
    OtherAccount,
    ReconnectNeeded,
    SealBroken,
    VendorError,
    VendorRateLimited,
)
from evercgm.core.tokens import NO_LOGIN, Secret, Tokens
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Consent, Login, Provider
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import attempts, budgets, connections, jobs, routes, runs
from evercgm.storage.attempts import Attempt, Waiting
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, Row, become_worker
from evercgm.storage.database_errors import DatabaseTrouble, classify

log = get_logger(__name__)
LONGEST_CODE = 4096
LONGEST_STATE = 512
PASSING: tuple[DatabaseTrouble, ...] = ("busy", "unavailable", "conflict", "already_connected")


@dataclass(frozen=True, slots=True)
class Handover:
    """A one-time token for our hand-over page; ``expires_at`` aware UTC."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class HandoverView:
    """What the hand-over page shows before the click."""

    owner_id: str
    person_label: str
    provider_title: str
    region_title: str


@dataclass(frozen=True, slots=True)
class WayToVendor:
    """The address of the vendor's consent page, and the secret of the binding cookie."""

    url: str
    binding: str


@dataclass(frozen=True, slots=True)
class Finished:
    """How a login ended; ``code`` is a stable word of ours, never a vendor's text.

    ``attempt``: what to confirm (actions/confirm.py) where the vendor account is another one than before.
    """

    return_to: str | None
    outcome: Literal["connected", "denied", "error", "confirm"]
    code: str | None = None
    attempt: str | None = None


class Overtaken(NotYours):
    """While the vendor was asked the person was erased, or became another owner's: nothing is stored."""


BAD_STATE = Finished(None, "error", "bad_state")


async def begin(
    db: Database, vendors: Vendors, caller: Caller, *, person_id: str, route: str, region: str, return_to: str
) -> Handover:
    """Open an attempt for a person of the caller's. Raises NotYours, BadInput(region); CallsHeldBack during a pause."""
    vendors.app(route, region)
    async with db.as_person(caller.claims) as conn:
        if not await connections.owns_person(conn, person_id):
            raise NotYours("person", person_id)
        await become_worker(conn)
        # The code that the vendor gives lives a minute: nobody walks there for nothing.
        await budgets.refuse_paused(conn, (route, region))
        token, expires_at = await attempts.open_attempt(
            conn,
            person_id=person_id,
            owner_id=caller.owner_id,
            route=route,
            region=region,
            return_to=return_to,
        )
    return Handover(token, expires_at)


def consent_of(provider: Provider) -> Consent:
    """How its consent page is used. Raises BadInput(provider) for one that has none."""
    if not isinstance(provider.login, Consent):
        raise BadInput("provider", f"{provider.title} is not connected by a consent page")
    return provider.login


async def preview(db: Database, vendors: Vendors, token: str) -> HandoverView:
    """Whom a hand-over would connect; does not use it up. Raises NotYours: unknown, used or old."""
    async with db.as_worker() as conn:
        found = await attempts.look(conn, token)
    if found is None:
        raise NotYours("hand-over")
    provider = vendors.providers[found["provider"]]
    return HandoverView(
        owner_id=found["owner_id"],
        person_label=found["label"] or found["person_id"],
        provider_title=provider.title,
        region_title=provider.regions[found["region"]].title,
    )


async def go(db: Database, vendors: Vendors, token: str) -> WayToVendor:
    """Use a hand-over up: the way to the vendor for one browser. Raises NotYours: unknown, used or old."""
    async with db.as_worker() as conn:
        found = await attempts.look(conn, token)
        bound = await attempts.use_handover(conn, db.vault, token, found["id"]) if found else None
    if found is None or bound is None:
        raise NotYours("hand-over")
    app = vendors.app(found["provider"], found["region"])
    challenge = pkce_challenge(bound.verifier.reveal())
    url = consent_of(vendors.providers[found["provider"]]).begin(app, Login(bound.state, challenge))
    return WayToVendor(url, bound.binding)


async def finish(
    db: Database,
    vendors: Vendors,
    *,
    state: str | None,
    code: str | None,
    error: str | None,
    binding: str | None,
    session_owner: str | None,
    request_id: str | None = None,
) -> Finished:
    """The vendor sent the browser back. Stores a connection only for a live state of this very browser.

    ``session_owner`` is the owner of the page's session, if the browser has one: another one is refused.
    Failures of the vendor or the database are answers here, never exceptions.
    """
    attempt = await _consume(db, state, binding)
    if attempt is None or (session_owner is not None and session_owner != attempt.owner_id):
        return BAD_STATE
    if error is not None:
        return _refused(attempt, error)
    if not code or len(code) > LONGEST_CODE:
        return Finished(attempt.return_to, "error", "no_code")
    try:
        with asked_by("person"):
            return await _exchange_and_store(db, vendors, attempt, Secret(code), request_id)
    except Exception as failure:
        outcome = _failure_code(failure)
        if outcome is None:
            raise
        log.warning("connect_failed", route=attempt.route, region=attempt.region, error=type(failure).__name__)
        await call_operator_at_sign_in(db, (attempt.route, attempt.region), failure)
        return Finished(attempt.return_to, "error", outcome)


async def _consume(db: Database, state: str | None, binding: str | None) -> Attempt | None:
    if not state or len(state) > LONGEST_STATE or "\x00" in state:
        return None
    async with db.as_worker() as conn:
        try:
            return await attempts.consume(conn, db.vault, state, binding)
        except SealBroken:
            log.error("seal_broken", table="oauth_attempts")
            return None


def _refused(attempt: Attempt, error: str) -> Finished:
    if error == "access_denied":
        return Finished(attempt.return_to, "denied", "denied")
    return Finished(attempt.return_to, "error", "vendor_refused")


def _failure_code(failure: Exception) -> str | None:
    """What to tell the browser, which has no use for a problem as JSON; None: a bug of ours."""
    if isinstance(failure, GrantRefused):
        return "code_refused"
    if isinstance(failure, OperatorMustAct):
        return "operator_must_act"
    if isinstance(failure, VendorRateLimited):
        return "rate_limited"
    if isinstance(failure, VendorError):
        return "vendor_unavailable"
    return "failed" if isinstance(failure, EvercgmError) or classify(failure) in PASSING else None


async def _exchange_and_store(
    db: Database, vendors: Vendors, attempt: Attempt, code: Secret, request_id: str | None
) -> Finished:
    """The code into tokens, and these into the person's row; of another account they wait for the person's word."""
    app = vendors.app(attempt.route, attempt.region)
    http = vendors.client(attempt.route, attempt.region)
    tokens = await consent_of(vendors.providers[attempt.route]).finish(http, app, code, attempt.verifier)
    try:
        await keep(db, vendors, attempt, tokens, request_id)
    except OtherAccount as other:
        return Finished(attempt.return_to, "confirm", attempt=other.attempt)
    except Overtaken:
        return BAD_STATE
    return Finished(attempt.return_to, "connected")


async def keep(
    db: Database,
    vendors: Vendors,
    attempt: Attempt,
    tokens: Tokens,
    request_id: str | None,
    *,
    chosen_of: str | None = None,
    settled_of: str | None = None,
) -> str:
    """Store what a sign-in gave and ask for its first sync; the connection's id.

    ``chosen_of``: the waiting pair that these tokens were made of; it is used up by what is stored and by nothing else.
    ``settled_of``: likewise, where nobody was chosen.
    Raises OtherAccount where the person must say yes first; Overtaken; of a choice also NotYours and VendorError.
    """
    account_id = await _account_id(vendors, attempt, tokens, chosen=chosen_of is not None)
    fresh = Waiting(attempt.person_id, attempt.route, attempt.region, account_id, tokens)
    async with db.as_worker() as conn:
        await attempts.lock_person(conn, attempt.person_id)
        if not await attempts.still_fits(conn, attempt):
            log.info("connect_overtaken", route=attempt.route)
            raise Overtaken("person", attempt.person_id)
        if waited := chosen_of or settled_of:
            await _use_up(conn, db, attempt, waited)
        if not await _may_be_other_account(conn, vendors, fresh):
            return await store(conn, db, vendors, fresh, audit.owner_of(attempt.owner_id, request_id))
        attempt_id = await attempts.keep_waiting(conn, db.vault, attempt.owner_id, fresh)
    log.info("connect_waits", route=attempt.route, account_known=account_id is not None)
    raise OtherAccount(attempt_id)


async def _use_up(conn: Connection, db: Database, attempt: Attempt, waited: str) -> None:
    """Raises NotYours: another answer was quicker, or its ten minutes are over."""
    person_id = attempt.person_id
    if not await attempts.consume_waiting(conn, db.vault, waited, attempt.owner_id, person_id, unfinished=True):
        raise NotYours("attempt", waited)


async def store(conn: Connection, db: Database, vendors: Vendors, fresh: Waiting, actor: Actor) -> str:
    """As the worker: store a fresh pair and ask for its first sync; the connection's id. Raises ReconnectNeeded."""
    if vendors.providers[fresh.route].is_side_route:
        return await store_side_route(conn, db, vendors.providers[fresh.route], fresh, actor)
    provider = vendors.providers[fresh.route].provider
    before = await connections.connection_of_person(conn, fresh.person_id, provider)
    connection_id = await connections.store_connected(
        conn,
        db.vault,
        person_id=fresh.person_id,
        provider=provider,
        region=fresh.region,
        account_id=fresh.account_id,
        tokens=fresh.tokens,
    )
    where = {"connection_id": connection_id, "provider": provider, "region": fresh.region}
    await record(conn, actor, _deed(before, fresh), fresh.person_id, **where)
    await _ask_first_sync(conn, connection_id, fresh)
    return connection_id


async def _ask_first_sync(conn: Connection, connection_id: str, fresh: Waiting) -> None:
    await runs.open_or_make(conn, connection_id, fresh.person_id, "connect")
    await jobs.enqueue_syncs(conn, [connection_id], jobs.PERSON_PRIORITY)
    log.info("connected", connection_id=connection_id, route=fresh.route, region=fresh.region)


async def store_side_route(conn: Connection, db: Database, provider: Provider, fresh: Waiting, actor: Actor) -> str:
    """Another way in joins the person's connection, or begins one that has no sign-in of its own.

    Raises ReconnectNeeded(not_adopted) where the row is the host app's.
    """
    found = await connections.connection_of_person(conn, fresh.person_id, provider.provider)
    if found is not None and not found["ours"]:
        raise ReconnectNeeded("not_adopted")
    connection_id = found["id"] if found else None
    if connection_id is None:
        connection_id = await connections.store_connected(
            conn, db.vault, person_id=fresh.person_id, provider=provider.provider, region=fresh.region,
            account_id=None, tokens=NO_LOGIN,
        )  # fmt: skip
    await routes.store(
        conn, db.vault, connection_id=connection_id, person_id=fresh.person_id, route=fresh.route, region=fresh.region,
        account_id=fresh.account_id, tokens=fresh.tokens,
    )  # fmt: skip
    where = {"connection_id": connection_id, "route": fresh.route, "region": fresh.region}
    await record(conn, actor, "route_added" if found else "connected", fresh.person_id, **where)
    await connections.wake(conn, connection_id)
    await _ask_first_sync(conn, connection_id, fresh)
    return connection_id


def _deed(before: Row | None, fresh: Waiting) -> Action:
    """A row of the host app's is no earlier connection of ours; an account that was not told counts as another."""
    if before is None or not before["ours"]:
        return "connected"
    same = before["vendor_account_id"] in (None, fresh.account_id)
    return "reconnected" if same else "account_changed"


async def _account_id(vendors: Vendors, attempt: Attempt, tokens: Tokens, *, chosen: bool) -> str | None:
    """The vendor's id of the account; None where it cannot be read now: enough for a first connection.

    Not enough where somebody was ``chosen``: whom the vendor does not show us is nobody's connection. The vendor is
    asked also where the tokens tell the account: whether it can be read at all.
    """
    route = attempt.route
    app, http = vendors.app(route, attempt.region), vendors.client(route, attempt.region)
    told = vendors.providers[route].account_of(tokens)
    try:
        survey = await vendors.providers[route].survey(http, app, tokens.access)
    except VendorError as failure:
        if chosen:
            raise
        log.warning("account_not_shown", route=route, account_known=told is not None, error=type(failure).__name__)
        return told
    return told or survey.account_id


async def _may_be_other_account(conn: Connection, vendors: Vendors, fresh: Waiting) -> bool:
    """Whether the row that is there belongs to another vendor account, or might: an id that cannot be read now.

    A row of the host app's is no earlier connection of ours: the person's own consent takes it over.
    """
    provider = vendors.providers[fresh.route]
    found = await connections.connection_of_person(conn, fresh.person_id, provider.provider)
    if found is None or not found["ours"]:
        return False
    if provider.is_side_route:
        return await routes.may_be_of_another(conn, found["id"], fresh.route, fresh.account_id)
    if fresh.account_id is None:
        return True
    return found["vendor_account_id"] not in (None, fresh.account_id)
