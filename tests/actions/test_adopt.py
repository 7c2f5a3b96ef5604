"""Connections of the host app: untouched before they are taken over, complete and not doubled after it."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from adoption_world import ALICE, HOST_KEY, HostApp, host_sealed, load_production
from sync_world import World, open_world

from evercgm.actions import adopt as action
from evercgm.actions.disconnect import disconnect
from evercgm.actions.request_sync import request_sync
from evercgm.core.caller import Caller
from evercgm.core.errors import BadInput, NothingToSync
from evercgm.storage import connections
from evercgm.storage.schema.migrate import migrate
from evercgm.worker.schedule import enqueue_due

ALICE_OWNER = "a0000000-0000-4000-8000-00000000000a"


@pytest.fixture
async def world(
    make_empty_database: Callable[[], Any], template_of: Callable[[bool], str], shared_dir: Path, tmp_path: Path
) -> AsyncIterator[World]:
    template_of(True)  # makes the service's login role
    fresh = load_production(make_empty_database, shared_dir / "database" / "production.sql")
    await migrate(fresh.admin_dsn)
    async with open_world(fresh.admin_dsn, fresh.service_dsn, tmp_path / "cloud") as opened:
        opened.person_id = ALICE
        opened.caller = Caller(ALICE_OWNER, {**opened.caller.claims, "sub": ALICE_OWNER})
        # The samples are invented: the vendor has none of them.
        opened.sql("delete from public.glucose_readings where source = 'cgm'")
        yield opened


@pytest.fixture
def host(world: World) -> HostApp:
    return HostApp(world)


async def test_before_adoption_nothing_is_due_and_no_row_is_altered(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    before = host.rows()

    looked = await enqueue_due(world.db)
    results = [await world.sync(row[0]) for row in before]
    with pytest.raises(NothingToSync, match="not_connected"):
        await request_sync(world.db, world.caller, connection_id=None, person_id=ALICE, start=None, end=None)

    assert looked == 0
    assert results == [None] * len(before)
    assert before == host.rows()
    assert world.sql("select count(*) from cgm_jobs.pgqueuer") == [(0,)]


async def test_after_adoption_the_series_is_the_vendors_none_doubled_and_host_rows_keep_their_ids(
    world: World, host: HostApp
) -> None:
    await host.connects("conn-a1", "User7")
    truth = await host.truth("User7")
    made = host.reads("conn-a1", ALICE, truth[100:400], timedelta(seconds=20))
    before = world.sql("select to_jsonb(r) from public.glucose_readings r where id like 'host-%%' order by id")

    outcome = await host.adopted("us")
    result = await world.sync("conn-a1")

    assert result is not None
    assert result.outcome == "succeeded"
    assert outcome.adopted == 2  # Bob's plain tokens too
    stored = host.series(ALICE)
    assert len(truth) == len(stored)
    apart = [abs(at - seen) for (at, _), (_, seen, _) in zip(truth, stored, strict=True)]
    assert [row[0] for row, gap in zip(stored, apart, strict=True) if gap] == made
    assert max(apart) <= timedelta(seconds=30)
    assert [value for _, value in truth] == [value for _, _, value in stored]
    after = world.sql("select to_jsonb(r) from public.glucose_readings r where id like 'host-%%' order by id")
    assert before == after
    assert world.status("conn-a1") == ("connected", None)


async def test_an_adopted_connection_is_sealed_by_us_due_at_once_and_keeps_what_is_not_ours(
    world: World, host: HostApp
) -> None:
    access, refresh = await host.connects("conn-a1", "User7")

    await host.adopted("us")

    loaded = await connections.load_for_sync(world.db, "conn-a1")
    assert loaded is not None
    assert (loaded.tokens.access.reveal(), loaded.tokens.refresh.reveal()) == (access, refresh)
    assert (loaded.region, loaded.high_water, loaded.history_done) == ("us", None, False)
    stored = world.sql(
        "select access_token, refresh_token, metadata, sync_cursor from cgm_connections where id='conn-a1'"
    )
    assert all(text.startswith("v1.") for text in stored[0][:2])
    assert stored[0][2:] == ({"region": "us", "hostOnly": 1}, None)
    assert await enqueue_due(world.db) == 2


async def test_a_second_run_finds_nothing_left_to_do(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    first = await host.adopted("us")
    rows = host.rows()

    second = await host.adopted("us")

    assert (first.adopted, second.adopted) == (2, 0)
    assert rows == host.rows()


async def test_what_does_not_open_or_is_not_ours_to_sync_is_left_alone_with_its_reason(
    world: World, host: HostApp
) -> None:
    await host.connects("conn-a1", "User7", region="eu")
    host.keeps_tokens("conn-b1", "", "")
    before = host.rows()

    found = await action.look(world.db, world.vendors, host.terms("us"))
    outcome = await host.adopted("us")

    assert found.forms == {
        "abbott": {"unreadable": 1},
        "dexcom": {"host": 1, "empty": 1, "unreadable": 1},
        "libre": {"unreadable": 1},
        "medtronic": {"empty": 1},
    }
    assert outcome == action.Outcome(0, {"region_not_offered": 1, "empty": 1, "unreadable": 1})
    assert found.left == outcome.left
    assert before == host.rows()


async def test_another_key_of_the_host_opens_nothing_and_changes_nothing(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    host.keeps_tokens("conn-b1", host_sealed("a"), "half in plain text")
    before = host.rows()

    outcome = await host.adopted("us", bytes(range(32)))

    assert outcome == action.Outcome(0, {"unreadable": 3})
    assert before == host.rows()


async def test_a_connection_without_region_needs_one_to_be_named(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7", region=None)
    before = host.rows()

    with pytest.raises(BadInput, match="--region"):
        await host.adopted()
    assert before == host.rows()

    await host.adopted("us")
    assert world.sql("select provider, region from cgm_private.sync_state where connection_id = 'conn-a1'") == [
        ("dexcom", "us")
    ]


@pytest.mark.parametrize(("route", "region", "field"), [("libre", None, "--provider"), ("dexcom", "eu", "--region")])
async def test_what_we_cannot_sync_is_refused_by_name(world: World, route: str, region: str | None, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        action.check_terms(world.vendors, route, region, HOST_KEY)

    assert field == refused.value.field


async def test_a_disconnected_one_stays_so_and_an_expired_one_is_tried(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    await host.connects("conn-c1", "User6")
    world.sql("update public.cgm_connections set status = 'disconnected' where id = 'conn-a1'")
    world.sql("update public.cgm_connections set status = 'expired' where id = 'conn-c1'")

    await host.adopted("us")

    statuses = world.sql("select id, status::text from cgm_connections where id in ('conn-a1', 'conn-c1') order by id")
    assert statuses == [("conn-a1", "disconnected"), ("conn-c1", "connected")]
    # One that rests has no time at which it is due: nobody who looks for those comes upon it.
    times = "select next_sync_at is null from cgm_private.sync_state order by connection_id"
    assert world.sql(times) == [(True,), (False,), (False,)]
    result = await world.sync("conn-c1")
    assert result is not None
    assert result.outcome == "succeeded"


async def test_a_sign_in_while_we_take_over_wins(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    rows = [row async for row in _candidates(world)]
    await world_connects(world)
    before = host.rows()

    outcome = [await action._adopt_one(world.db, world.vendors, host.terms("us"), ALICE, row) for row in rows[:1]]

    assert outcome == ["gone"]
    assert before == host.rows()


async def test_a_persons_own_sign_in_takes_over_that_one_row(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    truth = await host.truth("User7")
    made = host.reads("conn-a1", ALICE, truth[:50], timedelta(seconds=-10))
    others = [row for row in host.rows() if row[0] != "conn-a1"]

    connection_id = await world_connects(world)
    await world.sync(connection_id)

    assert connection_id == "conn-a1"
    assert others == [row for row in host.rows() if row[0] != "conn-a1"]
    assert world.sql("select connection_id from cgm_private.sync_state") == [("conn-a1",)]
    stored = host.series(ALICE)
    assert len(truth) == len(stored)
    assert set(made) <= {id_ for id_, _, _ in stored}


async def test_a_person_may_delete_a_row_of_the_host_and_keeps_the_readings(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    made = host.reads("conn-a1", ALICE, (await host.truth("User7"))[:5], timedelta(0))

    done = await disconnect(world.db, world.vendors, world.caller, "conn-a1")

    assert done.readings_kept == len(made)
    assert len(made) == len(host.series(ALICE))
    assert world.sql("select count(*) from cgm_connections where id = 'conn-a1'") == [(0,)]


async def _candidates(world: World) -> AsyncIterator[str]:
    for row in world.sql("select id from cgm_connections where provider = 'dexcom' order by id"):
        yield row[0]


async def world_connects(world: World) -> str:
    """Alice signs in through us; her row's id."""
    await world.connect("User7")
    return str(world.sql("select connection_id from cgm_private.sync_state where person_id = %s", ALICE)[0][0])
