"""How a sync ends: what it leaves of its connection and its run, and what is told of it."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from evercgm.actions.alarm import call_operator
from evercgm.actions.side_routes import SideRead
from evercgm.core import counts
from evercgm.core import sync as schedule
from evercgm.core.audit import SERVICE, Action
from evercgm.core.connection import Status
from evercgm.core.counts import Counts
from evercgm.core.errors import EvercgmError
from evercgm.core.verdict import SLOW_RETRY, Trouble, Verdict, judge
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Provider
from evercgm.storage import connections, runs
from evercgm.storage.at_rest import kept_alive
from evercgm.storage.audit import record
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection, Database
from evercgm.storage.readings import Saved
from evercgm.storage.runs import Outcome, Run

log = get_logger(__name__)
# Only the person starts these again: by reconnecting, or by resuming.
RESTING: dict[Status, str] = {"expired": "reconnect_needed", "disconnected": "paused"}
# Of all connections of a region at once: the pause and its end are logged, not each of them.
RATE_LIMITED = "rate_limited"


class RunTakenOverError(Exception):
    """Somebody else carries out this run by now: we were silent for too long. Nothing more is written by us."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a sync ended, with its counts; ``reason`` is None unless it failed."""

    outcome: Outcome
    reason: str | None
    saved: Saved


async def succeeded(
    db: Database, loaded: Loaded, provider: Provider, run: Run, saved: Saved, now: datetime, side: SideRead
) -> Result:
    """Connected, without a reason, and due again; where it has no sign-in of its own, when another way is.

    Raises RunTakenOverError.
    """
    outcome: Outcome = "succeeded" if saved.inserted or saved.updated else "nothing_new"
    quiet = loaded.quiet + 1 if outcome == "nothing_new" and run.trigger == "schedule" else 0
    async with _last_words(db, loaded, run, outcome) as conn:
        next_at = _next_poll(provider, saved, quiet, now) if loaded.has_own_login else side.next_at
        await connections.note_success(conn, loaded, next_at, quiet)
    if loaded.reason not in (None, RATE_LIMITED):
        log.info("sync_recovered", connection_id=loaded.id, was=loaded.reason)
    return Result(outcome, None, saved)


def _next_poll(provider: Provider, saved: Saved, quiet: int, now: datetime) -> datetime:
    chance = random.random()  # noqa: S311 - spreads the load
    if provider.live is None:
        return schedule.next_poll(now, provider.poll_every, chance, quiet)
    return schedule.next_live_poll(now, saved.newest, provider.cadence, provider.live, chance, quiet)


async def side_done(db: Database, loaded: Loaded, run: Run, side: SideRead) -> Result:
    """Only other ways in were read: what the connection's own waits for stays as it was. Raises RunTakenOverError."""
    outcome: Outcome = "nothing_new"
    reason = None
    if side.failure is not None and side.saved.fetched == 0:
        outcome, reason = "failed", loaded.reason or "vendor_unavailable"
    elif side.saved.inserted or side.saved.updated:
        outcome = "succeeded"
    async with _last_words(db, loaded, run, outcome, reason):
        return Result(outcome, reason, side.saved)


async def failed(
    db: Database,
    loaded: Loaded,
    run: Run,
    failure: EvercgmError,
    now: datetime,
    *,
    refreshing: bool,
    verdict: Verdict | None = None,
) -> Result:
    """What the failure means to the connection, and when to try again. Raises RunTakenOverError.

    ``verdict``: that of the only way in it has: judged anew, with a chance of its own, it would have another time.
    """
    before = Trouble(loaded.reason, loaded.failure_count, loaded.next_sync_at, loaded.adopted)
    verdict = verdict or judge(failure, before, now, random.random())  # noqa: S311
    async with _last_words(db, loaded, run, "failed", verdict.reason) as conn:
        deed = _deed(verdict, refreshing=refreshing)
        if await connections.note_failure(conn, loaded, verdict) and deed is not None:
            what = {"connection_id": loaded.id, "provider": loaded.provider, "reason": verdict.reason}
            await record(conn, SERVICE, deed, loaded.person_id, **what)
        if loaded.has_own_login:
            # Else the failure is that of another way in, for which the operator was called.
            await call_operator(conn, loaded, verdict.reason, failure)
    if verdict.reason not in (before.reason, RATE_LIMITED):
        log.warning(
            "sync_failing",
            connection_id=loaded.id,
            provider=loaded.provider,
            region=loaded.region,
            reason=verdict.reason,
            error=type(failure).__name__,
            refreshing=refreshing,
        )
    return Result("failed", verdict.reason, Saved())


def _deed(verdict: Verdict, *, refreshing: bool) -> Action | None:
    """What a failure is to the record of deeds: the end of our access, a refresh that failed, or nothing."""
    if verdict.status == "expired":
        return "access_ended"
    return "refresh_failed" if refreshing else None


@asynccontextmanager
async def _last_words(
    db: Database, loaded: Loaded, run: Run, outcome: Outcome, reason: str | None = None
) -> AsyncIterator[Connection]:
    """The transaction that ends a run and writes down what follows from it; neither, where the run is not ours."""
    async with db.as_worker() as conn:
        await connections.lock(conn, loaded.id)
        if await runs.finish(conn, run, outcome, reason) is None:
            raise RunTakenOverError(run.id)
        yield conn


async def cancelled(db: Database, run: Run) -> Result:
    """The connection went while we ran: its run row went with it, or ends here."""
    async with db.as_worker() as conn:
        await runs.finish(conn, run, "cancelled")
    return Result("cancelled", None, Saved())


def taken_over(loaded: Loaded, run: Run) -> Result:
    """Whoever took it over ends it; we only stop."""
    log.warning("sync_taken_over", connection_id=loaded.id, run_id=run.id, starts=run.starts)
    return Result("cancelled", None, Saved())


async def at_rest(conn: Connection, loaded: Loaded) -> Result:
    """Nothing is asked of the vendor; a run that waits for this connection ends."""
    reason = loaded.reason or RESTING.get(loaded.status, "by_file")
    run = await runs.open_run(conn, loaded.id)
    if run is not None:
        await runs.finish(conn, run, "failed", reason)
    return Result("failed", reason, Saved())


async def seal_broken(db: Database, connection_id: str, process: Counts) -> Result:
    """Stored tokens that no key opens: an operator's matter, tried again later, nothing is lost."""
    process.add(counts.SYNCS, *counts.NOWHERE, "failed", "seal_broken")
    log.error("seal_broken", connection_id=connection_id)
    async with db.as_worker() as conn:
        await connections.note_seal_broken(conn, connection_id, SLOW_RETRY)
        await kept_alive(conn, connection_id, SLOW_RETRY)
        run = await runs.open_run(conn, connection_id)
        if run is not None:
            await runs.finish(conn, run, "failed", "seal_broken")
    return Result("failed", "seal_broken", Saved())


def tell(process: Counts, loaded: Loaded, result: Result, now: datetime, *, took_s: float) -> None:
    """Counts how a sync ended, and logs one that ended well; of failures the log tells the first (``failed``)."""
    where = (loaded.provider, loaded.region)
    process.add(counts.SYNCS, *where, result.outcome, result.reason or "")
    if result.outcome not in ("succeeded", "nothing_new"):
        return
    process.set(counts.LAST_SYNC, *where, to=now.timestamp())
    log.info(
        "sync_done",
        connection_id=loaded.id,
        provider=loaded.provider,
        region=loaded.region,
        fetched=result.saved.fetched,
        inserted=result.saved.inserted,
        updated=result.saved.updated,
        rejected=result.saved.rejected,
        took_ms=round(1000 * took_s),
    )
