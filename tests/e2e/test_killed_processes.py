"""A process that is killed between the vendor's answer and our commit: nothing is half stored, no reading is lost."""

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from refresh_racer import add_person, serve_cloud, vendors_at
from sync_world import CALLBACK, CLIENT, walk_consent

from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection
from evercgm.core.caller import Caller
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers.dexcom.simulator.app import create_app
from evercgm.storage import connections
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

VICTIM = Path(__file__).with_name("refresh_victim.py")
PAIR = "select access_token, refresh_token from public.cgm_connections"
READINGS = "select count(*) from public.glucose_readings"
STATUS = """select c.status::text, s.reason, s.generation from public.cgm_connections c
            join cgm_private.sync_state s on s.connection_id = c.id"""
# Whoever stores a pair locks the connection's row first.
STUCK = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@dataclass
class Scene:
    """A database, the simulated cloud on a socket, and a person who is connected there."""

    admin_dsn: str
    settings: dict[str, str]
    db: Database
    vendors: Vendors
    cloud: Any
    caller: Caller
    person_id: str
    connection_id: str = ""

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    async def consent(self) -> str:
        return (await walk_consent(self.db, self.vendors, self.caller, self.person_id, "User7")).outcome

    async def sync(self) -> Result:
        result = await sync_connection(self.db, self.vendors, self.connection_id, trigger="command")
        assert result is not None
        return result

    def token_calls(self, grant: str) -> int:
        return int(self.cloud.state.cloud.state.counts("token_calls").get(grant, 0))

    async def kill_between_answer_and_commit(self, order: dict[str, str], grant: str) -> None:
        """Starts a process, lets the vendor answer it, and kills it while it waits to store what it got."""
        asked = self.token_calls(grant)
        with psycopg.connect(self.admin_dsn) as blocker:
            blocker.execute(b"select from public.cgm_connections for update")
            victim = start_victim(self.settings | order)
            async with asyncio.timeout(60):
                while self.sql(STUCK) == [(0,)]:
                    assert victim.poll() is None, "it ended before it stored anything"
                    await asyncio.sleep(0.05)
            assert self.token_calls(grant) == asked + 1
            victim.send_signal(signal.SIGKILL)
            assert await asyncio.to_thread(victim.wait, 30) == -signal.SIGKILL
        async with asyncio.timeout(60):
            # The server notices that nobody is there any more once the lock is free.
            while self.sql(STUCK) != [(0,)]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def start_victim(order: dict[str, str]) -> subprocess.Popen[str]:
    victim = subprocess.Popen([sys.executable, str(VICTIM)], stdin=subprocess.PIPE, text=True)
    assert victim.stdin is not None
    victim.stdin.write(json.dumps(order) + "\n")
    victim.stdin.close()
    return victim


@asynccontextmanager
async def open_scene(database: Any, folder: Path) -> AsyncIterator[Scene]:
    cloud = create_app(folder / "cloud", clients=[CLIENT])
    key = secrets.token_bytes(32)
    try:
        async with serve_cloud(cloud) as url:
            settings = {
                "dsn": database.service_dsn, "key": key.hex(), "vendor_url": url, "redirect_uri": CALLBACK,
                "client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret,
            }  # fmt: skip
            async with (
                open_database(database.service_dsn, Vault(key)) as db,
                httpx2.AsyncClient(trust_env=False) as http,
            ):
                caller, person_id = add_person(database.admin_dsn)
                vendors = vendors_at(settings, http)
                yield Scene(database.admin_dsn, settings, db, vendors, cloud, caller, person_id)
    finally:
        cloud.state.cloud.state.close()


@pytest.fixture
async def scene(database: Any, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(database, tmp_path) as opened:
        assert await opened.consent() == "connected"
        opened.connection_id = opened.sql("select id from public.cgm_connections")[0][0]
        await opened.sync()
        yield opened


async def test_a_worker_killed_between_the_answer_and_the_commit_costs_a_reconnect_and_no_reading(scene: Scene) -> None:
    pair, readings = scene.sql(PAIR), scene.sql(READINGS)
    scene.sql("update public.cgm_connections set token_expires_at = now()")

    await scene.kill_between_answer_and_commit({"do": "refresh", "connection_id": scene.connection_id}, "refresh_token")

    # What was stored is what was stored before: the pair of before, whole, and the dead one's lease.
    assert (scene.sql(PAIR), scene.sql(STATUS)) == (pair, [("connected", None, 0)])
    assert scene.sql("select refresh_until > now() from cgm_private.sync_state") == [(True,)]
    # Once the lease is over, the token of before is tried once more, and only then the ladder begins.
    scene.sql("update cgm_private.sync_state set refresh_until = now()")
    assert (await scene.sync()).reason == "sign_in_refused"
    assert scene.token_calls("refresh_token") == 2
    assert scene.sql(STATUS) == [("error", "sign_in_refused", 0)]
    assert (scene.sql(PAIR), scene.sql(READINGS)) == (pair, readings)

    assert await scene.consent() == "connected"
    assert (await scene.sync()).reason is None
    http = scene.vendors.client("dexcom", "us")
    held = (await http.get(f"{scene.settings['vendor_url']}/control/accounts/User7/truth")).json()
    ((stored,),) = scene.sql(READINGS)
    assert len(held) - 1 <= stored <= len(held)
    assert scene.sql("select count(*) from public.cgm_connections") == [(1,)]


async def test_while_the_dead_ones_lease_lasts_nobody_shows_the_token_again(scene: Scene) -> None:
    scene.sql("update public.cgm_connections set token_expires_at = now()")
    await scene.kill_between_answer_and_commit({"do": "refresh", "connection_id": scene.connection_id}, "refresh_token")

    loaded = await connections.load_for_sync(scene.db, scene.connection_id)
    assert loaded is not None
    assert await connections.take_refresh_lease(scene.db, loaded) is False
    scene.sql("update cgm_private.sync_state set refresh_until = now()")
    assert await connections.take_refresh_lease(scene.db, loaded) is True


async def test_a_process_killed_in_the_callback_leaves_the_old_connection_syncing(scene: Scene) -> None:
    pair = scene.sql(PAIR)

    await scene.kill_between_answer_and_commit(
        {"do": "connect", "owner_id": scene.caller.owner_id, "person_id": scene.person_id}, "authorization_code"
    )

    assert (scene.sql(PAIR), scene.sql(STATUS)) == (pair, [("connected", None, 0)])
    assert scene.sql("select count(*) from cgm_private.oauth_attempts") == [(0,)]
    scene.sql("update public.cgm_connections set token_expires_at = now()")
    assert (await scene.sync()).reason is None
    assert scene.sql(STATUS) == [("connected", None, 1)]
