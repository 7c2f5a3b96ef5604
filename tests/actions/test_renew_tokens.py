"""After a leak of database and key every pair is renewed at the vendor, and the one before is worth nothing."""

from sync_world import CLIENT, World

from evercgm.actions.renew_tokens import renew_all
from evercgm.storage import connections
from evercgm.worker.schedule import enqueue_due


async def answer_to_a_thief(world: World, refresh_token: str) -> int:
    """The status for somebody who has our client secret and this refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    secret = {"client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret}
    answer = await world.http.post("http://cloud.test/dexcom/v3/oauth2/token", data={**form, **secret})
    return answer.status_code


async def test_a_token_that_others_may_know_ends_with_the_next_sync(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    known = await connections.load_for_sync(world.db, connection_id)
    assert known is not None

    kinds = await renew_all(world.db)
    await enqueue_due(world.db)
    jobs = world.sql("select convert_from(payload, 'UTF8') from cgm_jobs.pgqueuer")
    result = await world.sync(connection_id)

    assert kinds == {"connected": 1}
    assert any(connection_id in payload for (payload,) in jobs)
    assert result is not None
    assert result.outcome in ("succeeded", "nothing_new")
    assert await answer_to_a_thief(world, known.tokens.refresh.reveal()) == 400
    assert world.sql("select action, detail from cgm_private.audit_events where person_id is null") == [
        ("renewal_asked", {"connections": 1})
    ]


async def test_one_that_waits_goes_on_waiting_and_one_at_rest_is_renewed_when_it_wakes(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    state = "select next_sync_at from cgm_private.sync_state"
    world.sql("update cgm_private.sync_state set reason = 'sign_in_refused', next_sync_at = now() + interval '4 h'")
    waiting = world.sql(state)

    await renew_all(world.db)
    still_waiting = world.sql(state)
    world.sql("update public.cgm_connections set status = 'disconnected'")
    kinds = await renew_all(world.db)

    assert waiting == still_waiting
    assert kinds == {"disconnected": 1}
    assert world.sql("select token_expires_at <= now() at time zone 'UTC' from public.cgm_connections") == [(True,)]
