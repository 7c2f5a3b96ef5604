"""Each deed writes one event, in its own transaction: who, about whom, what, from which request; never a secret."""

import asyncio
import secrets
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sync_world import World, refusal

from evercgm.actions import adopt, pause
from evercgm.actions.confirm import confirm
from evercgm.actions.disconnect import disconnect
from evercgm.core.errors import NotYours
from evercgm.storage import identity, persons

REQUEST = "request-0001"
EVENTS = "select actor, person_id, action, request_id, detail from cgm_private.audit_events order by id"
# Ids, counts and codes of ours.
DETAIL = {"connection_id", "provider", "region", "reason", "readings_kept", "form"}
PLANTED = "planted-plain-token-of-the-host-app"


@pytest.fixture
async def world(world: World) -> World:
    """The caller's calls carry a request id."""
    world.caller = replace(world.caller, request_id=REQUEST)
    return world


def events(world: World) -> list[Any]:
    return world.sql(EVENTS)


def connection_of(world: World) -> str:
    return str(world.sql("select id from public.cgm_connections where person_id = %s", world.person_id)[0][0])


async def connect(world: World) -> None:
    await world.sync(await world.connect())


async def ask_for_another_account(world: World) -> None:
    await connect(world)
    await world.consent("User6")


async def rest(world: World) -> None:
    await connect(world)
    await pause.pause(world.db, world.vendors, world.caller, connection_of(world))


def failing(status: int, body: bytes) -> "Step":
    """A connection whose next refresh gets this answer."""

    async def prepare(world: World) -> None:
        await connect(world)
        world.expire_access_token(connection_of(world))
        world.weather.answers["token"] = (status, body)

    return prepare


async def climb_the_ladder(world: World) -> None:
    """One refusal before the person is asked."""
    await failing(*refusal("invalid_grant"))(world)
    world.sql(
        "update cgm_private.sync_state set reason = 'sign_in_refused', failure_count = 4, next_sync_at = now()"
        " where person_id = %s",
        world.person_id,
    )


async def lose_the_token(world: World) -> None:
    await connect(world)
    world.sql("update public.cgm_connections set refresh_token = '', token_expires_at = now()")


async def be_the_hosts(world: World) -> None:
    world.sql(
        "insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at,"
        " metadata, updated_at) values (%s, %s, 'dexcom', %s, %s, now(), '{\"region\": \"us\"}', now())",
        str(uuid.uuid4()),
        world.person_id,
        PLANTED,
        PLANTED,
    )


async def confirm_the_other(world: World) -> None:
    ((attempt,),) = world.sql("select id from cgm_private.oauth_attempts where sealed_access <> ''")
    await confirm(world.db, world.vendors, world.caller, attempt)


async def sync(world: World) -> None:
    await world.sync(connection_of(world))


async def take_over(world: World) -> None:
    await adopt.adopt(
        world.db, world.vendors, adopt.check_terms(world.vendors, "dexcom", None, secrets.token_bytes(32))
    )


async def make_link(world: World) -> None:
    await identity.sign_in_link(world.db, world.caller.owner_id)


async def nothing(_world: World) -> None:
    """Nothing must have been before."""


Step = Callable[[World], Awaitable[object]]


@dataclass(frozen=True)
class Deed:
    """What is there before, what is done, and the one event of it: ``reason`` where it has one."""

    before: Step
    act: Step
    action: str
    actor: str = "owner"
    reason: str | None = None


DEEDS = {
    "connect": Deed(nothing, World.connect, "connected"),
    "connect a row of the host's": Deed(be_the_hosts, World.connect, "connected"),
    "reconnect": Deed(connect, World.consent, "reconnected"),
    "confirm": Deed(ask_for_another_account, confirm_the_other, "account_changed"),
    "pause": Deed(connect, lambda w: pause.pause(w.db, w.vendors, w.caller, connection_of(w)), "paused"),
    "resume": Deed(rest, lambda w: pause.resume(w.db, w.caller, connection_of(w)), "resumed"),
    "disconnect": Deed(connect, lambda w: disconnect(w.db, w.vendors, w.caller, connection_of(w)), "disconnected"),
    "refused": Deed(failing(*refusal("invalid_grant")), sync, "refresh_failed", "service", "sign_in_refused"),
    "client": Deed(failing(*refusal("invalid_client")), sync, "refresh_failed", "service", "operator_must_act"),
    "no answer": Deed(failing(503, b""), sync, "refresh_failed", "service", "vendor_unavailable"),
    "unreadable": Deed(failing(200, b"<html>"), sync, "refresh_failed", "service", "vendor_changed"),
    "ladder": Deed(climb_the_ladder, sync, "access_ended", "service", "reconnect_needed"),
    "no token": Deed(lose_the_token, sync, "access_ended", "service", "no_tokens"),
    "adopt": Deed(be_the_hosts, take_over, "adopted", "operator"),
    "link": Deed(nothing, make_link, "sign_in_link_made", "operator"),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_a_deed_writes_exactly_one_event(world: World, deed: Deed) -> None:
    await deed.before(world)
    before = events(world)

    await deed.act(world)

    ((actor, person_id, action, request_id, detail),) = events(world)[len(before) :]
    by_owner = deed.actor == "owner"
    assert action == deed.action
    assert actor == (f"owner:{world.caller.owner_id}" if by_owner else deed.actor)
    assert person_id == world.person_id
    assert request_id == (REQUEST if by_owner else None)
    assert detail.get("reason") == deed.reason
    if deed.action not in ("sign_in_link_made", "disconnected"):
        assert detail["connection_id"] == connection_of(world)


async def test_adding_a_person_is_an_event_of_theirs(world: World, database: Any) -> None:
    person = await persons.add_person(database.owner_dsn, world.caller.owner_id, "Kim of Elm Street")

    assert events(world) == [("operator", person.id, "person_added", None, {})]


async def test_a_link_for_an_owner_of_several_persons_can_be_read_by_each_and_one_for_nobody_by_the_operator(
    world: World, database: Any
) -> None:
    second = await persons.add_person(database.owner_dsn, world.caller.owner_id, "Sam")
    stranger = str(uuid.uuid4())

    await make_link(world)
    await identity.sign_in_link(world.db, stranger)

    made = [event for event in events(world) if event[2] == "sign_in_link_made"]
    assert {(event[1], str(event[4])) for event in made} == {
        (world.person_id, "{}"),
        (second.id, "{}"),
        (None, str({"owner_id": stranger})),
    }


async def test_a_sync_that_goes_on_failing_writes_no_second_event_but_a_new_failure_does(world: World) -> None:
    await failing(*refusal("invalid_grant"))(world)

    for _ in range(3):
        await sync(world)
        # The next rung is due.
        world.sql("update cgm_private.sync_state set next_sync_at = now()")
    first = [event[2] for event in events(world)]
    del world.weather.answers["token"]
    await sync(world)
    world.expire_access_token(connection_of(world))
    world.weather.answers["token"] = refusal("invalid_grant")
    await sync(world)

    assert first == ["connected", "refresh_failed"]
    assert [event[2] for event in events(world)] == [*first, "refresh_failed"]


async def test_a_failure_that_has_nothing_to_do_with_the_access_is_no_event(world: World) -> None:
    await connect(world)
    world.weather.answers["egvs"] = (503, b"")

    await sync(world)

    assert world.status(connection_of(world)) == ("connected", "vendor_unavailable")
    assert [event[2] for event in events(world)] == ["connected"]


async def test_a_failure_of_a_sync_that_a_reconnect_has_overtaken_is_no_event(world: World) -> None:
    await failing(*refusal("invalid_client"))(world)

    async def reconnected(path: str) -> None:
        if path == "token" and world.weather.pause is not None:
            world.weather.pause = None
            refused = world.weather.answers.pop("token")
            await world.consent()
            world.weather.answers["token"] = refused

    world.weather.pause = reconnected
    result = await world.sync(connection_of(world))

    assert result is not None
    assert result.reason == "operator_must_act"
    assert world.status(connection_of(world))[1] is None
    assert [event[2] for event in events(world)] == ["connected", "reconnected"]


async def test_what_changes_nothing_is_no_event(world: World) -> None:
    await rest(world)
    connection_id, before = connection_of(world), events(world)
    stranger = replace(world.caller, owner_id=str(uuid.uuid4()), claims={"sub": str(uuid.uuid4())})

    await pause.pause(world.db, world.vendors, world.caller, connection_id)
    for act in (pause.pause, disconnect):
        with pytest.raises(NotYours):
            await act(world.db, world.vendors, stranger, connection_id)
    with pytest.raises(NotYours):
        await pause.resume(world.db, stranger, connection_id)
    world.weather.answers["token"] = refusal("invalid_grant")
    assert (await world.consent()).outcome == "error"
    assert (await world.consent(decision="deny")).outcome == "denied"

    assert events(world) == before


@pytest.mark.parametrize("what", ["pause", "disconnect"])
async def test_of_many_at_once_one_does_it_and_one_event_tells(world: World, what: str) -> None:
    await connect(world)

    await asyncio.gather(*(DEEDS[what].act(world) for _ in range(6)), return_exceptions=True)

    assert [event[2] for event in events(world)] in (["connected", "paused"], ["connected", "disconnected"])


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_what_cannot_be_written_down_is_not_done(world: World, deed: Deed) -> None:
    await deed.before(world)
    world.sql("revoke insert on cgm_private.audit_events from cgm_worker")
    query = "select (select count(*) from cgm_private.sign_in_links), c.access_token, c.status::text, s.reason"
    query += " from (select 1) one left join public.cgm_connections c on true"
    query += " left join cgm_private.sync_state s on s.connection_id = c.id"
    before = world.sql(query)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await deed.act(world)

    after = world.sql(query)
    if deed.action == "disconnected":
        # Tokens go first, in a transaction of their own; the connection is still there for another try.
        assert [row[2] for row in after] == ["disconnected"]
    else:
        assert after == before


async def test_no_event_holds_a_secret_a_vendor_account_a_name_or_an_address(
    world: World, database: Any, tmp_path: Path
) -> None:
    await persons.add_person(database.owner_dsn, world.caller.owner_id, "Kim of Elm Street")
    for deed in DEEDS.values():
        await deed.before(world)
        await deed.act(world)
        world.weather.answers.clear()
        told = ((row[0],) for row in world.sql("select vendor_account_id from cgm_private.sync_state"))
        accounts = {account for (account,) in told if account}
        sealed = set(world.sql("select access_token, refresh_token from public.cgm_connections"))
        world.sql("delete from public.cgm_connections")
        secret = given_by_the_vendor(tmp_path / "cloud") | accounts | {text for pair in sealed for text in pair if text}
        assert_none_in_the_table(world, secret)
    assert_none_in_the_table(world, {PLANTED, "Kim of Elm Street", "client-secret", "User7", "cgm.test", "cloud.test"})
    assert {name for event in events(world) for name in event[4]} <= DETAIL
    assert len(events(world)) > len(DEEDS)


def given_by_the_vendor(folder: Path) -> set[str]:
    """Every code and token that the simulated vendor ever gave."""
    with closing(sqlite3.connect(folder / "dexcom-simulator.sqlite3")) as cloud:
        return {row[0] for row in cloud.execute("select code from codes union select token from tokens")}


def assert_none_in_the_table(world: World, marks: set[str]) -> None:
    whole = "\n".join(row[0] for row in world.sql("select e::text from cgm_private.audit_events e"))
    assert marks
    assert [mark for mark in marks if mark in whole] == []
