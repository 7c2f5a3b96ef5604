"""A world with LibreLinkUp's cloud in it, for whole syncs of a follower."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from sync_world import Weather, World

from evercgm.provider_kit.contract import VendorApp
from evercgm.providers.libre.simulator.app import create_app
from evercgm.providers.libre.simulator.people import DEMO_PASSWORD

LIBRE = ("libre", "world")
FOLLOWER, FAMILY = "follower@example.com", "family@example.com"
STORED = 'select r."timestamp", r.value from public.glucose_readings r where r.person_id = %s order by 1, 2'
BY_STREAM = """
select split_part(stream, '/', 2), split_part(record_key, ':', 1), count(*)
from cgm_private.reading_details where person_id = %s group by 1, 2 order by 1, 2"""


@dataclass
class Followed:
    """The world with LibreLinkUp's cloud in it."""

    world: World
    cloud: Any
    weather: Weather

    async def connect(self, username: str = FOLLOWER, *, keep: bool = True, password: str = DEMO_PASSWORD) -> str:
        return await self.world.sign_in(LIBRE, username, password, keep=keep)

    def stored(self) -> list[tuple[Any, ...]]:
        return self.world.sql(STORED, self.world.person_id)

    def by_stream(self) -> dict[tuple[str, str], int]:
        return {(way, kind): n for way, kind, n in self.world.sql(BY_STREAM, self.world.person_id)}

    def age_session(self, by: timedelta = timedelta(hours=5)) -> None:
        """As if the present session had been made so long ago."""
        self.world.sql("update public.cgm_connections set token_expires_at = token_expires_at - %s", by)

    def waits(self, connection_id: str) -> timedelta:
        query = "select next_sync_at - now() from cgm_private.sync_state where connection_id = %s"
        waits = self.world.sql(query, connection_id)[0][0]
        assert isinstance(waits, timedelta)
        return waits

    def calls(self, place: str) -> int:
        return int(self.cloud.state.ledger.counts("calls").get(place, 0))


@asynccontextmanager
async def open_followed(world: World, cloud_dir: Path) -> AsyncIterator[Followed]:
    """The cloud's state lies in ``cloud_dir``."""
    app = create_app(cloud_dir)
    weather = Weather(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(weather)) as http:
        world.vendors = replace(
            world.vendors,
            apps={**world.vendors.apps, LIBRE: VendorApp("world", "http://libre.test/libre")},
            clients={**world.vendors.clients, LIBRE: http},
        )
        yield Followed(world, app.state.cloud, weather)
    app.state.cloud.state.ledger.close()
