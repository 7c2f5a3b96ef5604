"""Tokens that hold whose account they are of tell it also where the cloud of LibreLinkUp answers nothing more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from followed_world import FOLLOWER, Followed, open_followed
from sync_world import World

from evercgm.core.errors import OtherAccount
from evercgm.providers.libre.simulator.people import ALEX

KIMS = "entry@example.com"
ACCOUNT = "select vendor_account_id from cgm_private.sync_state"


@pytest.fixture
async def followed(world: World, tmp_path: Path) -> AsyncIterator[Followed]:
    async with open_followed(world, tmp_path / "libre") as opened:
        yield opened


def out_after_a_sign_in(followed: Followed) -> None:
    seen = 0

    async def pause(path: str) -> None:
        # The sign-in asks for the followed people, too: the second time it is the survey.
        nonlocal seen
        seen += path == "connections"
        followed.weather.answers = {"connections": (503, b"")} if seen == 2 else {}

    followed.weather.pause = pause


def well_again(followed: Followed) -> None:
    followed.weather.pause = None
    followed.weather.answers = {}


async def test_an_outage_during_the_first_sign_in_lets_no_other_account_in_without_a_yes(followed: Followed) -> None:
    out_after_a_sign_in(followed)
    await followed.connect(FOLLOWER)
    assert followed.weather.answers != {}
    assert followed.world.sql(ACCOUNT) == [(ALEX.patient_id,)]
    well_again(followed)

    with pytest.raises(OtherAccount):
        await followed.connect(KIMS)

    assert followed.world.sql(ACCOUNT) == [(ALEX.patient_id,)]


async def test_during_an_outage_another_account_waits_and_the_same_one_is_not_asked_about(followed: Followed) -> None:
    connection_id = await followed.connect(FOLLOWER)

    out_after_a_sign_in(followed)
    with pytest.raises(OtherAccount):
        await followed.connect(KIMS)
    out_after_a_sign_in(followed)
    assert await followed.connect(FOLLOWER) == connection_id

    assert followed.world.sql(ACCOUNT) == [(ALEX.patient_id,)]
