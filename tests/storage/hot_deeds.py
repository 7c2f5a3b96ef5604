"""What the service does all day, by its own functions: under its own roles, with claims and values of one person."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from bench.crowd import id_of
from hot_scene import A_DAY, CONNECTION_ID, OWNER_ID, PERSON_ID, SECOND_ID, Scene
from msgspec import structs
from pgqueuer.core.qm import QueueManager

from evercgm.actions import connect
from evercgm.actions.confirm import confirm
from evercgm.actions.disconnect import disconnect
from evercgm.actions.keep_alive import keep_alive
from evercgm.actions.pause import pause, resume
from evercgm.actions.request_sync import request_sync
from evercgm.core import audit as deeds
from evercgm.core.connection import CADENCE
from evercgm.core.errors import CallsHeldBack, NotYours
from evercgm.core.limits import CallLimits
from evercgm.core.reading import Batch, Reading, Rejected
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.core.verdict import Verdict
from evercgm.storage import (
    attempts,
    audit,
    budgets,
    changes,
    checkup,
    connections,
    gauges,
    identity,
    jobs,
    readings,
    routes,
    runs,
    views,
)
from evercgm.storage.budgets import Budgets
from evercgm.storage.changes import Listener
from evercgm.storage.gaps import Facts, evidence
from evercgm.storage.readiness import check
from evercgm.storage.readings import Owner
from evercgm.storage.views import Span
from evercgm.worker.schedule import enqueue_due

PLACE = ("dexcom", "us")
PLENTY = CallLimits(an_hour=60_000, for_people=0.1)
END_ALL_RUNS = """
update cgm_private.sync_runs
   set state = 'done', outcome = coalesce(outcome, 'cancelled'), requested_at = requested_at - interval '1 hour',
       started_at = started_at - interval '1 hour'
 where connection_id = %s
"""


async def pages_of_readings(scene: Scene) -> None:
    """A day, page by page, and a person who has none."""
    now = datetime.now(UTC)
    span = Span(now - A_DAY, now + A_DAY)
    first = await views.readings(scene.db, scene.caller, PERSON_ID, span, limit=100, cursor=None)
    await views.readings(scene.db, scene.caller, PERSON_ID, span, limit=100, cursor=first.next_cursor)
    await views.readings(scene.db, scene.caller, SECOND_ID, Span(now + A_DAY, None), limit=100, cursor=None)


async def lists(scene: Scene) -> None:
    await views.persons(scene.db, scene.caller)
    await views.connections(scene.db, scene.caller, None)
    await views.connections(scene.db, scene.caller, PERSON_ID)
    await views.connection(scene.db, scene.caller, CONNECTION_ID)


async def histories(scene: Scene) -> None:
    await views.sync_runs(scene.db, scene.caller, None, limit=50)
    found = await views.sync_runs(scene.db, scene.caller, CONNECTION_ID, limit=2)
    await views.sync_run(scene.db, scene.caller, found[0].id)
    first = await views.audit_events(scene.db, scene.caller, PERSON_ID, limit=2, cursor=None)
    await views.audit_events(scene.db, scene.caller, PERSON_ID, limit=2, cursor=first.next_cursor)


async def holes(scene: Scene) -> None:
    now = datetime.now(UTC)
    facts = Facts(timedelta(hours=1), CADENCE, None)
    await evidence(scene.db, scene.caller, PERSON_ID, now - A_DAY, now, lambda *_: facts)


async def live(scene: Scene) -> None:
    """Three streams: one that begins, one that has been told something, one that rests on a session."""
    place = (datetime.now(UTC) - timedelta(hours=2), "")
    token = id_of("token", 1)
    listeners = [
        Listener(OWNER_ID, PERSON_ID, None, None),
        Listener(OWNER_ID, PERSON_ID, None, place),
        Listener(OWNER_ID, SECOND_ID, changes.session_mark(token), None),
    ]
    await changes.look_for_all(scene.db, listeners)


async def sign_in(scene: Scene) -> None:
    keys = await identity.load_keys(scene.db, "http://cgm.test/auth/v1")
    assert keys.public
    token = await identity.sign_in_link(scene.db, OWNER_ID)
    await identity.peek_link(scene.db, token)
    session = await identity.use_link(scene.db, token)
    await identity.session_owner(scene.db, session)
    await scene.change(
        "update cgm_private.sessions set last_seen_at = now() - interval '2 h' where owner_id = %s", OWNER_ID
    )
    await identity.session_owner(scene.db, session)
    await identity.end_session(scene.db, session)


async def _consent(scene: Scene, *, other_account: bool = False) -> connect.Finished:
    vendors = scene.another_account() if other_account else scene.vendors
    handover = await connect.begin(
        scene.db, vendors, scene.caller, person_id=SECOND_ID, route="dexcom", region="us", return_to="http://cgm.test/"
    )
    await connect.preview(scene.db, vendors, handover.token)
    consent = await connect.go(scene.db, vendors, handover.token)
    state = parse_qs(urlsplit(consent.url).query)["state"][0]
    return await connect.finish(
        scene.db, vendors, state=state, code="code", error=None, binding=consent.binding, session_owner=None
    )


async def consents(scene: Scene) -> None:
    """Another person of the owner signs in again, then with another account, ends it, and connects anew."""
    assert (await _consent(scene)).outcome == "connected"
    other = await _consent(scene, other_account=True)
    assert other.attempt is not None, other
    connection_id = await confirm(scene.db, scene.vendors, scene.caller, other.attempt)
    await disconnect(scene.db, scene.vendors, scene.caller, connection_id)
    assert (await _consent(scene)).outcome == "connected"


async def a_rest(scene: Scene) -> None:
    await pause(scene.db, scene.vendors, scene.caller, CONNECTION_ID)
    await scene.change(
        "update cgm_private.sync_state set keep_alive_at = now() where connection_id = %s", CONNECTION_ID
    )
    await keep_alive(scene.db, scene.vendors, CONNECTION_ID)
    await resume(scene.db, scene.caller, CONNECTION_ID)


async def asked_for(scene: Scene) -> None:
    """A person asks for a sync, twice: the second time it waits already."""
    await scene.change(END_ALL_RUNS, CONNECTION_ID)
    await scene.change("delete from cgm_jobs.pgqueuer where dedupe_key = %s", f"sync:{CONNECTION_ID}")
    for _ in range(2):
        await request_sync(scene.db, scene.caller, connection_id=CONNECTION_ID, person_id=None, start=None, end=None)
    await scene.change(END_ALL_RUNS, CONNECTION_ID)


async def foreign_things(scene: Scene) -> None:
    """Somebody asks for what is not theirs, and an owner takes their readings along."""
    foreign = {"connection": id_of("connection", 210), "sync": id_of("run", "210/1"),
               "attempt": id_of("attempt", 210), "person": id_of("person", 210)}  # fmt: skip
    for kind, id_ in foreign.items():
        await audit.record_refusal(scene.db, scene.caller, NotYours(kind, id_))
    await audit.record_export(scene.db, scene.caller, PERSON_ID, form="csv")


async def _save(
    scene: Scene,
    found: Sequence[Reading],
    *aside: Rejected,
    trigger: runs.Trigger = "schedule",
    owner: Owner | None = None,
) -> None:
    """A sync of one window, as actions/sync.py goes about it."""
    async with scene.db.as_worker() as conn:
        loaded = await connections.load(conn, scene.db.vault, CONNECTION_ID)
        assert loaded is not None
        run, _ = await runs.open_or_make(conn, CONNECTION_ID, PERSON_ID, trigger)
        started = await runs.start(conn, run, None)
        assert started is not None
    window = Window(found[-1].measured_at - timedelta(hours=24), found[-1].measured_at + timedelta(minutes=5))
    async with scene.db.as_worker() as conn:
        assert await connections.lock(conn, CONNECTION_ID)
        saved = await readings.save(conn, owner or scene.owner, Batch(tuple(found), aside, "account"), window)
        await connections.note_progress(conn, CONNECTION_ID, loaded.connected_at, high_water=saved.newest)
        assert await runs.count(conn, started, saved)
    async with scene.db.as_worker() as conn:
        await connections.note_success(conn, loaded, datetime.now(UTC) + timedelta(minutes=5), 0)
        await runs.finish(conn, started, "succeeded" if saved.inserted or saved.updated else "nothing_new")


async def sync_of_nothing_new(scene: Scene) -> None:
    await _save(scene, await scene.last_day())


async def sync_of_a_new_one(scene: Scene) -> None:
    await _save(scene, [*(await scene.last_day())[1:], *scene.fresh_readings(1)])


async def sync_of_a_day(scene: Scene) -> None:
    await _save(scene, scene.fresh_readings(288))


async def sync_of_a_set_clock(scene: Scene) -> None:
    """A device's clock as before, then six hours ahead: what is stored comes again six hours earlier."""
    owner = replace(scene.owner, by_device_clock=True)
    known = await scene.last_day()
    await _save(scene, known, owner=owner)
    six = timedelta(hours=6)
    moved = [
        structs.replace(one, record_key=f"moved-{n}", measured_at=one.measured_at - six, display_offset_min=60 + 360)
        for n, one in enumerate(known)
    ]
    await _save(scene, moved, owner=owner)


async def sync_of_a_correction(scene: Scene) -> None:
    """A vendor's later value, a reading that lost its connection, a record that nobody can read."""
    fresh = scene.fresh_readings(2)
    await _save(scene, fresh)
    await scene.change("update public.glucose_readings set cgm_connection_id = null where person_id = %s"
                       " and \"timestamp\" = %s", PERSON_ID, fresh[0].measured_at.replace(tzinfo=None))  # fmt: skip
    corrected = Reading(fresh[1].record_key, fresh[1].measured_at, 260, None, "flat", 0.1, 60)
    await _save(scene, [fresh[0], corrected], Rejected("odd-1", "bad_time", None), Rejected(str(uuid4()), "bad_time"))


async def sync_that_fails(scene: Scene) -> None:
    """First by the vendor, then in a way that the operator hears of, then by our own fault; then all is well again."""
    verdicts = [
        Verdict("error", reason, datetime.now(UTC) + timedelta(minutes=9), 1)
        for reason in ("vendor_unavailable", "operator_must_act")
    ]
    for verdict in verdicts:
        loaded = await scene.loaded()
        async with scene.db.as_worker() as conn:
            await connections.note_failure(conn, loaded, verdict)
            await audit.record(conn, deeds.SERVICE, "refresh_failed", PERSON_ID, connection_id=CONNECTION_ID)
            await checkup.is_first_in_alarm(
                conn, place=("dexcom", "us"), connection_id=CONNECTION_ID, reason=verdict.reason
            )
    async with scene.db.as_worker() as conn:
        await connections.note_seal_broken(conn, CONNECTION_ID, timedelta(hours=1))
        await connections.put_off(conn, CONNECTION_ID)
    await sync_of_nothing_new(scene)


async def a_refresh(scene: Scene) -> None:
    """Taken, stored, tried with the one before, forgotten; and once in vain."""
    tokens = Tokens(Secret("access"), Secret("refresh"), datetime.now(UTC) + timedelta(hours=2), 7200)
    loaded = await scene.loaded()
    assert await connections.take_refresh_lease(scene.db, loaded)
    assert await connections.save_refreshed(scene.db, loaded, tokens, Secret("refresh"))
    loaded = await scene.loaded()
    await connections.previous_refresh_token(scene.db, loaded)
    await connections.forget_previous_token(scene.db, loaded)
    await connections.drop_refresh_lease(scene.db, loaded)


async def another_way_in(scene: Scene) -> None:
    """A person adds it, it is read, its session renewed, and it is taken away."""
    tokens = Tokens(Secret("session"), Secret("kept"), datetime.now(UTC) + timedelta(hours=20))
    where = {"connection_id": CONNECTION_ID, "person_id": PERSON_ID, "route": "dexcom_share", "region": "us"}
    async with scene.db.as_worker() as conn:
        await routes.store(conn, scene.db.vault, account_id="account", tokens=tokens, **where)
        await connections.wake(conn, CONNECTION_ID)
        (side,) = await routes.of_connection(conn, scene.db.vault, CONNECTION_ID)
    assert await routes.save_session(scene.db, side, tokens)
    async with scene.db.as_worker() as conn:
        assert await routes.is_current(conn, side)
        await routes.note(conn, side, next_sync_at=datetime.now(UTC) + timedelta(minutes=5))
        assert await routes.living(conn, [CONNECTION_ID]) == {CONNECTION_ID}
        assert len(await routes.told(conn, [CONNECTION_ID])) == 1
        assert await routes.forget(conn, CONNECTION_ID, "dexcom_share")


async def what_is_pasted(scene: Scene) -> None:
    async with scene.db.as_worker() as conn:
        token, _ = await attempts.open_attempt(
            conn, person_id=PERSON_ID, owner_id=OWNER_ID, route="medtronic", region="us", return_to=""
        )
        opened = await attempts.look(conn, token)
        assert opened is not None
        bound = await attempts.use_handover(conn, scene.db.vault, token, opened["id"])
        assert bound is not None
        assert await attempts.consume_pasted(conn, scene.db.vault, bound.state, OWNER_ID) is not None
        await attempts.begin_now(conn, PERSON_ID, OWNER_ID, "medtronic", "us")
        assert await attempts.look_pasted(conn, scene.db.vault, Secret("pasted"), OWNER_ID) is None


async def calls(scene: Scene) -> None:
    """Calls are taken, some given back; a pause, its probe, its end; calls that are older than all that counts."""
    ledger = Budgets(scene.db)
    _, taken = await ledger.take(PLACE, PLENTY, "background", 4, None)
    assert taken is not None
    await ledger.take(PLACE, PLENTY, "person", 4, replace(taken, calls=1))
    assert await ledger.pause(PLACE, 60, 0.1)
    async with scene.db.as_worker() as conn:
        await budgets.pause_for(conn, PLACE, "app_version 4.17.0")
        try:
            await budgets.refuse_paused(conn, PLACE)
        except CallsHeldBack:
            pass
        else:
            raise AssertionError("a pause holds nobody back")
    await scene.change("update cgm_private.provider_pauses set until = now() - interval '1 second'")
    granted, _ = await ledger.take(PLACE, PLENTY, "person", 1, None)
    assert granted.probe_of is not None
    assert await ledger.resume(PLACE, granted.probe_of)


async def schedule(scene: Scene) -> None:
    assert await enqueue_due(scene.db) > 0


async def a_short_turn(scene: Scene) -> None:
    """What is due, but no more than a few: a turn takes 1,000 at most."""
    async with scene.db.as_worker() as conn:
        _asked, due = await connections.due(conn, 50)
    assert due


async def engine(scene: Scene) -> None:
    """The job engine's own statements, as the worker has it make them."""
    assert await jobs.are_waiting(scene.db)
    queue: QueueManager = jobs.engine(scene.engine).qm
    queue.entrypoint(jobs.SYNC)(_no_job)
    queue.entrypoint(jobs.ASKED)(_no_job)
    limits = {name: one.parameters for name, one in queue.entrypoint_registry.items()}
    taken = await queue.queries.dequeue(10, limits, queue.queue_manager_id, 20, timedelta(seconds=30))
    assert len(taken) == 10
    await queue.queries.update_heartbeat([job.id for job in taken])
    async with scene.db.as_worker() as conn:
        assert await jobs.is_held(conn, taken[0])
    await queue.queries.eligible_queued_work(jobs.KINDS)
    await queue.queries.next_deferred_eta(jobs.KINDS)
    await queue.queries.log_jobs([(job, "successful", None) for job in taken])
    await queue.queries.aggregate_logs()


async def _no_job(_job: object) -> None:
    raise AssertionError("nothing is carried out here")


async def looks(scene: Scene) -> None:
    """What somebody asks who watches the service."""
    assert await gauges.look(scene.db, [PLACE]) is not None
    assert set((await check(scene.db)).values()) == {"ok"}


Deed = Callable[[Scene], Awaitable[None]]
DEEDS: Mapping[str, Deed] = {
    deed.__name__: deed
    for deed in (
        pages_of_readings,
        lists,
        histories,
        holes,
        live,
        sign_in,
        consents,
        a_rest,
        sync_of_nothing_new,
        sync_of_a_new_one,
        sync_of_a_day,
        sync_of_a_set_clock,
        sync_of_a_correction,
        sync_that_fails,
        a_refresh,
        another_way_in,
        what_is_pasted,
        asked_for,
        foreign_things,
        calls,
        schedule,
        a_short_turn,
        engine,
        looks,
    )
}
