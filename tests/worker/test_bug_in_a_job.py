"""A bug in a job: the connection rests for a while, keeps what it had, and no word of the bug is stored."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sync_world import World, open_world

from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Survey
from evercgm.runtime import Runtime
from evercgm.settings import read_settings
from evercgm.storage import connections
from evercgm.storage.identity import issuer_of, load_keys
from evercgm.worker.run import Pace, work

PUBLIC_URL = "http://cgm.test"
PUT_OFF = "select next_sync_at > now() + interval '9 minutes' from cgm_private.sync_state"
LOG = "select status::text, traceback::text from cgm_jobs.pgqueuer_log where status in ('exception', 'successful')"


@pytest.fixture
async def world(database: Any, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database.admin_dsn, database.service_dsn, tmp_path / "cloud") as opened:
        yield opened


async def runtime_with_a_bug(world: World) -> Runtime:
    """As the service runs, but whoever asks Dexcom what it holds meets a bug of ours."""

    async def broken(*_: Any) -> Survey:
        raise RuntimeError("marked-words")

    provider = replace(world.vendors.providers["dexcom"], survey=broken)
    return Runtime(
        settings=read_settings({"EVERCGM_PUBLIC_URL": PUBLIC_URL, "ENCRYPTION_KEY": secrets.token_hex(32)}),
        db=world.db,
        vendors=replace(world.vendors, providers={"dexcom": provider}),
        keys=await load_keys(world.db, issuer_of(PUBLIC_URL)),
        key_server=world.http,
    )


async def work_until_it_fails(world: World, dsn: str) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(work(await runtime_with_a_bug(world), Secret(dsn), stop, Pace(concurrency=2)))
    async with asyncio.timeout(60):
        while not world.sql(LOG):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    stop.set()
    await working


async def test_a_bug_puts_its_connection_off_and_its_words_are_stored_nowhere(world: World, database: Any) -> None:
    await world.connect()
    pair = world.sql("select access_token, refresh_token from public.cgm_connections")

    await work_until_it_fails(world, database.service_dsn)

    ((status, told),) = world.sql(LOG)
    assert (status, "JobFailed" in told, "marked" in told) == ("exception", True, False)
    assert world.sql(PUT_OFF) == [(True,)]
    assert world.sql("select status::text, error_message from public.cgm_connections") == [("connected", None)]
    assert world.sql("select access_token, refresh_token from public.cgm_connections") == pair


async def test_a_bug_before_a_run_has_begun_ends_the_run_so_that_it_is_not_due_at_every_turn(
    world: World, database: Any
) -> None:
    connection_id = await world.connect()
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
        assert connection_id not in await connections.due(conn, 10)
