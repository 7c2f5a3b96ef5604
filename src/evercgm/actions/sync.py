"""One sync of one connection: load, refresh if due, windows, fetch, map, save. The page to read first."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

import httpx2

from evercgm.actions import windows
from evercgm.actions.access import Access, ConnectionGoneError
from evercgm.actions.alarm import call_operator
from evercgm.actions.watching import unwatched
from evercgm.actions.windows import Marks, Plan, Step
from evercgm.core import counts
from evercgm.core import sync as schedule
from evercgm.core.audit import SERVICE, Action
from evercgm.core.connection import BY_FILE, Status
from evercgm.core.counts import Counts
from evercgm.core.errors import CallsHeldBack, EvercgmError, SealBroken, VendorChanged, VendorTryLater
from evercgm.core.limits import Urgency
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.core.verdict import SLOW_RETRY, Trouble, Verdict, judge
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Provider, Survey, VendorApp
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.oauth import utc_now
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections, readings, runs
from evercgm.storage.audit import record
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection, Database
from evercgm.storage.readings import Owner, Saved
from evercgm.storage.runs import Outcome, Run, Trigger

log = get_logger(__name__)
Clock = Callable[[], datetime]
# Only the person starts these again: by reconnecting, or by resuming.
RESTING: dict[Status, str] = {"expired": "reconnect_needed", "disconnected": "paused"}
# Of all connections of a region at once: the pause and its end are logged, not each of them.
RATE_LIMITED = "rate_limited"
# How a command waits for another process that syncs the same connection.
WAIT_S = 0.5
LONGEST_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Progress:
    """After each window: how many are done of how many, and what the last one stored."""

    done: int
    windows: int
    saved: Saved


@dataclass(frozen=True, slots=True)
class Result:
    """How a sync ended, with its counts; ``reason`` is None unless it failed."""

    outcome: Outcome
    reason: str | None
    saved: Saved


@dataclass(frozen=True, slots=True)
class _Sync:
    """What every step of one sync shares."""

    db: Database
    provider: Provider
    app: VendorApp
    http: httpx2.AsyncClient
    access: Access
    run: Run
    clock: Clock
    others_wait: Callable[[], Awaitable[bool]]
    counts: Counts


Watch = Callable[[Progress], None]


async def nobody_waits() -> bool:
    """Where a sync is alone: a command, a test."""
    return False


async def sync_connection(
    db: Database,
    vendors: Vendors,
    connection_id: str,
    *,
    trigger: Trigger,
    job_id: int | None = None,
    window: tuple[datetime | None, datetime | None] = (None, None),
    watch: Watch = unwatched,
    clock: Clock = utc_now,
    others_wait: Callable[[], Awaitable[bool]] = nobody_waits,
) -> Result | None:
    """Bring a connection up to date, or read the asked ``window`` (aware UTC) again. None where it is gone.

    What is old (history, what is read again) is left to a later sync where ``others_wait`` for a worker.

    Vendor failures end in the connection's status and next time, never in an exception; what is raised
    is a bug or the loss of the database.
    """
    try:
        begun = await _begin(db, connection_id, trigger, job_id, window)
    except SealBroken:
        vendors.counts.add(counts.SYNCS, *counts.NOWHERE, "failed", "seal_broken")
        return await _seal_broken(db, connection_id, clock())
    if begun is None or isinstance(begun, Result):
        return begun
    loaded, run = begun
    began = time.monotonic()
    with asked_by(_urgency(run)):
        result = await _run(db, vendors, loaded, run, watch, clock, others_wait)
    _tell(vendors.counts, loaded, result, clock(), took_s=time.monotonic() - began)
    return result


def _urgency(run: Run) -> Urgency:
    """What a person waits for may use the calls that are kept for people; a period that is read again can wait."""
    waits = run.trigger != "schedule" and run.window_from is None and run.window_to is None
    return "person" if waits else "background"


async def _begin(
    db: Database,
    connection_id: str,
    trigger: Trigger,
    job_id: int | None,
    window: tuple[datetime | None, datetime | None],
) -> tuple[Loaded, Run] | Result | None:
    """The connection, and the run that is now ours; a result where it is at rest; None: it is gone, or being synced.

    A command waits for a run that another process carries out, so that its own window is read after it.
    """
    for turns_left in reversed(range(int(LONGEST_WAIT_S / WAIT_S) + 1)):
        async with db.as_worker() as conn:
            loaded = await connections.load(conn, db.vault, connection_id)
            if loaded is None:
                return None
            if loaded.status in RESTING or loaded.region == BY_FILE:
                return await _at_rest(conn, loaded)
            run, new = await runs.open_or_make(
                conn, loaded.id, loaded.person_id, trigger, window_from=window[0], window_to=window[1]
            )
            # One job a connection: a run of a job is that of a dead worker, one without a job is a command's.
            left_behind = job_id is not None and run.job_id is not None
            if new or not run.fresh or left_behind or (job_id is None and turns_left == 0):
                return (loaded, run) if await _start(conn, run, job_id) else None
        if job_id is not None:
            return None
        await asyncio.sleep(WAIT_S)
    return None


async def _start(conn: Connection, run: Run, job_id: int | None) -> bool:
    """Whether the run is under way now; False: it has ended meanwhile."""
    starts = await runs.start(conn, run, job_id)
    if starts > 1:
        log.info("sync_resumed", connection_id=run.connection_id, run_id=run.id, starts=starts)
    return starts > 0


async def _run(
    db: Database,
    vendors: Vendors,
    loaded: Loaded,
    run: Run,
    watch: Watch,
    clock: Clock,
    others_wait: Callable[[], Awaitable[bool]],
) -> Result:
    access: Access | None = None
    try:
        provider = vendors.providers[loaded.provider]
        access = Access(db, vendors, provider.route, loaded, clock)
        app, http = vendors.app(provider.route, loaded.region), vendors.client(provider.route, loaded.region)
        shared = _Sync(db, provider, app, http, access, run, clock, others_wait, vendors.counts)
        saved = await _read_all(shared, watch)
    except ConnectionGoneError:
        return await _cancelled(db, run)
    except EvercgmError as failure:
        refreshing = access is not None and access.refresh_failed and not isinstance(failure, CallsHeldBack)
        return await _failed(db, access.loaded if access else loaded, run, failure, clock(), refreshing=refreshing)
    return await _succeeded(db, access.loaded, provider, run, saved, clock())


def _tell(process: Counts, loaded: Loaded, result: Result, now: datetime, *, took_s: float) -> None:
    """Counts how a sync ended, and logs one that ended well; of failures the log tells the first (``_failed``)."""
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


async def _read_all(sync: _Sync, watch: Watch) -> Saved:
    """Read and store every window in turn, each in its own transaction."""
    plan = await _plan(sync)
    total = Saved()
    done = 0
    async for saved in _windows(sync, plan):
        done += 1
        total = replace(
            saved,
            fetched=total.fetched + saved.fetched,
            inserted=total.inserted + saved.inserted,
            updated=total.updated + saved.updated,
            rejected=total.rejected + saved.rejected,
        )
        watch(Progress(done=done, windows=len(plan.steps), saved=total))
    return total


async def _survey(sync: _Sync) -> Survey | None:
    """What the vendor holds; asked while the history is not complete and for an asked window."""
    if windows.is_complete(sync.access.loaded) and not windows.is_asked(sync.run):
        return None
    return await sync.access.call(lambda token: sync.provider.survey(sync.http, sync.app, token))


async def _plan(sync: _Sync) -> Plan:
    """Made before anything is read; where scans begin, the vendor is asked how deep its news go."""
    survey = await _survey(sync)
    now = sync.clock()
    since = windows.news_since(sync.access.loaded, sync.run, sync.provider, now)
    first = await _first_news(sync, since) if since is not None else None
    return windows.plan(sync.access.loaded, sync.run, survey, sync.provider, now, first)


async def _first_news(sync: _Sync, since: datetime) -> datetime | None:
    news = sync.provider.news
    if news is None:
        return None
    first = await sync.access.call(lambda token: news.ask(sync.http, sync.app, token, since))
    return windows.believable_news(sync.access.loaded, first)


async def _read(sync: _Sync, window: Window) -> Batch:
    async def read(token: Secret) -> Batch:
        return await sync.provider.read(sync.http, sync.app, token, window)

    return await sync.access.call(read)


async def _windows(sync: _Sync, plan: Plan) -> AsyncIterator[Saved]:
    """Read and store them in order, each with what is known from it."""
    marks = plan.marks
    for step in plan.steps:
        if step.gives_way and await sync.others_wait():
            return
        batch = await _read(sync, step.window)
        if windows.is_empty(batch) and len(plan.steps) > 1:
            # A month without a reading is possible; an answer that is empty by mistake would be a month lost.
            batch = await _read(sync, step.window)
        if windows.hides_readings(step.window, batch, plan.survey):
            raise VendorTryLater("the vendor's cloud showed no readings where it says it has some")
        saved, marks = await _store(sync, plan, step, batch, marks)
        yield saved
        if saved.doubtful and windows.none_readable(batch):
            raise VendorChanged("no record of a window could be read")


async def _store(sync: _Sync, plan: Plan, step: Step, batch: Batch, marks: Marks) -> tuple[Saved, Marks]:
    """Readings, details, cursor, scans and counts of one window in one transaction; what is known then."""
    loaded, survey = sync.access.loaded, plan.survey
    account = batch.account_id or loaded.account_id or (survey.account_id if survey else None)
    if loaded.account_id is not None and account != loaded.account_id:
        raise VendorChanged("an answer for another account than the one that was connected")
    owner = Owner(loaded.person_id, loaded.id, f"{loaded.provider}/{sync.provider.route}/{account or 'unknown'}")
    async with sync.db.as_worker() as conn:
        if not await connections.lock(conn, loaded.id):
            raise ConnectionGoneError(loaded.id)
        saved = await readings.save(conn, owner, batch, step.window)
        doubtful = saved.doubtful > 0
        known = windows.after(marks, step, plan, sync.provider, sync.clock(), newest=saved.newest, doubtful=doubtful)
        still_there = await connections.note_progress(
            conn,
            loaded.id,
            loaded.connected_at,
            high_water=known.high_water,
            history_start=step.history_start if known.believed else None,
            history_done=known.believed and step.history_done,
            scans=known.scans if known.scans != marks.scans else None,
            account_id=account,
            device_id=survey.device_id if survey else None,
        )
        if not still_there:
            raise ConnectionGoneError(loaded.id)
        await runs.count(conn, sync.run, saved)
    sync.counts.add(counts.READINGS, loaded.provider, loaded.region, by=saved.inserted + saved.updated)
    sync.counts.add(counts.REJECTED, loaded.provider, loaded.region, by=saved.rejected)
    return saved, known


async def _succeeded(db: Database, loaded: Loaded, provider: Provider, run: Run, saved: Saved, now: datetime) -> Result:
    outcome: Outcome = "succeeded" if saved.inserted or saved.updated else "nothing_new"
    quiet = loaded.quiet + 1 if outcome == "nothing_new" and run.trigger == "schedule" else 0
    async with db.as_worker() as conn:
        await connections.note_success(conn, loaded, _next_poll(provider, saved, quiet, now), quiet)
        await runs.finish(conn, run, outcome)
    if loaded.reason not in (None, RATE_LIMITED):
        log.info("sync_recovered", connection_id=loaded.id, was=loaded.reason)
    return Result(outcome, None, saved)


def _next_poll(provider: Provider, saved: Saved, quiet: int, now: datetime) -> datetime:
    chance = random.random()  # noqa: S311 - spreads the load
    if provider.live is None:
        return schedule.next_poll(now, provider.poll_every, chance, quiet)
    return schedule.next_live_poll(now, saved.newest, provider.cadence, provider.live, chance, quiet)


async def _failed(
    db: Database, loaded: Loaded, run: Run, failure: EvercgmError, now: datetime, *, refreshing: bool
) -> Result:
    before = Trouble(loaded.reason, loaded.failure_count, loaded.next_sync_at, loaded.adopted)
    verdict = judge(failure, before, now, random.random())  # noqa: S311
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
    async with db.as_worker() as conn:
        deed = _deed(verdict, refreshing=refreshing)
        if await connections.note_failure(conn, loaded, verdict) and deed is not None:
            what = {"connection_id": loaded.id, "provider": loaded.provider, "reason": verdict.reason}
            await record(conn, SERVICE, deed, loaded.person_id, **what)
        await call_operator(conn, loaded, verdict.reason, failure)
        await runs.finish(conn, run, "failed", verdict.reason)
    return Result("failed", verdict.reason, Saved())


def _deed(verdict: Verdict, *, refreshing: bool) -> Action | None:
    """What a failure is to the record of deeds: the end of our access, a refresh that failed, or nothing."""
    if verdict.status == "expired":
        return "access_ended"
    return "refresh_failed" if refreshing else None


async def _cancelled(db: Database, run: Run) -> Result:
    """The connection went while we ran: its run row went with it, or ends here."""
    async with db.as_worker() as conn:
        await runs.finish(conn, run, "cancelled")
    return Result("cancelled", None, Saved())


async def _at_rest(conn: Connection, loaded: Loaded) -> Result:
    """Nothing is asked of the vendor; a run that waits for this connection ends."""
    reason = loaded.reason or RESTING.get(loaded.status, "by_file")
    run = await runs.open_run(conn, loaded.id)
    if run is not None:
        await runs.finish(conn, run, "failed", reason)
    return Result("failed", reason, Saved())


async def _seal_broken(db: Database, connection_id: str, now: datetime) -> Result:
    """Stored tokens that no key opens: an operator's matter, tried again later, nothing is lost."""
    log.error("seal_broken", connection_id=connection_id)
    async with db.as_worker() as conn:
        await connections.note_seal_broken(conn, connection_id, now + SLOW_RETRY)
        run = await runs.open_run(conn, connection_id)
        if run is not None:
            await runs.finish(conn, run, "failed", "seal_broken")
    return Result("failed", "seal_broken", Saved())
