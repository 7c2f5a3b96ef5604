"""Out from under a leaked key: sealed anew, renewed at the vendor, and what stays exposed is told."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from adoption_world import ALICE, HOST_KEY, HostApp, host_sealed, load_production
from sync_world import CLIENT, World, open_world

from evercgm.actions import adopt, rekey_leaked
from evercgm.actions.rekey_leaked import Aside, Exposed, Rekeyed
from evercgm.core.caller import Caller
from evercgm.settings import read_settings, require_host_key
from evercgm.storage import connections, erase
from evercgm.storage.schema.migrate import migrate
from evercgm.worker.schedule import enqueue_due

ALICE_OWNER = "a0000000-0000-4000-8000-00000000000a"
LEAKED = {
    "EVERCGM_HOST_ENCRYPTION_KEY": HOST_KEY.hex(),
    "EVERCGM_DENIED_KEYS": hashlib.sha256(HOST_KEY).hexdigest(),
}


@pytest.fixture
async def world(
    make_empty_database: Callable[[], Any], template_of: Callable[[bool], str], shared_dir: Path, tmp_path: Path
) -> AsyncIterator[World]:
    template_of(True)  # makes the service's login role
    fresh = load_production(make_empty_database, shared_dir / "database" / "production.sql")
    await migrate(fresh.admin_dsn)
    async with open_world(fresh.admin_dsn, fresh.service_dsn, tmp_path / "cloud") as opened:
        opened.person_id = ALICE
        opened.caller = Caller("unused", opened.caller.claims)
        yield opened


@pytest.fixture
def host(world: World) -> HostApp:
    return HostApp(world)


async def rekeyed(world: World) -> tuple[Rekeyed, Exposed]:
    """As the command does it; the key is denied everywhere else."""
    host_key = require_host_key(read_settings(LEAKED, leaked_host_key=True))
    terms = adopt.check_terms(world.vendors, "dexcom", "us", host_key, leaked=True)
    done = await rekey_leaked.rekey(world.db, world.vendors, terms)
    still = await adopt.look(world.db, world.vendors, terms)
    return done, await rekey_leaked.exposed(world.db, still, terms)


async def refreshes_at_the_vendor(world: World, refresh_token: str) -> int:
    """The status with which the vendor answers somebody who has our client secret and this refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    secret = {"client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret}
    answer = await world.http.post("http://cloud.test/dexcom/v3/oauth2/token", data={**form, **secret})
    return answer.status_code


async def test_a_leaked_pair_is_sealed_anew_and_the_first_sync_ends_the_exposed_refresh_token(
    world: World, host: HostApp
) -> None:
    _, exposed_refresh = await host.connects("conn-a1", "User7")

    done, exposed = await rekeyed(world)
    loaded = await connections.load_for_sync(world.db, "conn-a1")
    before = world.weather.calls.copy()
    result = await world.sync("conn-a1")

    assert done.outcome.adopted == 2  # Bob's plain tokens too
    assert exposed.waiting == {"connected": 2}
    assert loaded is not None
    assert loaded.tokens.refresh.reveal() == exposed_refresh
    assert result is not None
    assert result.outcome == "succeeded"
    assert world.weather.calls[len(before)] == "token"
    assert world.token_calls("refresh_token") == 1
    assert await refreshes_at_the_vendor(world, exposed_refresh) == 400
    assert world.status("conn-a1") == ("connected", None)


async def test_a_token_that_a_thief_has_used_first_ends_with_the_person_and_calls_no_operator(
    world: World, host: HostApp
) -> None:
    _, exposed_refresh = await host.connects("conn-a1", "User7")
    world.sql("""update cgm_connections set metadata = '{"region": "us"}' where id = 'conn-a1'""")
    await rekeyed(world)
    assert await refreshes_at_the_vendor(world, exposed_refresh) == 200

    reached = []
    for _ in range(5):
        world.sql("update cgm_private.sync_state set next_sync_at = now() - interval '1 minute'")
        await world.sync("conn-a1")
        reached.append(world.status("conn-a1"))
    _, exposed = await rekeyed(world)

    assert reached == [("error", "sign_in_refused")] * 4 + [("expired", "reconnect_needed")]
    assert exposed.waiting["refused"] == 1


async def test_an_erased_person_is_taken_over_by_no_command(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    world.sql(
        "insert into cgm_private.erased_persons (person_id) select person_id from cgm_connections where id = 'conn-a1'"
    )
    stored = host.rows()

    done, _ = await rekeyed(world)

    assert done.outcome.left["erased"] >= 1
    assert world.sql("select count(*) from cgm_private.sync_state where connection_id = 'conn-a1'") == [(0,)]
    assert [row for row in host.rows() if row[0] == "conn-a1"] == [row for row in stored if row[0] == "conn-a1"]


async def test_nothing_in_the_database_opens_with_the_leaked_key_afterwards(world: World, host: HostApp) -> None:
    for connection_id, name in (("conn-a1", "User7"), ("conn-b1", "User6")):
        await host.connects(connection_id, name)
    set_aside(world, "aside-1", host_sealed("marked-access-token"), host_sealed("marked-refresh-token"))
    refused = world.sql("select id, access_token, refresh_token from cgm_connections where provider <> 'dexcom'")

    done, exposed = await rekeyed(world)

    assert done.resealed == 1
    texts = [text for row in host.rows() for text in (row[1]["access_token"], row[1]["refresh_token"])]
    texts += [text for row in aside(world) for text in (row["access_token"], row["refresh_token"])]
    left = {text for row in refused for text in row[1:]}
    assert all(text in left or text == "" or text.startswith(("v1.", "enc:")) for text in texts)
    assert exposed.aside == Aside(all=1, ready=0, unreadable=0)


async def test_a_connection_set_aside_is_sealed_for_the_row_that_it_will_be_again(world: World) -> None:
    set_aside(world, "aside-1", host_sealed("marked-access-token"), "marked-refresh-in-plain")
    set_aside(world, "aside-2", host_sealed("another-access-token"), "enc:placeholder")
    set_aside(world, "aside-3", "", "")
    before = aside(world)

    done, exposed = await rekeyed(world)

    assert done.resealed == 2
    assert exposed.aside == Aside(all=3, ready=0, unreadable=1)
    first, second, third = aside(world)
    vault = world.db.vault
    assert vault.open(first["access_token"], connections.access_place("aside-1")).reveal() == "marked-access-token"
    assert (
        vault.open(first["refresh_token"], connections.refresh_place("aside-1")).reveal() == "marked-refresh-in-plain"
    )
    assert second["refresh_token"] == "enc:placeholder"
    assert third == before[2]
    assert [row | {"access_token": "", "refresh_token": ""} for row in before] == [
        row | {"access_token": "", "refresh_token": ""} for row in aside(world)
    ]


async def test_a_second_run_changes_no_seal_and_says_who_still_waits(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    world.sql("update cgm_connections set status = 'disconnected' where id = 'conn-b1'")
    set_aside(world, "aside-1", host_sealed("marked-access-token"), "")
    await rekeyed(world)
    sealed, put_aside = seals(host), aside(world)
    done, first = await rekeyed(world)
    sealed_then = seals(host)
    await world.sync("conn-a1")
    _, second = await rekeyed(world)

    assert (done.outcome.adopted, done.resealed) == (0, 0)
    assert sealed == sealed_then
    assert put_aside == aside(world)
    assert first.waiting == {"connected": 1, "disconnected": 1}
    assert second.waiting == {"disconnected": 1}


async def test_what_was_adopted_before_the_leak_was_known_is_renewed_too(world: World, host: HostApp) -> None:
    _, exposed_refresh = await host.connects("conn-a1", "User7")
    await host.adopted("us")
    await world.sync("conn-a1")  # with the access token of the host app, which lives for two hours
    world.sql("update cgm_private.sync_state set next_sync_at = now() + interval '1 hour'")
    refreshed_before = world.token_calls("refresh_token")

    _, waiting = await rekeyed(world)
    due = await enqueue_due(world.db)
    await world.sync("conn-a1")
    _, after = await rekeyed(world)

    assert refreshed_before == 0
    assert waiting.waiting == {"connected": 2}
    assert due == 2
    assert after.waiting == {"connected": 1}
    assert await refreshes_at_the_vendor(world, exposed_refresh) == 400


async def test_a_persons_own_sign_in_is_none_of_the_leaked_ones(world: World, host: HostApp) -> None:
    world.caller = Caller(ALICE_OWNER, {**world.caller.claims, "sub": ALICE_OWNER})
    await host.connects("conn-a1", "User7")
    await world.consent("User7")
    before = [row for row in host.rows() if row[0] == "conn-a1"]

    _, exposed = await rekeyed(world)

    assert before == [row for row in host.rows() if row[0] == "conn-a1"]
    assert exposed.waiting == {"connected": 1}  # Bob's


async def test_each_connection_leaves_a_record_without_any_token(world: World, host: HostApp) -> None:
    access, refresh = await host.connects("conn-a1", "User7")
    set_aside(world, "aside-1", host_sealed("marked-access-token"), "")

    await rekeyed(world)

    events = world.sql(
        """select actor, person_id, detail ->> 'connection_id' from cgm_private.audit_events
           where action = 'rekeyed' order by 3"""
    )
    assert [row for row in events if row[1] == ALICE] == [
        ("operator", ALICE, "aside-1"),
        ("operator", ALICE, "conn-a1"),
    ]
    text = json.dumps([row[0] for row in world.sql("select to_jsonb(e)::text from cgm_private.audit_events e")])
    assert not any(secret in text for secret in (access, refresh, "marked"))


async def test_what_cannot_be_taken_over_is_untouched_and_told(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7", region="eu")
    host.keeps_tokens("conn-b1", "plain-access-token", host_sealed("sealed-refresh-token", bytes(range(32))))
    before = host.rows()

    done, exposed = await rekeyed(world)

    assert before == host.rows()
    assert dict(done.outcome.left) == {"region_not_offered": 1, "unreadable": 2}
    assert set(exposed.host) == {"abbott", "dexcom", "libre", "medtronic"}
    assert exposed.waiting == {}


def seals(host: HostApp) -> list[tuple[str, str]]:
    return [(row[1]["access_token"], row[1]["refresh_token"]) for row in host.rows()]


def set_aside(world: World, connection_id: str, access: str, refresh: str) -> None:
    row = {"id": connection_id, "person_id": ALICE, "provider": "eversense", "metadata": {"hostOnly": 1}}
    world.sql(
        """insert into cgm_private.quarantined_connections (id, person_id, connection, reason)
           values (%s, %s, %s::jsonb, 'unknown_provider')""",
        connection_id,
        ALICE,
        json.dumps({**row, "access_token": access, "refresh_token": refresh}),
    )


def aside(world: World) -> list[dict[str, Any]]:
    return [row[0] for row in world.sql("select connection from cgm_private.quarantined_connections order by id")]


async def test_an_erasure_and_a_take_over_at_once_end_without_the_connection(world: World, host: HostApp) -> None:
    await host.connects("conn-a1", "User7")
    person_id = world.sql("select person_id from cgm_connections where id = 'conn-a1'")[0][0]
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

    async with world.db.as_worker() as conn:
        await erase.erase(conn, person_id, erase.everything(False))
        taking_over = asyncio.create_task(rekeyed(world))
        while world.sql(waiting) == [(0,)] and not taking_over.done():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        await erase.note_erased(conn, person_id, None)
    done, _ = await taking_over

    assert done.outcome.left["erased"] >= 1
    assert world.sql("select count(*) from cgm_private.sync_state where connection_id = 'conn-a1'") == [(0,)]
