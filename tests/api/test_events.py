"""The live stream: what happens appears within seconds, for its owner alone, until the sign-in ends."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog
import uvicorn
from api_world import BASE, Owner, Run, add_connection, add_odd_reading, add_person, add_readings, make_owner

from evercgm.api.app import create_app
from evercgm.api.events_routes import HEARTBEAT_S, frames
from evercgm.runtime import Runtime
from evercgm.storage import changes
from evercgm.storage.changes import LOOK_EVERY_S, Hub, Listener, place_of
from evercgm.storage.identity import end_session, issue_jwt, sign_in_link, use_link
from evercgm.storage.views import ReadingView, make_cursor

ADDRESS = f"{BASE}/events"
NOW = datetime.now(UTC).replace(microsecond=0)
# Nothing here is judged by time: a busy machine is no failure.
PATIENCE_S = 30.0


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(runtime: Runtime, hub: Hub | None = None) -> AsyncIterator[tuple[httpx2.AsyncClient, uvicorn.Server]]:
    app = create_app(runtime)
    app.state.events = hub or app.state.events
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=60)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
        yield client, server
        app.state.events.close()
    server.should_exit = True
    await running


class Events:
    """The events of an open stream, one by one."""

    def __init__(self, answer: httpx2.Response):
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self, kind: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The next event of a kind; others are passed over."""
        async with asyncio.timeout(within_s):
            while True:
                event = await self._event()
                if event.get("event") == kind:
                    return dict(json.loads(event["data"]))

    async def _event(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                break
            name, _, value = line.partition(": ")
            found[name] = value
        else:
            raise EOFError
        self.last_id = found.get("id", self.last_id)
        return found

    async def rest(self, within_s: float = PATIENCE_S) -> None:
        """Read on until the stream ends."""
        async with asyncio.timeout(within_s):
            async for _ in self._lines:
                pass


@asynccontextmanager
async def listening(client: httpx2.AsyncClient, headers: dict[str, str], **query: str) -> AsyncIterator[Events]:
    async with client.stream("GET", ADDRESS, params=query, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield Events(answer)


@pytest.fixture
async def served(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(runtime) as (client, _):
        yield client


async def test_a_reading_that_arrives_appears_within_three_seconds(runtime: Runtime, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [NOW - timedelta(minutes=n) for n in (20, 10)])
    hub = Hub(runtime.db)
    async with serving(runtime, hub) as (served, _):
        async with listening(served, ada.bearer) as events:
            first = await events.next("reading")
            await add_readings(admin, ada.person_id, connection_id, [NOW - timedelta(minutes=5), NOW])
            before = hub.looks
            arrived = [await events.next("reading"), await events.next("reading")]
            # By the number of looks: a machine may be too busy for seconds of its own.
            assert (hub.looks - before) * LOOK_EVERY_S <= 3
        told = (await served.get(f"{BASE}/readings", headers=ada.bearer)).json()["readings"]

    assert [{"person_id": ada.person_id, **item} for item in told[:3]] == [arrived[1], arrived[0], first]


async def test_connections_and_syncs_are_told_at_first_and_when_they_change(
    served: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    run_id = str(uuid4())
    async with listening(served, ada.bearer) as events:
        assert await events.next("connection") == {
            "id": connection_id,
            "person_id": ada.person_id,
            "provider": "dexcom",
            "status": "connected",
            "reason": None,
            "last_sync_at": None,
            "next_sync_at": None,
        }
        await admin(
            "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, started_at)"
            " values (%s, %s, %s, 'person', 'running', now())",
            (run_id, connection_id, ada.person_id),
        )
        assert (await events.next("sync"))["state"] == "running"
        await admin("update cgm_private.sync_runs set fetched = 12, inserted = 7")
        assert (await events.next("sync"))["inserted"] == 7
        await admin("update cgm_private.sync_runs set state = 'done', outcome = 'succeeded', finished_at = now()")
        done = await events.next("sync")
        assert done == (await served.get(f"{BASE}/syncs/{run_id}", headers=ada.bearer)).json()
        await admin("update public.cgm_connections set status = 'expired'")
        assert (await events.next("connection"))["status"] == "expired"
        await admin("delete from public.cgm_connections")
        assert (await events.next("connection"))["status"] == "removed"


async def test_who_comes_back_is_told_what_was_missed_and_nothing_twice(
    served: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_readings(admin, ada.person_id, None, [NOW - timedelta(minutes=20)])
    async with listening(served, ada.bearer) as events:
        await events.next("reading")
    missed = [NOW - timedelta(minutes=n) for n in (15, 10, 5)]
    await add_readings(admin, ada.person_id, None, missed)

    async with listening(served, {**ada.bearer, "Last-Event-ID": events.last_id}) as events:
        told = [datetime.fromisoformat((await events.next("reading"))["measured_at"]) for _ in missed]

    assert told == missed


async def test_an_odd_or_old_place_begins_with_the_newest_reading(
    served: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_readings(admin, ada.person_id, None, [NOW - timedelta(minutes=10), NOW])
    for place in ("junk", "bnVsbA", _place(NOW - timedelta(days=30)), _place(NOW + timedelta(days=9999))):
        async with listening(served, {**ada.bearer, "Last-Event-ID": place}) as events:
            assert datetime.fromisoformat((await events.next("reading"))["measured_at"]) == NOW
    assert place_of(_place(NOW - timedelta(hours=1))) == (NOW - timedelta(hours=1), "r")


def _place(measured_at: datetime) -> str:
    return make_cursor(ReadingView("r", measured_at, 1.0, "cgm", None, None, None, None, None, None))


async def test_a_strangers_person_is_an_unknown_person(
    served: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    for person_id in (ada.person_id, str(uuid4())):
        answer = await served.get(ADDRESS, params={"person_id": person_id}, headers=bob.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await served.get(ADDRESS)).status_code == 401
    await add_person(admin, bob.owner_id, str(uuid4()), "Second")
    unnamed = await served.get(ADDRESS, headers=bob.bearer)
    assert (unnamed.status_code, unnamed.json()["errors"][0]["field"]) == (422, "person_id")


async def test_a_stream_tells_of_its_own_person_only(
    served: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    async with listening(served, bob.bearer) as of_bob, listening(served, ada.bearer) as of_ada:
        await add_connection(admin, ada.person_id)
        await add_readings(admin, ada.person_id, None, [NOW])
        await of_ada.next("reading")
        await add_readings(admin, bob.person_id, None, [NOW - timedelta(hours=1)])
        assert (await of_bob.next("reading"))["person_id"] == bob.person_id
        with pytest.raises(TimeoutError):
            await of_bob.next("connection", within_s=1.5)


@pytest.mark.parametrize("odd", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
async def test_a_row_with_an_impossible_time_is_no_reading_and_stops_nobodys_stream(
    served: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run, odd: str
) -> None:
    connection_id = await add_connection(admin, bob.person_id)
    await admin("update public.cgm_connections set last_sync_at = %s::timestamp", (odd,))
    async with listening(served, ada.bearer) as of_ada, listening(served, bob.bearer) as of_bob:
        assert (await of_bob.next("connection"))["last_sync_at"] is None
        await add_odd_reading(admin, bob.person_id, connection_id, odd)
        for owner, events in ((ada, of_ada), (bob, of_bob)):
            await add_readings(admin, owner.person_id, None, [NOW])
            assert datetime.fromisoformat((await events.next("reading"))["measured_at"]) == NOW

    # At the start of a stream, too, it is not the newest one.
    async with listening(served, bob.bearer) as events:
        assert datetime.fromisoformat((await events.next("reading"))["measured_at"]) == NOW


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-Infinity", "-1", "1e300"])
async def test_a_row_with_an_impossible_value_is_never_told(
    served: httpx2.AsyncClient, ada: Owner, admin: Run, odd: str
) -> None:
    await add_readings(admin, ada.person_id, None, [NOW - timedelta(minutes=5)])
    await add_odd_reading(admin, ada.person_id, None, NOW - timedelta(minutes=4), odd)
    async with listening(served, ada.bearer) as events:
        told = [await events.next("reading")]
        await add_odd_reading(admin, ada.person_id, None, NOW - timedelta(minutes=1), odd)
        await add_readings(admin, ada.person_id, None, [NOW])
        told.append(await events.next("reading"))

    times = [datetime.fromisoformat(item["measured_at"]) for item in told]
    assert times == [NOW - timedelta(minutes=5), NOW]


async def test_whose_rows_cannot_be_read_loses_the_stream_alone(
    served: httpx2.AsyncClient, runtime: Runtime, ada: Owner, bob: Owner, admin: Run
) -> None:
    cyd = await make_owner(runtime, admin, "Cyd")
    connection_id = await add_connection(admin, bob.person_id)
    with structlog.testing.capture_logs() as lines:
        async with (
            listening(served, ada.bearer) as of_ada,
            listening(served, bob.bearer) as of_bob,
            listening(served, cyd.bearer) as of_cyd,
        ):
            await of_bob.next("connection")
            await admin(
                "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, window_from)"
                " values ('r', %s, %s, 'person', 'running', 'infinity')",
                (connection_id, bob.person_id),
            )
            await of_bob.rest()
            for owner, events in ((ada, of_ada), (cyd, of_cyd)):
                await add_readings(admin, owner.person_id, None, [NOW])
                assert (await events.next("reading"))["person_id"] == owner.person_id

    told = [line for line in lines if line["log_level"] == "warning"]
    assert told == [{"event": "look_at_person_failed", "error": "DataError", "log_level": "warning"}]


async def test_a_person_that_goes_to_another_owner_is_told_no_more(
    served: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    async with listening(served, ada.bearer) as events:
        await admin('update public."Person" set "ownerId" = %s where id = %s', (bob.owner_id, ada.person_id))
        await events.rest()


async def test_a_strangers_listener_ends_and_is_told_nothing(
    runtime: Runtime, ada: Owner, bob: Owner, admin: Run
) -> None:
    await everything_of(admin, ada.person_id)
    hub = Hub(runtime.db, every_s=0.05)
    stranger, owner = (Listener(item.owner_id, ada.person_id, None, None) for item in (bob, ada))
    hub.join(stranger)
    hub.join(owner)

    assert await asyncio.wait_for(stranger.waiting.get(), PATIENCE_S) is None
    await until(lambda: owner.waiting.qsize() == 3)
    assert stranger.waiting.empty()
    hub.close()


@pytest.mark.parametrize("query", ["owned", "readings", "connections", "sync_runs"])
async def test_each_query_of_a_look_names_the_owner_itself(
    runtime: Runtime, ada: Owner, bob: Owner, admin: Run, query: str
) -> None:
    await everything_of(admin, ada.person_id)
    for owner, rows in ((ada, 1), (bob, 0)):
        named = {"persons": [ada.person_id], "owners": [owner.owner_id], "times": [None], "ids": [None], "most": 9}
        async with runtime.db.as_worker() as conn:
            found = await (await conn.execute(changes.QUERIES[query], named)).fetchall()
        assert len(found) == rows


async def everything_of(admin: Run, person_id: str) -> None:
    """A reading, a connection and a sync: one of each kind that is told."""
    connection_id = await add_connection(admin, person_id)
    await add_readings(admin, person_id, connection_id, [NOW])
    await admin(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state)"
        " values (%s, %s, %s, 'person', 'running')",
        (str(uuid4()), connection_id, person_id),
    )


async def test_a_stream_ends_with_its_token(served: httpx2.AsyncClient, runtime: Runtime, ada: Owner) -> None:
    begun = time.monotonic()
    token = issue_jwt(runtime.keys, ada.owner_id, timedelta(seconds=2))
    async with listening(served, {"Authorization": f"Bearer {token}"}) as events:
        await events.rest()

    # Not only at the next sign of life.
    assert time.monotonic() - begun < HEARTBEAT_S


async def test_a_stream_ends_with_its_session(
    served: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run
) -> None:
    session = await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id))
    async with listening(served, {"Cookie": f"evercgm_session={session}"}) as events:
        await add_readings(admin, ada.person_id, None, [NOW])
        await events.next("reading")
        await end_session(runtime.db, session)
        await events.rest()


async def test_streams_are_bounded_for_an_owner_and_in_all(
    runtime: Runtime, ada: Owner, bob: Owner, admin: Run
) -> None:
    hub = Hub(runtime.db, most=2, most_of_owner=1)
    async with serving(runtime, hub) as (client, _):
        async with listening(client, ada.bearer):
            second = await client.get(ADDRESS, headers=ada.bearer)
            assert (second.status_code, second.json()["code"]) == (429, "too_many_streams")
            async with listening(client, bob.bearer):
                third = await client.get(ADDRESS, headers=ada.bearer)
                assert (third.status_code, third.json()["code"]) == (503, "streams_full")
                assert "retry-after" in third.headers
        # A place is free again once its stream was left.
        await until(lambda: not hub.is_full_for(ada.owner_id))
        async with listening(client, ada.bearer) as events:
            await add_readings(admin, ada.person_id, None, [NOW])
            await events.next("reading")


async def test_many_listeners_cost_one_look_a_second(runtime: Runtime, ada: Owner, bob: Owner, admin: Run) -> None:
    hub = Hub(runtime.db, most_of_owner=50)
    listeners = [Listener(owner.owner_id, owner.person_id, None, None) for owner in (ada, bob) for _ in range(40)]
    begun = time.monotonic()
    for listener in listeners:
        hub.join(listener)
    await asyncio.sleep(0.5)
    await add_readings(admin, ada.person_id, None, [NOW])
    await until(lambda: all(item.waiting.qsize() for item in listeners[:40]))
    await asyncio.sleep(1.5)

    assert hub.looks <= 1 + (time.monotonic() - begun)
    assert [item.waiting.qsize() for item in listeners] == [1] * 40 + [0] * 40
    for listener in listeners:
        hub.leave(listener)
    task = hub._task
    assert task is not None
    await until(task.done)
    looks = hub.looks
    await asyncio.sleep(1.5)
    assert hub.looks == looks


async def test_a_listener_that_fetches_nothing_is_let_go(
    runtime: Runtime, ada: Owner, admin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_WAITING", 1)
    hub = Hub(runtime.db, most_of_owner=1, every_s=0.05)
    listener = Listener(ada.owner_id, ada.person_id, None, None)
    await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, None, [NOW])
    hub.join(listener)
    await until(lambda: not hub.is_full_for(ada.owner_id))

    told = [listener.waiting.get_nowait() for _ in range(listener.waiting.qsize())]
    assert [change and change.kind for change in told] == ["reading", "connection", None]


async def test_a_look_that_fails_is_made_again(
    runtime: Runtime, ada: Owner, admin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = changes.take_look, iter([OSError(), TimeoutError()])

    async def flaky(*given: Any) -> Any:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return await real(*given)

    monkeypatch.setattr(changes, "take_look", flaky)
    await add_readings(admin, ada.person_id, None, [NOW])
    hub, listener = Hub(runtime.db, every_s=0.05), Listener(ada.owner_id, ada.person_id, None, None)
    hub.join(listener)
    assert (await asyncio.wait_for(listener.waiting.get(), PATIENCE_S)) is not None
    hub.close()


@pytest.mark.parametrize("failure", [OSError(), ValueError()], ids=["for long", "of ours"])
async def test_where_looks_fail_no_stream_hangs(
    runtime: Runtime, ada: Owner, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def broken(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr(changes, "take_look", broken)
    hub, listener = Hub(runtime.db, every_s=0.01), Listener(ada.owner_id, ada.person_id, None, None)
    hub.join(listener)
    task = hub._task
    assert (await asyncio.wait_for(listener.waiting.get(), PATIENCE_S)) is None
    assert task is not None
    await asyncio.wait([task])
    assert isinstance(task.exception(), ValueError) is isinstance(failure, ValueError)


async def test_a_quiet_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evercgm.api.events_routes.HEARTBEAT_S", 0.01)
    stream = frames(Listener("owner", "person", None, None), None)
    assert [await anext(stream), await anext(stream)] == [b"retry: 2000\n\n", b": still here\n\n"]


@contextmanager
def deaf_to(number: signal.Signals) -> Iterator[None]:
    """uvicorn raises the signal once more when it has ended."""
    before = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(number, before)


async def test_sigterm_ends_the_streams_at_once(runtime: Runtime, ada: Owner) -> None:
    with deaf_to(signal.SIGTERM):
        async with serving(runtime) as (client, server), listening(client, ada.bearer) as events:
            begun = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)
            await events.rest()
            assert server.should_exit
        # Long before the server would cut what is still open.
        assert time.monotonic() - begun < 30
        assert signal.getsignal(signal.SIGTERM).__name__ == "<lambda>"  # type: ignore[union-attr]
