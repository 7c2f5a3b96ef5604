"""Runs are told for 90 days, records that could not be read for 30; what is older goes by itself."""

from sync_world import World

from evercgm.worker.schedule import enqueue_due

RUNS = "select id from cgm_private.sync_runs where id in ('old', 'young') order by id"
REJECTED = "select record_key from cgm_private.rejected_records order by record_key"


async def test_the_end_of_any_run_forgets_those_of_its_connection_that_are_older_than_90_days(world: World) -> None:
    connection_id = await world.connect()
    for name, days in (("old", 91), ("young", 89)):
        world.sql(
            "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, outcome, requested_at)"
            " select %s, id, person_id, 'schedule', 'done', 'failed', now() - make_interval(days => %s)"
            " from public.cgm_connections",
            name, days,
        )  # fmt: skip
    world.weather.answers["egvs"] = (503, b"")

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "failed"
    assert world.sql(RUNS) == [("young",)]


async def test_what_could_not_be_read_is_kept_for_30_days(world: World) -> None:
    connection_id = await world.connect()
    for name, days in (("old", 31), ("young", 29)):
        world.sql(
            "insert into cgm_private.rejected_records"
            " (connection_id, person_id, stream, record_key, reason, received_at)"
            " values (%s, %s, 'stream', %s, 'bad_time', now() - make_interval(days => %s))",
            connection_id, world.person_id, name, days,
        )  # fmt: skip

    await enqueue_due(world.db)

    assert world.sql(REJECTED) == [("young",)]
