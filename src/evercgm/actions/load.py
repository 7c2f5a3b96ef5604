"""How busy the service is, for Prometheus: what this process counted, and what the database tells of all of them."""

import asyncio
import time
from collections.abc import Callable, Iterator

from evercgm.core import counts
from evercgm.core.counts import Family, Sample
from evercgm.core.limits import CALLERS, Books, CallLimits, Place, circuit
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import gauges
from evercgm.storage.database import Database
from evercgm.storage.gauges import Load

# However often it is asked: a storm of scrapes costs the database one look in this time.
LOOK_EVERY_S = 10.0
LOOK_WITHIN_S = 5.0

BEGUN = (
    ("succeeded", ""),
    ("nothing_new", ""),
    ("failed", "vendor_unavailable"),
    ("failed", "vendor_changed"),
    ("failed", "operator_must_act"),
    ("failed", "seal_broken"),
)

DATABASE = Family("evercgm_database_up", "gauge", "Whether the database answered the last look (1) or not (0).")
DUE = Family("evercgm_due_connections", "gauge", "Connections whose time to sync has come; counted up to 100000.")
LAG = Family("evercgm_sync_lag_seconds", "gauge", "How long the connection that is longest overdue has waited.")
JOB_AGE = Family(
    "evercgm_oldest_job_seconds", "gauge", "Age of the oldest job that waits for a worker, and that one runs.",
    ("state",),
)  # fmt: skip
CALLS_LIMIT = Family(
    "evercgm_vendor_calls_limit", "gauge", "Calls that our app may make within an hour.", ("provider", "region")
)
CALLS_LEFT = Family(
    "evercgm_vendor_calls_left", "gauge", "Calls of this hour that are left, for background syncs and for people.",
    ("provider", "region", "caller"),
)  # fmt: skip
PAUSE = Family(
    "evercgm_vendor_pause_seconds", "gauge", "Seconds until a pause after a 429 ends; 0 where there is none.",
    ("provider", "region"),
)  # fmt: skip
CIRCUIT = Family(
    "evercgm_vendor_circuit", "gauge", "1 for the present state: closed (we call), open (paused), half_open (probing).",
    ("provider", "region", "state"),
)  # fmt: skip
OF_ALL = (DATABASE, DUE, LAG, JOB_AGE, CALLS_LIMIT, CALLS_LEFT, PAUSE, CIRCUIT)
FAMILIES = (*OF_ALL, *counts.OF_THE_PROCESS)


class Gauges:
    """What the database tells, looked up at most once in ten seconds."""

    def __init__(self, db: Database, vendors: Vendors, clock: Callable[[], float] = time.monotonic):
        self._db = db
        self._vendors = vendors
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked_at: float | None = None
        self._load: Load | None = None
        _begin(vendors)

    async def exposition(self) -> str:
        """The text for Prometheus; where the database does not answer, without what only it knows."""
        load = await self._look()
        samples = [Sample(DATABASE, (), load is not None), *_of_all(load, self._vendors)]
        return counts.exposition(FAMILIES, [*samples, *self._vendors.counts.samples()])

    async def _look(self) -> Load | None:
        async with self._looking:
            if self._looked_at is None or self._clock() - self._looked_at >= LOOK_EVERY_S:
                self._load = await self._ask()
                self._looked_at = self._clock()
            return self._load

    async def _ask(self) -> Load | None:
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                return await gauges.look(self._db, self._vendors.apps)
        except TimeoutError:
            return None


def _begin(vendors: Vendors) -> None:
    """What alerts wait for is told as zero from the start: Prometheus sees no rise where there was nothing before."""
    process = vendors.counts
    process.add(counts.JOBS_FAILED, by=0)
    process.add(counts.SYNCS, *counts.NOWHERE, "failed", "seal_broken", by=0)
    for place in vendors.apps:
        for outcome, reason in BEGUN:
            process.add(counts.SYNCS, *place, outcome, reason, by=0)
        for result in ("renewed", "refused", "failed"):
            process.add(counts.REFRESHES, *place, result, by=0)
        for family in (counts.READINGS, counts.REJECTED):
            process.add(family, *place, by=0)


def _of_all(load: Load | None, vendors: Vendors) -> Iterator[Sample]:
    if load is None:
        return
    yield Sample(DUE, (), load.due)
    yield Sample(LAG, (), load.due_for_s)
    yield Sample(JOB_AGE, ("waiting",), load.job_waits_s)
    yield Sample(JOB_AGE, ("running",), load.job_runs_s)
    for place, books in load.books.items():
        yield from _of_place(place, books, vendors.providers[place[0]].calls)


def _of_place(place: Place, books: Books, limits: CallLimits | None) -> Iterator[Sample]:
    if limits is not None:
        yield Sample(CALLS_LIMIT, place, limits.an_hour)
        for caller in CALLERS:
            yield Sample(CALLS_LEFT, (*place, caller), max(0, limits.most(caller) - books.used))
    state = circuit(books.pause, books.now)
    left = (books.pause.until - books.now).total_seconds() if books.pause and state == "open" else 0
    yield Sample(PAUSE, place, left)
    for one in ("closed", "open", "half_open"):
        yield Sample(CIRCUIT, (*place, one), one == state)
