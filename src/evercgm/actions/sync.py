"""One sync of one connection: load, refresh if due, windows, fetch, map, save. The page to read first."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2

from evercgm.actions import endings, windows
from evercgm.actions.access import Access, ConnectionGoneError
from evercgm.actions.endings import RESTING, Result, RunTakenOverError
from evercgm.actions.keep_alive import keep_alive
from evercgm.actions.saving import save_batch
from evercgm.actions.side_routes import SideRead, read_side_routes
from evercgm.actions.watching import unwatched
from evercgm.actions.windows import Marks, Plan, Step
from evercgm.core import counts
from evercgm.core.connection import BY_FILE
from evercgm.core.counts import Counts
from evercgm.core.errors import (
    CallsHeldBack,
    EvercgmError,
    NewerVersion,
    ReconnectNeeded,
    SealBroken,
    VendorChanged,
    VendorTryLater,
)
from evercgm.core.limits import Urgency
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.logs import get_logger
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Provider, Survey, VendorApp
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections, runs
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection, Database
from evercgm.storage.readings import Saved, add
from evercgm.storage.runs import Run, Trigger

log = get_logger(__name__)
Clock = Callable[[], datetime]
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
    vendors: Vendors

    @property
    def counts(self) -> Counts:
        return self.vendors.counts


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
    clock: Clock | None = None,
    others_wait: Callable[[], Awaitable[bool]] = nobody_waits,
) -> Result | None:
    """Bring a connection up to date, or read the asked ``window`` (aware UTC) again. None: there was nothing to do.

    What is old (history, what is read again) is left to a later sync where ``others_wait`` for a worker. ``clock``:
    the database's, if no other is given; those of our machines may differ by minutes.

    Vendor failures end in the connection's status and next time, never in an exception; what is raised
    is a bug, the loss of the database, or NewerVersion.
    """
    try:
        begun = await _begin(db, vendors, connection_id, trigger, job_id, window)
    except SealBroken:
        return await endings.seal_broken(db, connection_id, vendors.counts)
    if isinstance(begun, Result):
        await keep_alive(db, vendors, connection_id, clock or utc_now)
    if begun is None or isinstance(begun, Result):
        return begun
    loaded, run = begun
    began = time.monotonic()
    clock = clock or _clock_since(loaded.read_at)
    try:
        with asked_by(_urgency(run)):
            result = await _run(db, vendors, loaded, run, watch, clock, others_wait)
    except RunTakenOverError:
        result = endings.taken_over(loaded, run)
    endings.tell(vendors.counts, loaded, result, clock(), took_s=time.monotonic() - began)
    return result


def _clock_since(read_at: datetime) -> Clock:
    """The database's clock, which stood at ``read_at`` just now."""
    began = time.monotonic()
    return lambda: read_at + timedelta(seconds=time.monotonic() - began)


def _urgency(run: Run) -> Urgency:
    """What a person waits for may use the calls that are kept for people; a period that is read again can wait."""
    waits = run.trigger != "schedule" and run.window_from is None and run.window_to is None
    return "person" if waits else "background"


async def _begin(
    db: Database,
    vendors: Vendors,
    connection_id: str,
    trigger: Trigger,
    job_id: int | None,
    window: tuple[datetime | None, datetime | None],
) -> tuple[Loaded, Run] | Result | None:
    """The connection, and the run that is now ours; a result where it is at rest.

    None: it is gone, or being synced, or it was synced since this job was put into the queue and is not due any more.
    A command waits for a run that another process carries out, so that its own window is read after it.
    """
    for turns_left in reversed(range(int(LONGEST_WAIT_S / WAIT_S) + 1)):
        async with db.as_worker() as conn:
            loaded = await connections.load(conn, db.vault, connection_id)
            if loaded is None:
                return None
            if loaded.region == BY_FILE:
                return await endings.at_rest(conn, loaded)
            if loaded.provider not in vendors.providers:
                raise NewerVersion(f"a connection at {loaded.provider}, which this version does not know")
            if loaded.status in RESTING and not (loaded.status == "expired" and loaded.has_side_routes):
                return await endings.at_rest(conn, loaded)
            is_due = loaded.due or loaded.side_due
            if job_id is not None and not is_due and await runs.open_run(conn, loaded.id) is None:
                return None
            run, new = await runs.open_or_make(
                conn, loaded.id, loaded.person_id, trigger, window_from=window[0], window_to=window[1]
            )
            # One job a connection: a run of a job is that of a dead worker, one without a job is a command's.
            left_behind = job_id is not None and run.job_id is not None
            if new or not run.fresh or left_behind or (job_id is None and turns_left == 0):
                started = await _start(conn, run, job_id)
                return (loaded, started) if started else None
        if job_id is not None:
            return None
        await asyncio.sleep(WAIT_S)
    return None


async def _start(conn: Connection, run: Run, job_id: int | None) -> Run | None:
    """The run, under way by us from now on; None: it has ended meanwhile."""
    started = await runs.start(conn, run, job_id)
    if started is not None and started.starts > 1:
        log.info("sync_resumed", connection_id=run.connection_id, run_id=run.id, starts=started.starts)
    return started


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
    side = SideRead()
    try:
        if loaded.has_side_routes:
            at_once = run.trigger != "schedule" or not loaded.has_own_login
            side = await read_side_routes(db, vendors, loaded, clock, at_once=at_once)
            await _count_side(db, run, side)
        if not _reads_its_own(loaded, run):
            return await _side_alone(db, vendors, loaded, run, side, clock())
        provider = vendors.providers[loaded.provider]
        access = Access(db, vendors, provider.route, loaded, clock)
        app, http = vendors.app(provider.route, loaded.region), vendors.client(provider.route, loaded.region)
        shared = _Sync(db, provider, app, http, access, run, clock, others_wait, vendors)
        saved = await _read_all(shared, watch)
    except ConnectionGoneError:
        return await endings.cancelled(db, run)
    except EvercgmError as failure:
        refreshing = access is not None and access.refresh_failed and not isinstance(failure, CallsHeldBack)
        latest = access.loaded if access else loaded
        return await endings.failed(db, latest, run, failure, clock(), refreshing=refreshing)
    return await endings.succeeded(db, access.loaded, provider, run, add(side.saved, saved), clock(), side)


async def _count_side(db: Database, run: Run, side: SideRead) -> None:
    async with db.as_worker() as conn:
        if not await runs.count(conn, run, side.saved):
            raise RunTakenOverError(run.id)


def _reads_its_own(loaded: Loaded, run: Run) -> bool:
    """Not before its time because another way's has come, and not while it waits for a sign-in."""
    if loaded.status == "expired" or not loaded.has_own_login:
        return False
    return loaded.due or run.trigger != "schedule" or not loaded.has_side_routes


async def _side_alone(
    db: Database, vendors: Vendors, loaded: Loaded, run: Run, side: SideRead, now: datetime
) -> Result:
    """Where other ways are all there is, their trouble is the connection's."""
    if loaded.has_own_login:
        return await endings.side_done(db, loaded, run, side)
    if side.failure is not None:
        return await endings.failed(db, loaded, run, side.failure, now, refreshing=False, verdict=side.verdict)
    if side.next_at is None:
        raise ReconnectNeeded(loaded.reason or "no_tokens")
    return await endings.succeeded(db, loaded, vendors.providers[loaded.provider], run, side.saved, now, side)


async def _read_all(sync: _Sync, watch: Watch) -> Saved:
    """Read and store every window in turn, each in its own transaction."""
    plan = await _plan(sync)
    total = Saved()
    done = 0
    async for saved in _windows(sync, plan):
        done += 1
        total = add(total, saved)
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
    async with sync.db.as_worker() as conn:
        if not await connections.lock(conn, loaded.id):
            raise ConnectionGoneError(loaded.id)
        saved = await save_batch(
            conn, sync.vendors, sync.provider, batch, step.window,
            person_id=loaded.person_id, connection_id=loaded.id, account=account or "unknown",
        )  # fmt: skip
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
        if not await runs.count(conn, sync.run, saved):
            raise RunTakenOverError(sync.run.id)
    sync.counts.add(counts.READINGS, loaded.provider, loaded.region, by=saved.inserted + saved.updated)
    sync.counts.add(counts.REJECTED, loaded.provider, loaded.region, by=saved.rejected)
    return saved, known
