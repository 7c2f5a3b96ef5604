"""Connect where there is no consent page of ours to come back to: by user name and password, or by what is pasted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from evercgm.actions.alarm import call_operator_at_sign_in
from evercgm.actions.connect import keep
from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.errors import AnswerNeeded, BadInput, ChooseFirst, GrantRefused, NotYours, OperatorMustAct
from evercgm.core.limits import Place
from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import PASTED, Credentials, Login, Password, Paste, Pasted, Provider
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import attempts, budgets, connections
from evercgm.storage.attempts import Attempt, Waiting
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, become_worker

log = get_logger(__name__)
NOTHING_WAITS = "belongs to no sign-in that was begun here within ten minutes; open the vendor's page once more"


@dataclass(frozen=True, slots=True)
class PastePage:
    """The vendor's page for the person's own browser; ``expires_at`` (aware UTC): paste what it leads to by then."""

    url: str
    expires_at: datetime


async def by_password(
    db: Database, vendors: Vendors, caller: Caller, *, person_id: str, route: str, region: str, credentials: Credentials
) -> str:
    """Sign in once; the connection's id. The password goes to the vendor and, only where the person lets us, is kept.

    Raises NotYours, BadInput(region), TooOften (6 tries an hour), ReconnectNeeded(reason), ChooseFirst, OtherAccount,
    and what a vendor's failure raises; then nothing was changed. SignInsHeldBack during a ban of our address: no try.
    """
    app = vendors.app(route, region)
    login = vendors.providers[route].login
    if not isinstance(login, Password):
        raise BadInput("provider", "is not connected by user name and password")
    async with db.as_person(caller.claims) as conn:
        await _may_begin(conn, person_id, (route, region))
        await budgets.refuse_banned_sign_in(conn, (route, region))
        # Committed before the vendor is asked: a try that fails was one.
        await record(conn, audit.owner(caller), "sign_in_tried", person_id, route=route, region=region)
        attempt = await attempts.begin_now(conn, person_id, caller.owner_id, route, region)
    async with _for_the_person(db, (route, region)):
        try:
            tokens = await login.sign_in(vendors.client(route, region), app, credentials)
        except ChooseFirst as choose:
            raise await _wait_for_choice(db, attempt, choose) from None
        return await keep(db, vendors, attempt, tokens, caller.request_id)


async def begin_paste(
    db: Database, vendors: Vendors, caller: Caller, *, person_id: str, route: str, region: str
) -> PastePage:
    """The address of the vendor's page, for the person's own browser. Raises NotYours, BadInput, vendor failures."""
    app = vendors.app(route, region)
    login = _paste_of(vendors.providers[route])
    async with db.as_person(caller.claims) as conn:
        await _may_begin(conn, person_id, (route, region))
        token, expires_at = await attempts.open_attempt(
            conn, person_id=person_id, owner_id=caller.owner_id, route=route, region=region, return_to=""
        )
        opened = await attempts.look(conn, token)
        bound = await attempts.use_handover(conn, db.vault, token, opened["id"]) if opened else None
    if bound is None:
        raise NotYours("sign-in")
    async with _for_the_person(db, (route, region)):
        challenge = pkce_challenge(bound.verifier.reveal())
        url = await login.begin(vendors.client(route, region), app, Login(bound.state, challenge))
    return PastePage(url, expires_at)


async def finish_paste(
    db: Database, vendors: Vendors, caller: Caller, *, route: str, pasted: Secret | None, person_id: str, region: str
) -> str:
    """What the vendor's page led to, or another tool's bundle of tokens, into a connection; its id.

    An address names the sign-in that it ends; ``person_id`` and ``region`` count for a bundle alone. Raises as
    ``by_password``, and BadInput(pasted). What is pasted works once: its tokens are stored before they are used, and
    the same text pasted again goes on from them where the vendor stumbled.
    """
    login = _paste_of(vendors.offered(route))
    state = login.state_of(pasted) if pasted else None
    async with db.as_person(caller.claims) as conn:
        await _may_begin(conn, person_id, (route, region))
        if pasted is None:
            raise BadInput("redirect_url", "give this one or 'token_bundle', and not both")
        # An address is one person's by its state, whom the caller need not name.
        mark = Secret("/".join((caller.owner_id, route, person_id if state is None else "", pasted.reveal())))
        known = await attempts.look_pasted(conn, db.vault, mark, caller.owner_id)
        if known is not None:
            person_id, region = known[1].person_id, known[1].region
        if known is not None or state is None:
            attempt: Attempt | None = await attempts.begin_now(conn, person_id, caller.owner_id, route, region)
        else:
            attempt = await attempts.consume_pasted(conn, db.vault, state, caller.owner_id)
    if attempt is None or attempt.route != route:
        raise BadInput(PASTED, NOTHING_WAITS)
    app, http = vendors.app(route, attempt.region), vendors.client(route, attempt.region)
    async with _for_the_person(db, (route, attempt.region)):
        try:
            if known is None:
                given = Pasted(pasted, Secret(state) if state else NO_SECRET, attempt.verifier)
                fresh = await login.finish(http, app, given)
                known = await _wait_unsettled(db, attempt, fresh, mark)
            tokens = await login.settle(http, app, known[1].tokens)
        except ChooseFirst as choose:
            raise await _wait_for_choice(db, attempt, choose) from None
        except GrantRefused:
            raise BadInput(PASTED, "was used already or is too old; open the vendor's page once more") from None
        return await keep(db, vendors, attempt, tokens, caller.request_id, settled_of=known[0])


async def _wait_unsettled(db: Database, attempt: Attempt, tokens: Tokens, mark: Secret) -> tuple[str, Waiting]:
    """Stored in a transaction of its own, before the tokens are used. Raises NotYours."""
    waiting = Waiting(attempt.person_id, attempt.route, attempt.region, None, tokens, pasted=mark)
    return await _keep_waiting(db, attempt, waiting), waiting


async def _keep_waiting(db: Database, attempt: Attempt, waiting: Waiting) -> str:
    async with db.as_worker() as conn:
        await attempts.lock_person(conn, attempt.person_id)
        if not await attempts.still_fits(conn, attempt):
            raise NotYours("person", attempt.person_id)
        return await attempts.keep_waiting(conn, db.vault, attempt.owner_id, waiting)


async def choose(db: Database, vendors: Vendors, caller: Caller, attempt_id: str, who: str) -> str:
    """The person says whom a sign-in that waits is about; the connection's id.

    Raises NotYours, OtherAccount, and with the pair still waiting BadInput(who) and what a vendor's failure raises.
    """
    async with db.as_person(caller.claims) as conn:
        await become_worker(conn)
        waiting = await attempts.look_choice(conn, db.vault, attempt_id, caller.owner_id)
        if waiting is None:
            raise NotYours("attempt", attempt_id)
        begun = await attempts.begin_now(conn, waiting.person_id, caller.owner_id, waiting.route, waiting.region)
    if who not in waiting.choices:
        raise AnswerNeeded("who", "must be the id of one of the people whom the account follows", waiting.choices)
    chosen = _chosen(vendors.providers[waiting.route], waiting.tokens, who)
    async with _for_the_person(db, (waiting.route, waiting.region)):
        return await keep(db, vendors, begun, chosen, caller.request_id, chosen_of=attempt_id)


@asynccontextmanager
async def _for_the_person(db: Database, place: Place) -> AsyncIterator[None]:
    """The vendor calls of a sign-in; what only the operator can mend is told to them."""
    with asked_by("person"):
        try:
            yield
        except OperatorMustAct as failure:
            await call_operator_at_sign_in(db, place, failure)
            raise


def _chosen(provider: Provider, tokens: Tokens, who: str) -> Tokens:
    if isinstance(provider.login, Password | Paste):
        return provider.login.choose(tokens, who)
    return tokens


async def _may_begin(conn: Connection, person_id: str, place: Place) -> None:
    """As the person, then as the worker. Raises NotYours; CallsHeldBack during a pause: nobody tries for nothing."""
    if not await connections.owns_person(conn, person_id):
        raise NotYours("person", person_id)
    await become_worker(conn)
    await budgets.refuse_paused(conn, place)


async def _wait_for_choice(db: Database, attempt: Attempt, choose_: ChooseFirst) -> ChooseFirst:
    """The question, with the name under which the sign-in waits: to sign in again would be one login too many."""
    if choose_.unfinished is None:
        return choose_
    choices = tuple(one.id for one in choose_.choices)
    waiting = Waiting(attempt.person_id, attempt.route, attempt.region, None, choose_.unfinished, choices)
    attempt_id = await _keep_waiting(db, attempt, waiting)
    log.info("connect_asks_whom", route=attempt.route, choices=len(choose_.choices))
    return ChooseFirst(choose_.choices, attempt=attempt_id)


def _paste_of(provider: Provider) -> Paste:
    if not isinstance(provider.login, Paste):
        raise BadInput("provider", "is not connected by what is pasted")
    return provider.login
