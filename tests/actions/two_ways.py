"""One person whose Dexcom account can be read by two ways: the official cloud and Share, with the same glucose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from sync_world import Weather, World, open_world

from evercgm.provider_kit.contract import VendorApp
from evercgm.providers.dexcom_share.simulator.app import create_app

USER, PASSWORD = "User7", "evercgm-demo-7"
SHARE = ("dexcom_share", "us")
STORED = """select r."timestamp", r.value from public.glucose_readings r where r.person_id = %s order by 1, 2"""
BY_WAY = """
select split_part(d.stream, '/', 2) as way, count(*), count(distinct d.reading_id)
from cgm_private.reading_details d where d.person_id = %s group by 1 order by 1"""


@dataclass
class TwoWays:
    """``world`` with Share's cloud beside it: ``share``, behind a ``weather`` of its own."""

    world: World
    share: Any
    weather: Weather

    async def add_share(self, *, keep: bool = True, password: str = PASSWORD, username: str = USER) -> str:
        """Sign in by password; the connection's id."""
        return await self.world.sign_in(SHARE, username, password, keep=keep)

    def trouble(self, name: str, value: object, **limits: Any) -> None:
        self.share.desk.set_fault(name, value, **limits)

    def calls(self) -> dict[str, int]:
        return dict(self.share.ledger.counts("calls"))

    def stored(self) -> list[tuple[Any, ...]]:
        return self.world.sql(STORED, self.world.person_id)

    def by_way(self) -> dict[str, tuple[int, int]]:
        """By way in: its records, and how many readings they are."""
        return {way: (records, readings) for way, records, readings in self.world.sql(BY_WAY, self.world.person_id)}

    def routes(self) -> list[tuple[Any, ...]]:
        return self.world.sql("select route, reason, next_sync_at is null from cgm_private.routes order by route")


@asynccontextmanager
async def open_two_ways(database: Any, folder: Path) -> AsyncIterator[TwoWays]:
    anchor = datetime.now(UTC)
    async with (
        open_world(database.admin_dsn, database.service_dsn, folder / "cloud", anchor=anchor) as world,
        share_beside(world, folder / "share") as ways,
    ):
        yield ways


@asynccontextmanager
async def share_beside(world: World, folder: Path, **more: Any) -> AsyncIterator[TwoWays]:
    """Share's cloud beside the official one, with the same recordings. ``more``: as its ``create_app``."""
    app = create_app(folder, anchor=world.cloud.state.cloud.state.anchor, **more)
    weather = Weather(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(weather)) as http:
        world.vendors = replace(
            world.vendors,
            apps={**world.vendors.apps, SHARE: VendorApp("us", "http://share.test/dexcom_share")},
            clients={**world.vendors.clients, SHARE: http},
        )
        yield TwoWays(world, app.state.cloud, weather)
    app.state.cloud.ledger.close()
