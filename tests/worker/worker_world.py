"""A worker that runs in the test's own loop, beside the simulated cloud."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sync_world import World

from evercgm.core.tokens import Secret
from evercgm.runtime import Runtime
from evercgm.settings import read_settings
from evercgm.storage.identity import issuer_of, load_keys
from evercgm.worker.run import Pace, work

PUBLIC_URL = "http://cgm.test"
QUICK = Pace(concurrency=2, heartbeat_s=2.0, finish_within_s=0.5)


async def runtime_of(world: World, **changes: Any) -> Runtime:
    """As the service runs; ``changes`` to Dexcom's record."""
    provider = replace(world.vendors.providers["dexcom"], **changes)
    return Runtime(
        settings=read_settings({"EVERCGM_PUBLIC_URL": PUBLIC_URL, "ENCRYPTION_KEY": secrets.token_hex(32)}),
        db=world.db,
        vendors=replace(world.vendors, providers={"dexcom": provider}),
        keys=await load_keys(world.db, issuer_of(PUBLIC_URL)),
        key_server=world.http,
    )


@asynccontextmanager
async def working(runtime: Runtime, dsn: str, pace: Pace = QUICK) -> AsyncIterator[asyncio.Event]:
    """A worker beside what is done inside; told to stop at its end, or before, by what is given."""
    stop = asyncio.Event()
    at_work = asyncio.create_task(work(runtime, Secret(dsn), stop, pace))
    try:
        yield stop
    finally:
        stop.set()
        await at_work


async def until(check: Callable[[], object], what: str) -> None:
    """Looks until it is so; patient, because nothing here is judged by time."""
    try:
        async with asyncio.timeout(60):
            while not check():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None
