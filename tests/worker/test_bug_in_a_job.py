"""A bug in a job: the connection rests for a while, keeps what it had, and no word of the bug is stored."""

from typing import Any

from sync_world import World
from worker_world import runtime_of, until, working

from evercgm.provider_kit.contract import Survey
from evercgm.storage import connections

PUT_OFF = "select next_sync_at > now() + interval '9 minutes' from cgm_private.sync_state"
LOG = "select status::text, traceback::text from cgm_jobs.pgqueuer_log where status in ('exception', 'successful')"


async def broken(*_: Any) -> Survey:
    raise RuntimeError("marked-words")


async def work_until_it_fails(world: World, dsn: str) -> None:
    async with working(await runtime_of(world, survey=broken), dsn):
        await until(lambda: world.sql(LOG), "a job has ended")


async def test_a_bug_puts_its_connection_off_and_its_words_are_stored_nowhere(world: World, database: Any) -> None:
    await world.connect()
    pair = world.sql("select access_token, refresh_token from public.cgm_connections")

    await work_until_it_fails(world, database.service_dsn)

    ((status, told),) = world.sql(LOG)
    assert (status, "JobFailed" in told, "marked" in told) == ("exception", True, False)
    assert world.sql(PUT_OFF) == [(True,)]
    assert world.sql("select status::text, error_message from public.cgm_connections") == [("connected", None)]
    assert world.sql("select access_token, refresh_token from public.cgm_connections") == pair


async def test_a_bug_while_a_token_is_kept_alive_puts_that_off_too(world: World, database: Any) -> None:
    await world.connect()
    world.sql("delete from cgm_private.sync_runs")
    # A history that no version has written: the connection cannot even be loaded.
    world.sql(
        "update cgm_private.sync_state set history_start = 'infinity', next_sync_at = null, keep_alive_at = now()"
    )

    await work_until_it_fails(world, database.service_dsn)

    asked = "select keep_alive_at > now() + interval '9 minutes', next_sync_at from cgm_private.sync_state"
    assert world.sql(asked) == [(True, None)]


async def test_a_bug_before_a_run_has_begun_ends_the_run_so_that_it_is_not_due_at_every_turn(
    world: World, database: Any
) -> None:
    await world.connect()
    world.sql("update cgm_private.sync_state set history_start = 'infinity'")
    world.sql(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state)"
        " select 'asked', id, person_id, 'person', 'queued' from public.cgm_connections on conflict do nothing"
    )
    assert world.sql("select count(*) from cgm_private.sync_runs where state = 'queued'") == [(1,)]

    await work_until_it_fails(world, database.service_dsn)

    ended = world.sql("select state, outcome, reason from cgm_private.sync_runs")
    assert ended == [("done", "failed", "internal_error")]
    async with world.db.as_worker() as conn:
        assert await connections.due(conn, 10) == ([], [])
