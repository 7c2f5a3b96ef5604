"""What the statements refuse when two processes, two sign-ins or an old sync meet: on a real PostgreSQL."""

import secrets
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from evercgm.core.ladder import Scan
from evercgm.core.tokens import Secret, Tokens
from evercgm.core.verdict import Verdict
from evercgm.storage import attempts, connections, jobs, runs
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

LATER = datetime(2100, 1, 1, tzinfo=UTC)
DENIED = Verdict("error", "vendor_denied", LATER, 3)
STATE = (
    "select c.status::text as status, s.reason, s.failure_count, s.generation"
    " from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id where c.id = %s"
)


class Store:
    """A database as the service sees it, and as its superuser does."""

    def __init__(self, db: Database, admin_dsn: str):
        self.db = db
        self._admin_dsn = admin_dsn

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._admin_dsn, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def person(self, owner_id: str = "") -> str:
        person_id = str(uuid.uuid4())
        owner_id = owner_id or str(uuid.uuid4())
        self.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, owner_id)
        return person_id

    async def consent(self, person_id: str, word: str = "first", region: str = "us", account: str = "a") -> Loaded:
        """A fresh consent with the tokens ``word``; the connection as a sync would load it."""
        async with self.db.as_worker() as conn:
            connection_id = await connections.store_connected(
                conn,
                self.db.vault,
                person_id=person_id,
                provider="dexcom",
                region=region,
                account_id=account,
                tokens=pair(word),
            )
        return await self.load(connection_id)

    async def load(self, connection_id: str) -> Loaded:
        loaded = await connections.load_for_sync(self.db, connection_id)
        assert loaded is not None
        return loaded

    async def connection(self, status: str, due: str | None, queued: bool = False) -> str:
        """A connection of a new person; ``due``: an interval from now."""
        loaded = await self.consent(self.person())
        self.sql(
            'update public.cgm_connections set status = %s::"CGMConnectionStatus" where id = %s', status, loaded.id
        )
        self.sql(
            "update cgm_private.sync_state set next_sync_at = now() + %s::interval where connection_id = %s",
            due,
            loaded.id,
        )
        if queued:
            async with self.db.as_worker() as conn:
                await runs.open_or_make(conn, loaded.id, loaded.person_id, "person")
        return loaded.id


def pair(word: str) -> Tokens:
    return Tokens(Secret(f"{word}-access"), Secret(f"{word}-refresh"), LATER, 7200)


@pytest.fixture
async def store(database: Any) -> AsyncIterator[Store]:
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=2) as db:
        yield Store(db, database.admin_dsn)


async def test_a_refresh_that_comes_back_after_a_reconnect_stores_nothing(store: Store) -> None:
    person_id = store.person()
    old = await store.consent(person_id)
    await store.consent(person_id, "second")

    stored = await connections.save_refreshed(store.db, old, pair("late"), old.tokens.refresh)

    now = await store.load(old.id)
    assert not stored
    assert (now.tokens, now.generation, now.previous_kept) == (pair("second"), 1, False)


async def test_of_two_refreshes_of_one_pair_the_first_is_stored(store: Store) -> None:
    loaded = await store.consent(store.person())

    done = [
        await connections.save_refreshed(store.db, loaded, pair(word), loaded.tokens.refresh)
        for word in ("second", "third")
    ]

    assert done == [True, False]
    assert (await store.load(loaded.id)).tokens == pair("second")


async def test_a_lease_is_for_one_and_ends_by_time_where_its_holder_died(store: Store) -> None:
    loaded = await store.consent(store.person())

    assert await connections.take_refresh_lease(store.db, loaded)
    assert not await connections.take_refresh_lease(store.db, loaded)
    store.sql("update cgm_private.sync_state set refresh_until = now() - interval '1 s'")
    assert await connections.take_refresh_lease(store.db, loaded)


async def test_who_holds_older_tokens_neither_takes_nor_drops_the_lease(store: Store) -> None:
    person_id = store.person()
    old = await store.consent(person_id)
    new = await store.consent(person_id, "second")

    assert not await connections.take_refresh_lease(store.db, old)
    assert await connections.take_refresh_lease(store.db, new)
    await connections.drop_refresh_lease(store.db, old)
    assert not await connections.take_refresh_lease(store.db, new)


async def test_a_saved_pair_frees_the_lease(store: Store) -> None:
    loaded = await store.consent(store.person())
    await connections.take_refresh_lease(store.db, loaded)

    await connections.save_refreshed(store.db, loaded, pair("second"), loaded.tokens.refresh)

    assert await connections.take_refresh_lease(store.db, await store.load(loaded.id))


async def test_who_holds_older_tokens_does_not_make_the_previous_one_be_forgotten(store: Store) -> None:
    old = await store.consent(store.person())
    await connections.save_refreshed(store.db, old, pair("second"), old.tokens.refresh)

    await connections.forget_previous_token(store.db, old)

    now = await store.load(old.id)
    assert await connections.previous_refresh_token(store.db, old) is None
    assert await connections.previous_refresh_token(store.db, now) == old.tokens.refresh


async def test_a_new_pair_is_stored_though_the_database_was_away_for_a_moment(store: Store) -> None:
    loaded = await store.consent(store.person())
    store.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    assert await connections.save_refreshed(store.db, loaded, pair("second"), loaded.tokens.refresh)

    assert (await store.load(loaded.id)).tokens == pair("second")


async def test_a_success_with_older_tokens_does_not_clear_a_newer_failure(store: Store) -> None:
    person_id = store.person()
    old = await store.consent(person_id)
    new = await store.consent(person_id, "second")
    async with store.db.as_worker() as conn:
        await connections.note_failure(conn, new, DENIED)

        await connections.note_success(conn, old, datetime(2000, 1, 1, tzinfo=UTC), 0)

    assert store.sql(STATE, old.id) == [("error", "vendor_denied", 3, 1)]
    assert (await store.load(old.id)).next_sync_at == LATER


async def test_a_failure_with_older_tokens_says_nothing_of_the_new_ones(store: Store) -> None:
    person_id = store.person()
    old = await store.consent(person_id)
    await store.consent(person_id, "second")

    async with store.db.as_worker() as conn:
        await connections.note_failure(conn, old, Verdict("expired", "reconnect_needed", None, 5))

    assert store.sql(STATE, old.id) == [("connected", None, 0, 1)]
    assert (await store.load(old.id)).next_sync_at is not None


@pytest.mark.parametrize(
    ("region", "account", "kept"), [("us", "a", True), ("eu", "a", False), ("us", "b", False)], ids=str
)
async def test_a_reconnect_goes_on_where_it_was_only_in_the_same_region_with_the_same_account(
    store: Store, region: str, account: str, kept: bool
) -> None:
    person_id = store.person()
    loaded = await store.consent(person_id)
    async with store.db.as_worker() as conn:
        await connections.note_progress(
            conn,
            loaded.id,
            loaded.connected_at,
            high_water=LATER,
            history_start=LATER,
            history_done=True,
            scans={"daily": Scan(LATER)},
        )

    again = await store.consent(person_id, "second", region, account)

    assert again.id == loaded.id
    assert (again.region, again.account_id) == (region, account)
    assert (again.high_water, again.history_start, again.history_done, again.scans) == (
        (LATER, LATER, True, {"daily": Scan(LATER)}) if kept else (None, None, False, {})
    )


async def test_what_is_due_works_or_has_trouble_and_its_time_has_come_or_somebody_asked(store: Store) -> None:
    asked = await store.connection("error", "1 hour", queued=True)
    late = await store.connection("connected", "-1 minute")
    latest = await store.connection("error", "-1 hour")
    await store.connection("connected", "1 minute")
    await store.connection("connected", None)
    for at_rest in ("expired", "disconnected"):
        await store.connection(at_rest, "-2 hours")
        await store.connection(at_rest, None, queued=True)

    async with store.db.as_worker() as conn:
        assert await connections.due(conn, 10) == ([asked], [latest, late])
        assert await connections.due(conn, 1) == ([asked], [latest])


async def test_a_run_that_is_open_is_given_back_and_refuses_nobody_who_asks_meanwhile(store: Store) -> None:
    connection_id = await store.connection("connected", "1 hour", queued=True)
    store.sql("update cgm_private.sync_runs set trigger = 'person'")

    async with store.db.as_worker() as conn:
        assert await runs.seconds_since_asked(conn, connection_id) is None
    store.sql("update cgm_private.sync_runs set state = 'done', outcome = 'succeeded'")
    async with store.db.as_worker() as conn:
        assert await runs.seconds_since_asked(conn, connection_id) is not None


async def test_a_run_that_has_ended_makes_nothing_due(store: Store) -> None:
    await store.connection("connected", "1 hour", queued=True)
    store.sql("update cgm_private.sync_runs set state = 'done', outcome = 'succeeded'")

    async with store.db.as_worker() as conn:
        assert await connections.due(conn, 10) == ([], [])


async def test_a_connection_has_one_job_in_the_queue_however_often_it_is_put_there(store: Store) -> None:
    for _ in range(3):
        async with store.db.as_worker() as conn:
            await jobs.enqueue_syncs(conn, ["one", "two"])

    payloads = store.sql("select convert_from(payload, 'UTF8') from cgm_jobs.pgqueuer order by 1")
    assert payloads == [('{"connection_id":"one"}',), ('{"connection_id":"two"}',)]


@pytest.mark.parametrize(
    ("before", "least", "most"),
    [("-1 hour", "9 minutes", "11 minutes"), ("2 hours", "119 minutes", "121 minutes"), (None, None, None)],
)
async def test_after_a_bug_a_connection_waits_ten_minutes_or_as_long_as_it_had_to(
    store: Store, before: str | None, least: str | None, most: str | None
) -> None:
    connection_id = await store.connection("connected", before)

    async with store.db.as_worker() as conn:
        await connections.put_off(conn, connection_id)

    within = "next_sync_at between now() + %s::interval and now() + %s::interval"
    query = f"select coalesce({within}, next_sync_at is null) from cgm_private.sync_state where connection_id = %s"
    assert store.sql(query, least, most, connection_id) == [(True,)]


async def opened(store: Store) -> tuple[str, str]:
    """A hand-over that somebody looks at: its token and the attempt's id."""
    async with store.db.as_worker() as conn:
        token, _expires_at = await attempts.open_attempt(
            conn,
            person_id=store.person("owner"),
            owner_id="owner",
            route="dexcom",
            region="us",
            return_to="http://cgm.test/",
        )
        found = await attempts.look(conn, token)
    assert found is not None
    return token, found["id"]


async def bound(store: Store) -> attempts.Bound:
    """An attempt that one browser has gone to the vendor with."""
    token, attempt_id = await opened(store)
    async with store.db.as_worker() as conn:
        found = await attempts.use_handover(conn, store.db.vault, token, attempt_id)
    assert found is not None
    return found


async def test_of_two_browsers_that_look_at_one_hand_over_the_first_click_counts(store: Store) -> None:
    token, attempt_id = await opened(store)

    async with store.db.as_worker() as conn:
        first = await attempts.use_handover(conn, store.db.vault, token, attempt_id)
        second = await attempts.use_handover(conn, store.db.vault, token, attempt_id)
        assert first is not None
        came_back = await attempts.consume(conn, store.db.vault, first.state, first.binding)

    assert second is None
    assert came_back is not None


async def test_a_hand_over_is_too_old_after_ten_minutes(store: Store) -> None:
    token, attempt_id = await opened(store)
    store.sql("update cgm_private.oauth_attempts set expires_at = now()")

    async with store.db.as_worker() as conn:
        assert await attempts.look(conn, token) is None
        assert await attempts.use_handover(conn, store.db.vault, token, attempt_id) is None


async def test_what_is_too_old_is_gone_with_the_next_sign_in_though_no_worker_runs(store: Store) -> None:
    await opened(store)
    store.sql("update cgm_private.oauth_attempts set expires_at = now()")

    await opened(store)

    assert store.sql("select count(*) from cgm_private.oauth_attempts") == [(1,)]


@pytest.mark.parametrize("spoilt", ["another browser's", "none", "too late"])
async def test_a_state_is_worth_nothing_without_its_own_browser_and_burnt_by_the_try(store: Store, spoilt: str) -> None:
    own, other = await bound(store), await bound(store)
    binding: str | None = {"another browser's": other.binding, "none": None}.get(spoilt, own.binding)
    if spoilt == "too late":
        store.sql("update cgm_private.oauth_attempts set expires_at = now()")

    async with store.db.as_worker() as conn:
        assert await attempts.consume(conn, store.db.vault, own.state, binding) is None
        assert await attempts.consume(conn, store.db.vault, own.state, own.binding) is None


async def test_a_state_in_its_own_browser_opens_its_own_verifier(store: Store) -> None:
    own, _other = await bound(store), await bound(store)

    async with store.db.as_worker() as conn:
        attempt = await attempts.consume(conn, store.db.vault, own.state, own.binding)

    assert attempt is not None
    assert attempt.verifier == own.verifier
