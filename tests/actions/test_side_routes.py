"""Share beside the official way: one series, each way with its own trouble, and the official value counts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from two_ways import PASSWORD, USER, TwoWays, open_two_ways

from evercgm.actions.confirm import confirm
from evercgm.actions.disconnect import disconnect, remove_route
from evercgm.actions.pause import pause, resume
from evercgm.actions.request_sync import request_sync
from evercgm.core.errors import NotYours, OtherAccount, ReconnectNeeded, SignInLocked, TooOften
from evercgm.storage import connections
from evercgm.worker.schedule import enqueue_due

DUE = "update cgm_private.routes set next_sync_at = now() - interval '1 second'"
READ = "ReadPublisherLatestGlucoseValues"


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        opened.world.cloud.state.cloud.set_fault("delay_hours", 1)
        yield opened


async def test_share_shows_the_last_hour_at_once_and_the_official_way_doubles_nothing(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await world.sync(connection_id)
    official = len(ways.stored())

    assert await ways.add_share() == connection_id
    await world.sync(connection_id, trigger="connect")

    stored, by_way = ways.stored(), ways.by_way()
    # The official way is an hour late.
    assert 8 <= len(stored) - official <= 14
    assert len({at for at, _value in stored}) == len(stored)
    assert by_way["dexcom_share"][0] == by_way["dexcom_share"][1] >= 250
    assert sum(records for records, _ in by_way.values()) > len(stored)
    world.cloud.state.cloud.set_fault("delay_hours", 0)
    truth = await world.truth()
    await world.sync(connection_id)
    # A new one may have come since.
    assert [row for row in ways.stored() if row[0] <= truth[-1][0]] == truth


@pytest.mark.parametrize("shares_value", [3, 0], ids=["Share says another value", "Share says the same"])
async def test_the_official_value_wins_when_it_comes_whatever_the_order(ways: TwoWays, shares_value: int) -> None:
    world = ways.world
    connection_id = await ways.add_share()
    await world.sync(connection_id)
    world.sql("update public.glucose_readings set value = value + %s", shares_value)
    only_share = ways.stored()
    world.cloud.state.cloud.set_fault("delay_hours", 0)

    await world.connect()
    await world.sync(connection_id, trigger="connect")

    assert len(only_share) > 250
    truth = await world.truth()
    assert ways.stored()[: len(truth)] == truth
    await world.sync(connection_id)
    assert ways.stored()[: len(truth)] == truth
    kept = world.sql("select count(*) from public.glucose_readings where id = any(%s)", ids_of(ways, only_share))
    assert kept[0][0] == len(only_share)


def ids_of(ways: TwoWays, rows: list[tuple[Any, ...]]) -> list[str]:
    query = """select reading_id from cgm_private.reading_details where stream like 'dexcom/dexcom\\_share/%%'"""
    found = [row[0] for row in ways.world.sql(query)]
    assert len(found) >= len(rows)
    return found[: len(rows)]


async def test_share_alone_is_a_connection_that_asks_for_no_consent(ways: TwoWays) -> None:
    connection_id = await ways.add_share()

    result = await ways.world.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert ways.world.status(connection_id) == ("connected", None)
    tokens = "select access_token, refresh_token, token_expires_at::date::text from public.cgm_connections"
    assert ways.world.sql(tokens) == [("", "", "9999-12-31")]
    assert set(ways.by_way()) == {"dexcom_share"}
    next_at = "select next_sync_at between now() and now() + interval '6 minutes' from cgm_private.sync_state"
    assert ways.world.sql(next_at) == [(True,)]


async def test_trouble_of_share_leaves_the_official_way_alone(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    ways.trouble("server_error", 503)

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert world.status(connection_id) == ("connected", None)
    assert ways.routes() == [("dexcom_share", "vendor_unavailable", False)]
    ways.share.desk.clear_faults()
    await world.sync(connection_id)
    assert ways.routes() == [("dexcom_share", None, False)]


async def test_share_goes_on_while_the_official_way_waits_for_a_sign_in(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    world.sql("update public.cgm_connections set status = 'expired'")
    world.sql("update cgm_private.sync_state set next_sync_at = null, reason = 'reconnect_needed'")
    world.sql("delete from cgm_private.sync_runs")
    world.sql(DUE)
    before = world.token_calls("refresh_token")

    assert await enqueue_due(world.db) == 1
    result = await world.sync(connection_id, trigger="schedule")

    assert result is not None
    assert (result.outcome, set(ways.by_way())) == ("succeeded", {"dexcom_share"})
    assert world.status(connection_id) == ("expired", "reconnect_needed")
    assert world.token_calls("refresh_token") == before


async def test_a_person_asks_for_a_sync_of_what_share_still_gives_while_the_consent_has_ended(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    world.sql("delete from cgm_private.sync_runs")
    world.sql("update public.cgm_connections set status = 'expired'")
    which: dict[str, Any] = {"connection_id": connection_id, "person_id": None, "start": None, "end": None}

    (run,) = await request_sync(world.db, world.caller, **which)
    result = await world.sync(connection_id, trigger="schedule")

    assert (run.state, result and result.outcome) == ("queued", "succeeded")
    assert len(ways.stored()) > 250
    world.sql("delete from cgm_private.sync_runs")
    world.sql("update cgm_private.routes set next_sync_at = null, reason = 'password_needed'")
    with pytest.raises(ReconnectNeeded):
        await request_sync(world.db, world.caller, **which)
    await remove_route(world.db, world.caller, connection_id, "dexcom_share")
    with pytest.raises(ReconnectNeeded):
        await request_sync(world.db, world.caller, **which)


async def test_the_official_ways_ladder_is_not_climbed_because_share_is_due(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    await world.sync(connection_id)
    world.sql(
        "update cgm_private.sync_state"
        " set next_sync_at = now() + interval '8 h', reason = 'sign_in_refused', failure_count = 3"
    )
    world.sql("update public.cgm_connections set status = 'error'")
    world.sql(DUE)
    asked = list(world.weather.calls)

    result = await world.sync(connection_id, trigger="schedule")

    assert result is not None
    assert result.outcome in ("succeeded", "nothing_new")
    assert world.weather.calls == asked
    assert world.status(connection_id) == ("error", "sign_in_refused")
    assert world.sql("select failure_count, next_sync_at > now() + interval '7 h' from cgm_private.sync_state") == [
        (3, True)
    ]


async def test_a_session_that_ended_is_renewed_by_the_kept_password_once(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)
    sign_ins = ways.calls().get("LoginPublisherAccountById", 0)
    ways.world.sql("update cgm_private.routes set session_expires_at = now()")

    await ways.world.sync(connection_id)

    assert ways.calls()["LoginPublisherAccountById"] == sign_ins + 1
    assert ways.world.status(connection_id) == ("connected", None)


async def test_without_a_kept_password_the_person_is_asked_when_the_session_ends(ways: TwoWays) -> None:
    connection_id = await ways.add_share(keep=False)
    assert ways.world.sql("select secret from cgm_private.routes") == [("",)]
    ways.world.sql("update cgm_private.routes set session_expires_at = now()")

    result = await ways.world.sync(connection_id)

    assert result is not None
    assert result.reason == "password_needed"
    assert ways.world.status(connection_id) == ("expired", "password_needed")
    assert ways.routes() == [("dexcom_share", "password_needed", True)]
    assert await enqueue_due(ways.world.db) == 0
    await ways.add_share()
    assert ways.world.status(connection_id)[0] == "connected"
    assert (await ways.world.sync(connection_id)) is not None


async def test_a_password_that_changed_is_tried_once_and_never_again(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.world.sql("update cgm_private.routes set session_expires_at = now()")
    ways.trouble("password_changed", "another")
    before = ways.calls().get("LoginPublisherAccountById", 0)

    for _ in range(3):
        await ways.world.sync(connection_id)

    assert ways.calls()["LoginPublisherAccountById"] == before + 1
    assert ways.world.status(connection_id) == ("expired", "wrong_password")


async def test_a_wrong_password_changes_nothing_and_six_tries_an_hour_are_enough(ways: TwoWays) -> None:
    for _ in range(3):
        with pytest.raises(ReconnectNeeded, match="wrong_password"):
            await ways.add_share(password="not the one")
    for _ in range(3):
        with pytest.raises((ReconnectNeeded, SignInLocked)):
            await ways.add_share(password="not the one")
    with pytest.raises(TooOften):
        await ways.add_share()

    assert ways.world.sql("select count(*) from public.cgm_connections") == [(0,)]
    assert ways.world.sql("select count(*) from cgm_private.routes") == [(0,)]


async def test_share_is_removed_alone_and_with_its_connection(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    await world.sync(connection_id)
    readings = len(ways.stored())

    await remove_route(world.db, world.caller, connection_id, "dexcom_share")

    assert ways.routes() == []
    assert world.status(connection_id)[0] == "connected"
    assert len(ways.stored()) == readings
    await ways.add_share()
    await disconnect(world.db, world.vendors, world.caller, connection_id)
    assert ways.routes() == []
    assert len(ways.stored()) == readings


async def test_another_owner_adds_and_removes_nothing(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    stranger = type(world.caller)(
        "f3a0c4b8-0000-4000-8000-000000000001", {**world.caller.claims, "sub": "f3a0c4b8-0000-4000-8000-000000000001"}
    )
    own, world.caller = world.caller, stranger

    with pytest.raises(NotYours):
        await ways.add_share()
    with pytest.raises(NotYours):
        await remove_route(world.db, stranger, connection_id, "dexcom_share")

    world.caller = own
    assert ways.routes() == [("dexcom_share", None, False)]


async def test_the_password_is_in_no_row_but_the_sealed_one(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)

    secret, session = ways.world.sql("select secret, session from cgm_private.routes")[0]
    assert secret.startswith("v1.")
    assert session.startswith("v1.")
    everything = ways.world.sql(
        "select coalesce(string_agg(t::text, ' '), '') from ("
        " select to_jsonb(a)::text as t from cgm_private.audit_events a"
        " union all select to_jsonb(r)::text from cgm_private.sync_runs r"
        " union all select to_jsonb(r)::text from cgm_private.routes r"
        " union all select encode(j.payload, 'escape') from cgm_jobs.pgqueuer j) x"
    )[0][0]
    assert PASSWORD not in everything
    assert USER not in everything


async def test_shares_value_never_takes_the_official_ones_place_however_often_it_is_read_again(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await ways.add_share()
    await world.sync(connection_id)
    # What Share shows is another value than the official way's, as if the cloud had smoothed it since.
    world.cloud.state.cloud.set_fault("delay_hours", 0)
    world.cloud.state.cloud.set_fault("corrected_values", {"last_hours": 6, "add_mg_dl": 7})
    await world.connect()
    await world.sync(connection_id, trigger="connect")
    truth = await world.truth()
    assert ways.stored()[: len(truth)] == truth

    world.sql("update cgm_private.sync_state set next_sync_at = now() + interval '1 h'")
    for _ in range(2):
        world.sql("delete from cgm_private.sync_runs")
        world.sql(DUE)
        await world.sync(connection_id, trigger="schedule")

        assert ways.stored()[: len(truth)] == truth


async def test_a_share_secret_that_no_key_opens_holds_up_neither_the_official_way_nor_the_queue(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    world.sql("update cgm_private.routes set session = 'v1.01234567.AAAA', secret = 'v1.01234567.AAAA'")

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert ways.routes() == [("dexcom_share", "seal_broken", False)]
    assert world.sql("select next_sync_at > now() + interval '30 minutes' from cgm_private.routes") == [(True,)]


async def test_after_a_bug_no_way_of_the_connection_is_due_at_once(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    ways.world.sql(DUE)

    async with ways.world.db.as_worker() as conn:
        await connections.put_off(conn, connection_id)

    ways.world.sql("delete from cgm_private.sync_runs")
    assert await enqueue_due(ways.world.db) == 0


async def test_share_alone_can_rest_and_go_on(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await ways.add_share()
    await pause(world.db, world.vendors, world.caller, connection_id)
    assert world.status(connection_id)[0] == "disconnected"

    await resume(world.db, world.caller, connection_id)

    result = await world.sync(connection_id)
    assert result is not None
    assert (result.outcome, world.status(connection_id)[0]) == ("succeeded", "connected")


async def test_another_persons_share_account_is_stored_only_after_a_yes(ways: TwoWays) -> None:
    await ways.add_share()
    before = ways.world.sql("select vendor_account_id, session from cgm_private.routes")

    with pytest.raises(OtherAccount) as other:
        await ways.add_share(username="User6", password="evercgm-demo-6")

    assert ways.world.sql("select vendor_account_id, session from cgm_private.routes") == before
    await confirm(ways.world.db, ways.world.vendors, ways.world.caller, other.value.attempt)
    assert ways.world.sql("select vendor_account_id from cgm_private.routes") != [(before[0][0],)]


async def test_what_share_answers_after_its_owner_removed_it_is_not_stored(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await ways.add_share()

    async def removed_meanwhile(path: str) -> None:
        if path == READ:
            await remove_route(world.db, world.caller, connection_id, "dexcom_share")

    ways.weather.pause = removed_meanwhile
    await world.sync(connection_id)

    assert READ in ways.weather.calls
    assert (ways.routes(), ways.stored()) == ([], [])


async def test_what_the_former_share_account_answers_is_not_stored_beside_the_new_ones(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await ways.add_share()
    waits = True

    async def another_account_meanwhile(path: str) -> None:
        nonlocal waits
        if path == READ and waits:
            waits = False
            with pytest.raises(OtherAccount) as other:
                await ways.add_share(username="User6", password="evercgm-demo-6")
            await confirm(world.db, world.vendors, world.caller, other.value.attempt)

    ways.weather.pause = another_account_meanwhile
    await world.sync(connection_id)
    assert (waits, ways.stored()) == (False, [])

    await world.sync(connection_id)
    assert len(ways.by_way()) == 1
    accounts = "select count(distinct stream) from cgm_private.reading_details"
    assert (len(ways.stored()) > 100, world.sql(accounts)) == (True, [(1,)])
