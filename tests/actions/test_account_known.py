"""Tokens that hold whose account they are of tell it also where the cloud of LibreLinkUp answers nothing more."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from sync_world import Weather, World

from evercgm.actions import sign_in
from evercgm.core.errors import OtherAccount
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Credentials, VendorApp
from evercgm.providers.libre.simulator.app import create_app
from evercgm.providers.libre.simulator.people import ALEX, DEMO_PASSWORD

LIBRE = ("libre", "world")
ALEXS, KIMS = "follower@example.com", "entry@example.com"
ACCOUNT = "select vendor_account_id from cgm_private.sync_state"


@dataclass
class Libre:
    """LibreLinkUp's cloud, which may be out as soon as it has signed somebody in."""

    world: World
    weather: Weather

    async def sign_in(self, username: str, *, out_afterwards: bool = False) -> str:
        """The connection's id."""
        seen = 0

        async def pause(path: str) -> None:
            # The sign-in asks for the followed people, too: the second time it is the survey.
            nonlocal seen
            seen += path == "connections"
            self.weather.answers = {"connections": (503, b"")} if out_afterwards and seen == 2 else {}

        self.weather.pause = pause
        return await sign_in.by_password(
            self.world.db,
            self.world.vendors,
            self.world.caller,
            person_id=self.world.person_id,
            route="libre",
            region="world",
            credentials=Credentials(Secret(username), Secret(DEMO_PASSWORD), keep=True),
        )


@pytest.fixture
async def libre(world: World, tmp_path: Path) -> AsyncIterator[Libre]:
    app = create_app(tmp_path / "libre")
    weather = Weather(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(weather)) as http:
        world.vendors = replace(
            world.vendors,
            apps={**world.vendors.apps, LIBRE: VendorApp("world", "http://libre.test/libre")},
            clients={**world.vendors.clients, LIBRE: http},
        )
        yield Libre(world, weather)
    app.state.cloud.state.ledger.close()


async def test_an_outage_during_the_first_sign_in_lets_no_other_account_in_without_a_yes(libre: Libre) -> None:
    await libre.sign_in(ALEXS, out_afterwards=True)
    assert libre.weather.answers != {}
    assert libre.world.sql(ACCOUNT) == [(ALEX.patient_id,)]

    with pytest.raises(OtherAccount):
        await libre.sign_in(KIMS)

    assert libre.world.sql(ACCOUNT) == [(ALEX.patient_id,)]


async def test_during_an_outage_another_account_waits_and_the_same_one_is_not_asked_about(libre: Libre) -> None:
    connection_id = await libre.sign_in(ALEXS)

    with pytest.raises(OtherAccount):
        await libre.sign_in(KIMS, out_afterwards=True)
    assert await libre.sign_in(ALEXS, out_afterwards=True) == connection_id

    assert libre.world.sql(ACCOUNT) == [(ALEX.patient_id,)]
