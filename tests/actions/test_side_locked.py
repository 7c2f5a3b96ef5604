"""Where Share has locked a sign-in, the kept password rests with it: it is sent once more, then, whoever presses."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from two_ways import TwoWays, open_two_ways

from evercgm.actions.pause import pause, resume
from evercgm.core.errors import SignInLocked
from evercgm.storage.runs import Trigger

LOG_IN = "LoginPublisherAccountById"
READ = "ReadPublisherLatestGlucoseValues"
LOCKED = 500, json.dumps({"Code": "SSO_AuthenticateMaxAttemptsExceeded", "Message": "Words."}).encode()
TIMES = """
select r.next_sync_at, s.next_sync_at, r.next_sync_at - now() > interval '9 min'
from cgm_private.routes r join cgm_private.sync_state s on s.connection_id = r.connection_id"""


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        yield opened


@pytest.fixture(params=["beside the official way", "alone"])
async def locked(ways: TwoWays, request: Any) -> str:
    """A connection whose kept password has just met the lock, once; its id."""
    if request.param != "alone":
        await ways.world.connect()
    return await meet_the_lock(ways)


async def meet_the_lock(ways: TwoWays) -> str:
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)
    ways.world.sql("update cgm_private.routes set session_expires_at = now(), next_sync_at = now()")
    ways.world.sql("update cgm_private.sync_state set next_sync_at = now()")
    ways.weather.answers[LOG_IN] = LOCKED
    ways.weather.calls.clear()
    await ways.world.sync(connection_id, trigger="schedule")
    assert sent(ways) == 1
    assert ways.routes() == [("dexcom_share", "sign_in_locked", False)]
    return connection_id


def sent(ways: TwoWays) -> int:
    """How often the kept password was, since the lock."""
    return ways.weather.calls.count(LOG_IN)


def is_alone(ways: TwoWays) -> bool:
    return ways.world.sql("select access_token from public.cgm_connections") == [("",)]


def let_the_lock_pass(ways: TwoWays) -> None:
    ways.world.sql("update cgm_private.routes set next_sync_at = now()")


@pytest.mark.parametrize("trigger", ["person", "command", "schedule"])
async def test_nobody_sends_it_while_the_lock_lasts(ways: TwoWays, locked: str, trigger: Trigger) -> None:
    before = ways.world.sql(TIMES)
    assert before[0][2] is True
    # The connection may be due before its way is.
    ways.world.sql("update cgm_private.sync_state set next_sync_at = now()")

    for _ in range(3):
        result = await ways.world.sync(locked, trigger=trigger)
        assert result is not None

    assert sent(ways) == 1
    assert ways.routes() == [("dexcom_share", "sign_in_locked", False)]
    after = ways.world.sql(TIMES)
    assert after[0][0] == before[0][0]
    if is_alone(ways):
        assert (result.outcome, result.reason) == ("failed", "sign_in_locked")
        assert ways.world.status(locked) == ("error", "sign_in_locked")
        assert after[0][:2] == before[0][:2]
    else:
        assert result.outcome in ("succeeded", "nothing_new")
        assert ways.world.status(locked) == ("connected", None)


async def test_an_outage_meanwhile_does_not_make_it_forget_the_lock(ways: TwoWays, locked: str) -> None:
    before = ways.world.sql(TIMES)
    # By its time the session would be good, and Share refused it.
    ways.world.sql("update cgm_private.routes set session_expires_at = now() + interval '10 h'")
    ways.weather.answers[READ] = (503, b"")

    await ways.world.sync(locked, trigger="person")

    assert ways.routes() == [("dexcom_share", "sign_in_locked", False)]
    assert ways.world.sql(TIMES)[0][0] == before[0][0]
    assert sent(ways) == 1


async def test_it_is_sent_once_when_the_lock_is_over_and_never_again(ways: TwoWays, locked: str) -> None:
    let_the_lock_pass(ways)

    for trigger in ("schedule", "person", "command"):
        await ways.world.sync(locked, trigger=trigger)
        assert sent(ways) == 2

    assert ways.routes() == [("dexcom_share", "sign_in_locked", True)]
    own = ("connected", None)
    assert ways.world.status(locked) == (("expired", "sign_in_locked") if is_alone(ways) else own)


async def test_it_goes_on_when_the_lock_is_over_and_the_password_is_taken(ways: TwoWays, locked: str) -> None:
    ways.weather.answers.clear()
    let_the_lock_pass(ways)

    await ways.world.sync(locked, trigger="schedule")

    assert sent(ways) == 2
    assert ways.routes() == [("dexcom_share", None, False)]
    assert ways.world.status(locked) == ("connected", None)


async def test_share_alone_and_its_connection_have_one_time_and_one_end(ways: TwoWays) -> None:
    connection_id = await meet_the_lock(ways)
    ((of_way, of_connection, _),) = ways.world.sql(TIMES)
    assert of_way == of_connection

    let_the_lock_pass(ways)
    await ways.world.sync(connection_id, trigger="schedule")

    assert [row[:2] for row in ways.world.sql(TIMES)] == [(None, None)]
    assert ways.world.status(connection_id) == ("expired", "sign_in_locked")


async def test_a_pause_during_the_lock_does_not_end_it(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await meet_the_lock(ways)
    ((of_way, _, _),) = world.sql(TIMES)

    await pause(world.db, world.vendors, world.caller, connection_id)
    await resume(world.db, world.caller, connection_id)
    await world.sync(connection_id, trigger="schedule")

    assert sent(ways) == 1
    assert world.status(connection_id) == ("error", "sign_in_locked")
    assert [row[:2] for row in world.sql(TIMES)] == [(of_way, of_way)]


async def test_a_person_who_types_the_password_anew_ends_the_wait(ways: TwoWays, locked: str) -> None:
    with pytest.raises(SignInLocked):
        await ways.add_share()
    assert ways.routes() == [("dexcom_share", "sign_in_locked", False)]
    ways.weather.answers.clear()

    await ways.add_share()

    await ways.world.sync(locked)
    assert ways.routes() == [("dexcom_share", None, False)]
