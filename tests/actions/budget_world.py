"""Workers that count their calls in one ledger, each with a pool, a meter and counters of its own."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
from sync_world import World

from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection
from evercgm.core.limits import CallLimits, Grant, Taken
from evercgm.provider_kit.metered import Meter
from evercgm.provider_kit.send import metered
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.storage.budgets import Budgets
from evercgm.storage.database import Database, open_database
from evercgm.storage.runs import Trigger

FAULTS = "http://cloud.test/dexcom/control/faults"
PLENTY = CallLimits(an_hour=60_000, for_people=0.1)


class Counted(Budgets):
    """The ledger, and how often this worker took calls from it."""

    takes = 0

    async def take(self, *wish: Any) -> tuple[Grant, Taken | None]:
        self.takes += 1
        return await super().take(*wish)


@dataclass(frozen=True)
class Worker:
    """One process's share of the work."""

    db: Database
    vendors: Vendors
    ledger: Counted

    async def sync(self, connection_id: str, trigger: Trigger = "schedule") -> Result | None:
        return await sync_connection(self.db, self.vendors, connection_id, trigger=trigger)

    async def get(self, region: str = "us") -> int:
        """One call at the vendor, whoever asks for it; the status of its answer."""
        answer = await self.vendors.client("dexcom", region).get("http://cloud.test/dexcom/v3/users/self/dataRange")
        return answer.status_code


@asynccontextmanager
async def worker_of(
    world: World,
    dsn: str,
    call_limits: CallLimits | None = PLENTY,
    regions: Mapping[str, CallLimits | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Worker]:
    """A worker as after its start: it knows of nothing but what stands in the database. ``clock``: its meter's."""
    app = world.vendors.apps["dexcom", "us"]
    limits = regions or {"us": call_limits}
    async with open_database(dsn, world.db.vault, largest=4) as db:
        ledger = Counted(db)
        vendors = Vendors(
            {"dexcom": replace(PROVIDERS["dexcom"], calls=call_limits)},
            {("dexcom", region): replace(app, region=region) for region in limits},
            {},
        )
        clients = {
            ("dexcom", region): httpx2.AsyncClient(
                transport=metered(
                    httpx2.ASGITransport(world.weather), Meter(("dexcom", region), found, ledger, vendors.counts, clock)
                )
            )
            for region, found in limits.items()
        }
        yield Worker(db, replace(vendors, clients=clients), ledger)
        for client in clients.values():
            await client.aclose()


async def set_faults(world: World, **faults: object) -> None:
    """These faults, and no others."""
    await world.http.post(FAULTS, json={})
    if faults:
        answer = await world.http.post(FAULTS, json={"set": faults})
        assert answer.status_code == 200, answer.text
