"""Whose account Share reads is known from the sign-in on, whatever its cloud answers: another one waits for a yes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from two_ways import TwoWays, open_two_ways

from evercgm.actions.confirm import confirm
from evercgm.core.errors import OtherAccount
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS

READ = "ReadPublisherLatestGlucoseValues"
ACCOUNT = "select vendor_account_id from cgm_private.routes"
STREAMS = "select distinct stream from cgm_private.reading_details"
OWN = next(one.id for one in ACCOUNTS if one.username == "User7")


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        yield opened


async def sign_in_as_another(ways: TwoWays) -> str:
    """The name under which the other account waits."""
    with pytest.raises(OtherAccount) as other:
        await ways.add_share(username="User6", password="evercgm-demo-6")
    return other.value.attempt


async def test_an_outage_during_the_sign_in_lets_no_other_account_in_without_a_yes(ways: TwoWays) -> None:
    ways.weather.answers[READ] = (503, b"")
    connection_id = await ways.add_share()
    ways.weather.answers.clear()
    assert ways.world.sql(ACCOUNT) == [(OWN,)]

    await sign_in_as_another(ways)

    await ways.world.sync(connection_id)
    assert ways.world.sql(STREAMS) == [(f"dexcom/dexcom_share/{OWN}",)]


async def test_an_outage_while_another_account_signs_in_does_not_hide_that_it_is_another(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.weather.answers[READ] = (503, b"")

    attempt = await sign_in_as_another(ways)

    assert ways.world.sql(ACCOUNT) == [(OWN,)]
    ways.weather.answers.clear()
    await confirm(ways.world.db, ways.world.vendors, ways.world.caller, attempt)
    assert ways.world.sql(ACCOUNT) not in ([(OWN,)], [(None,)])
    await ways.world.sync(connection_id)
    assert len(ways.stored()) > 100


async def test_the_same_account_is_not_asked_about_though_its_readings_cannot_be_seen_now(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.weather.answers[READ] = (503, b"")

    assert await ways.add_share() == connection_id


async def test_an_account_that_an_earlier_version_never_noted_is_noted_by_the_next_read(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.world.sql("update cgm_private.routes set vendor_account_id = null")

    await ways.world.sync(connection_id)

    assert ways.world.sql(ACCOUNT) == [(OWN,)]
    await sign_in_as_another(ways)


async def test_where_something_was_read_and_nobody_knows_of_whom_a_sign_in_waits_for_a_yes(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)
    ways.world.sql("update cgm_private.routes set vendor_account_id = null")

    await sign_in_as_another(ways)


async def test_what_another_account_answers_is_not_stored(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.world.sql("update cgm_private.routes set vendor_account_id = 'another'")

    result = await ways.world.sync(connection_id)

    assert result is not None
    assert (result.outcome, result.reason, ways.stored()) == ("failed", "vendor_changed", [])
    assert ways.routes() == [("dexcom_share", "vendor_changed", False)]
    assert ways.world.sql(ACCOUNT) == [("another",)]
