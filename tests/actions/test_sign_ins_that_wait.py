"""A kept password is not sent before its time, a session is not given up for one refusal, and a follower comes back."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from followed_world import Followed, open_followed
from sync_world import World, hours

from evercgm.actions.pause import pause, resume
from evercgm.actions.request_sync import RequestedRun, request_sync
from evercgm.core.errors import ReconnectNeeded, SignInLocked
from evercgm.storage import connections
from evercgm.storage.at_rest import pause as put_at_rest
from evercgm.worker.schedule import enqueue_due

DAY = timedelta(days=1)


@pytest.fixture
async def followed(world: World, tmp_path: Path) -> AsyncIterator[Followed]:
    async with open_followed(world, tmp_path / "libre") as opened:
        yield opened


async def press(followed: Followed, connection_id: str) -> list[RequestedRun]:
    """As if the last press had been long ago."""
    world = followed.world
    world.sql("update cgm_private.sync_runs set state = 'done', outcome = 'failed' where state <> 'done'")
    world.sql("update cgm_private.sync_runs set requested_at = requested_at - interval '61 s'")
    return await request_sync(world.db, world.caller, connection_id=connection_id, person_id=None, start=None, end=None)


async def locked(followed: Followed) -> str:
    """A connection whose sign-in by the kept password has just met a lock."""
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("tokens_ended", True)
    followed.cloud.set_fault("locked", True)
    await followed.world.sync(connection_id, trigger="schedule")
    assert followed.world.status(connection_id) == ("error", "sign_in_locked")
    return connection_id


def its_time_has_come(followed: Followed) -> None:
    followed.world.sql("update cgm_private.sync_state set next_sync_at = now()")


def all_calls(followed: Followed) -> int:
    return sum(followed.calls(place) for place in ("login", "graph", "connections", "logbook"))


async def test_during_a_lock_a_press_is_told_how_long_it_lasts_and_a_sync_sends_nothing(followed: Followed) -> None:
    connection_id = await locked(followed)
    before, waits = all_calls(followed), followed.waits(connection_id)

    for trigger in ("person", "schedule", "command"):
        with pytest.raises(SignInLocked) as told:
            await press(followed, connection_id)
        assert 0 < (told.value.retry_after_s or 0) <= waits.total_seconds() + 1
        await followed.world.sync(connection_id, trigger=trigger)

    assert all_calls(followed) == before
    assert followed.world.status(connection_id) == ("error", "sign_in_locked")
    assert waits - timedelta(minutes=1) <= followed.waits(connection_id) <= waits


async def test_after_a_lock_the_password_is_sent_once_more_and_then_the_person_is_asked(followed: Followed) -> None:
    connection_id = await locked(followed)
    before = followed.calls("login")

    its_time_has_come(followed)
    assert await press(followed, connection_id)
    await followed.world.sync(connection_id, trigger="person")
    once_more = followed.calls("login") - before
    for _ in range(3):
        await followed.world.sync(connection_id)

    assert (once_more, followed.calls("login") - before) == (1, 1)
    assert followed.world.status(connection_id) == ("expired", "sign_in_locked")


async def test_one_of_several_that_is_locked_does_not_refuse_the_others(followed: Followed) -> None:
    await locked(followed)
    other = await followed.world.connect()
    world = followed.world
    world.sql("delete from cgm_private.sync_runs")

    runs = await request_sync(
        world.db, world.caller, connection_id=None, person_id=world.person_id, start=None, end=None
    )

    assert [run.connection_id for run in runs] == [other]


async def test_a_pause_and_a_resume_do_not_end_a_lock(followed: Followed) -> None:
    connection_id = await locked(followed)
    world, before, waits = followed.world, followed.calls("login"), followed.waits(connection_id)

    await pause(world.db, world.vendors, world.caller, connection_id)
    await resume(world.db, world.caller, connection_id)
    resumed = followed.waits(connection_id)
    await world.sync(connection_id, trigger="schedule")

    assert waits - timedelta(minutes=1) <= resumed <= waits
    assert followed.calls("login") == before
    assert world.status(connection_id) == ("error", "sign_in_locked")


async def test_a_lock_that_comes_during_a_pause_lasts_beyond_it(followed: Followed) -> None:
    connection_id = await followed.connect()
    world = followed.world
    await world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("tokens_ended", True)
    followed.cloud.set_fault("locked", True)
    syncing = await connections.load_for_sync(world.db, connection_id)
    assert syncing is not None
    # Paused while the vendor was asked: at once after the sync has begun, by the person's own statement.
    world.sql(
        "create function pause_it() returns trigger language plpgsql as $$ begin"
        " update public.cgm_connections set status = 'disconnected' where id = new.connection_id; return new; end $$"
    )
    world.sql(
        "create trigger pause_it after update of state on cgm_private.sync_runs for each row"
        " when (new.state = 'running') execute function pause_it()"
    )
    await world.sync(connection_id)
    world.sql("drop trigger pause_it on cgm_private.sync_runs")
    paused = world.status(connection_id)

    await resume(world.db, world.caller, connection_id)

    assert paused == ("disconnected", "sign_in_locked")
    assert followed.waits(connection_id) >= timedelta(minutes=4)


async def test_the_end_of_a_lock_that_came_during_a_pause_is_not_taken_back_by_a_resume(followed: Followed) -> None:
    connection_id = await locked(followed)
    world = followed.world
    async with world.db.as_worker() as conn:
        await put_at_rest(conn, connection_id, world.person_id)
    # The one more try was under way and met the lock again.
    world.sql("update cgm_private.sync_state set next_sync_at = null")

    with pytest.raises(ReconnectNeeded):
        await resume(world.db, world.caller, connection_id)

    assert world.status(connection_id) == ("disconnected", "sign_in_locked")


async def test_whoever_signs_in_anew_is_not_held_up_by_the_lock_before(followed: Followed) -> None:
    connection_id = await locked(followed)
    followed.cloud.clear_faults()

    assert await followed.connect() == connection_id
    assert followed.world.status(connection_id) == ("connected", None)
    assert await press(followed, connection_id)
    result = await followed.world.sync(connection_id, trigger="person")

    assert result is not None
    assert result.outcome in ("succeeded", "nothing_new")
    assert followed.world.status(connection_id) == ("connected", None)


async def unfollowed(followed: Followed, *, keep: bool = True) -> str:
    connection_id = await followed.connect(keep=keep)
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("unfollowed", "followerNotConnectToPatient")
    await followed.world.sync(connection_id, trigger="schedule")
    assert followed.world.status(connection_id) == ("error", "unfollowed")
    return connection_id


@pytest.mark.parametrize("keep", [True, False])
async def test_whoever_may_follow_again_goes_on_by_itself_after_a_day_and_without_a_sign_in(
    followed: Followed, *, keep: bool
) -> None:
    connection_id = await unfollowed(followed, keep=keep)
    waits, logins = followed.waits(connection_id), followed.calls("login")
    nothing_is_due = await enqueue_due(followed.world.db)
    followed.cloud.clear_faults()

    its_time_has_come(followed)
    due = await enqueue_due(followed.world.db)
    await followed.world.sync(connection_id, trigger="schedule")

    assert hours(23.9) <= waits <= hours(29)
    assert (nothing_is_due, due) == (0, 1)
    assert followed.world.status(connection_id) == ("connected", None)
    assert followed.calls("login") == logins


async def test_whoever_may_follow_again_goes_on_at_a_press(followed: Followed) -> None:
    connection_id = await unfollowed(followed)
    logins = followed.calls("login")
    followed.cloud.clear_faults()

    assert await press(followed, connection_id)
    await followed.world.sync(connection_id, trigger="person")

    assert followed.world.status(connection_id) == ("connected", None)
    assert followed.calls("login") == logins


async def test_while_unfollowed_a_session_that_ended_costs_one_sign_in_and_goes_on(followed: Followed) -> None:
    connection_id = await unfollowed(followed)
    followed.age_session()
    logins = followed.calls("login")
    followed.cloud.clear_faults()
    followed.cloud.set_fault("tokens_ended", True)

    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("connected", None)
    # One sign-in, which is sent on to the account's own region.
    assert followed.calls("login") == logins + 2


async def test_an_outage_at_the_look_leaves_the_reason_as_it_is(followed: Followed) -> None:
    connection_id = await unfollowed(followed)
    followed.cloud.clear_faults()
    followed.cloud.set_fault("server_error", 503)

    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("error", "unfollowed")
    assert followed.waits(connection_id) < hours(1)


async def test_one_that_is_unfollowed_can_be_paused_and_resumed_and_is_looked_for_then(followed: Followed) -> None:
    connection_id = await unfollowed(followed)
    world = followed.world
    followed.cloud.clear_faults()

    await pause(world.db, world.vendors, world.caller, connection_id)
    await resume(world.db, world.caller, connection_id)
    resumed = world.status(connection_id)
    await world.sync(connection_id, trigger="schedule")

    assert resumed == ("error", "unfollowed")
    assert world.status(connection_id) == ("connected", None)


async def test_without_a_password_a_session_that_is_refused_once_is_used_again(followed: Followed) -> None:
    connection_id = await followed.connect(keep=False)
    await followed.world.sync(connection_id)
    followed.cloud.set_fault("token_refused", "jwt", count=1)

    await followed.world.sync(connection_id, trigger="schedule")
    refused, waits = followed.world.status(connection_id), followed.waits(connection_id)
    await followed.world.sync(connection_id, trigger="person")

    assert refused == ("error", "sign_in_refused")
    assert timedelta(0) < waits <= timedelta(minutes=15)
    assert followed.world.status(connection_id) == ("connected", None)


async def test_without_a_password_a_session_that_stays_refused_is_tried_for_two_hours_before_the_person_is_asked(
    followed: Followed,
) -> None:
    connection_id = await followed.connect(keep=False)
    await followed.world.sync(connection_id)
    followed.cloud.set_fault("token_refused", "jwt")
    logins, steps = followed.calls("login"), []

    await followed.world.sync(connection_id, trigger="schedule")
    while followed.world.status(connection_id) == ("error", "sign_in_refused"):
        await followed.world.sync(connection_id, trigger="person")
        steps.append(followed.waits(connection_id))
        its_time_has_come(followed)
        await followed.world.sync(connection_id, trigger="schedule")

    assert followed.world.status(connection_id) == ("expired", "password_needed")
    assert len(steps) == 3
    assert steps == sorted(steps)
    assert hours(1.5) <= sum(steps, timedelta()) <= hours(3)
    assert followed.calls("login") == logins


async def test_without_a_password_a_session_is_used_to_its_end_and_then_the_person_is_asked_at_once(
    followed: Followed,
) -> None:
    connection_id = await followed.connect(keep=False)
    await followed.world.sync(connection_id)

    followed.world.sql("update public.cgm_connections set token_expires_at = now() at time zone 'UTC' + interval '1 m'")
    await followed.world.sync(connection_id)
    kept = followed.world.status(connection_id)
    followed.world.sql("update public.cgm_connections set token_expires_at = now() at time zone 'UTC'")
    before = all_calls(followed)
    await followed.world.sync(connection_id)

    assert kept == ("connected", None)
    assert followed.world.status(connection_id) == ("expired", "password_needed")
    assert all_calls(followed) == before
