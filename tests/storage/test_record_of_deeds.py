"""The record of deeds: added to and read, by no role of the service changed; a refused read is told once an hour."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import errors
from structlog.testing import capture_logs

from evercgm.core.caller import Caller
from evercgm.core.errors import NotYours
from evercgm.storage import audit
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

CHANGES = {
    "update": "update cgm_private.audit_events set actor = 'x'",
    "delete": "delete from cgm_private.audit_events",
    "truncate": "truncate cgm_private.audit_events",
}
THINGS = """
insert into public."Person" (id, "ownerId") values ('p-bob', '{bob}'), ('p-second', '{bob}');
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
values ('c-bob', 'p-bob', 'dexcom', '', '', '9999-12-31');
insert into cgm_private.sync_runs (id, connection_id, person_id, trigger) values ('s-bob', 'c-bob', 'p-bob', 'person');
insert into cgm_private.oauth_attempts (id, person_id, owner_id, provider, region, expires_at)
values ('a-bob', 'p-bob', '{bob}', 'dexcom', 'us', now() + interval '10 minutes');
"""


@dataclass(frozen=True)
class Bobs:
    """Bob's person with one of each thing, and a stranger who asks."""

    db: Database
    dsn: str
    bob: Caller
    stranger: Caller

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def told(self) -> list[Any]:
        return self.rows(
            "select actor, person_id, action, request_id, detail from cgm_private.audit_events order by id"
        )


@pytest.fixture
async def bobs(database: Any) -> AsyncIterator[Bobs]:
    bob, stranger = (Caller(str(uuid.uuid4()), {}, f"request-{name}") for name in ("of-bob", "of-stranger"))
    with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
        conn.execute(THINGS.format(bob=bob.owner_id).encode())
    async with open_database(database.service_dsn, Vault(bytes(range(32))), largest=8) as db:
        yield Bobs(db, database.admin_dsn, bob, stranger)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ["cgm_worker", "cgm_request"])
def test_no_role_of_the_service_changes_what_was_written(database: Any, role: str, change: str) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("insert into cgm_private.audit_events (actor, action) values ('service', 'connected')")

    with psycopg.connect(database.service_dsn) as conn:
        conn.execute("select set_config('role', %s, true)", [role])
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute(CHANGES[change].encode())

    with psycopg.connect(database.admin_dsn) as admin:
        assert admin.execute("select actor from cgm_private.audit_events").fetchall() == [("service",)]


def test_who_asks_for_a_person_adds_nothing(database: Any) -> None:
    with psycopg.connect(database.service_dsn) as conn:
        claims = json.dumps({"sub": str(uuid.uuid4()), "role": "authenticated"})
        conn.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        conn.execute("select set_config('role', 'cgm_request', true)")
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute("insert into cgm_private.audit_events (actor, action) values ('operator', 'connected')")


@pytest.mark.parametrize(
    ("kind", "id_"), [("person", "p-bob"), ("connection", "c-bob"), ("sync", "s-bob"), ("attempt", "a-bob")]
)
async def test_a_refused_read_is_told_to_whose_thing_it_was(bobs: Bobs, kind: str, id_: str) -> None:
    await audit.record_refusal(bobs.db, bobs.stranger, NotYours(kind, id_))

    actor = f"owner:{bobs.stranger.owner_id}"
    assert bobs.told() == [(actor, "p-bob", "read_refused", "request-of-stranger", {"kind": kind})]


@pytest.mark.parametrize(
    ("kind", "id_"),
    [("person", "nobody"), ("connection", "p-bob"), ("sync", "nothing"), ("attempt", ""), ("hand-over", "a-bob")],
)
async def test_what_does_not_exist_is_told_to_nobody(bobs: Bobs, kind: str, id_: str) -> None:
    await audit.record_refusal(bobs.db, bobs.stranger, NotYours(kind, id_))

    assert bobs.told() == []


async def test_ones_own_thing_is_told_to_nobody(bobs: Bobs) -> None:
    await audit.record_refusal(bobs.db, bobs.bob, NotYours("connection", "c-bob"))

    assert bobs.told() == []


async def test_an_asker_is_told_of_once_an_hour_for_each_person_whatever_was_asked_for(bobs: Bobs) -> None:
    other = Caller(str(uuid.uuid4()), {})

    for asker, kind, id_ in (
        (bobs.stranger, "person", "p-bob"),
        (bobs.stranger, "connection", "c-bob"),
        (bobs.stranger, "person", "p-second"),
        (other, "sync", "s-bob"),
    ):
        await audit.record_refusal(bobs.db, asker, NotYours(kind, id_))
    within = len(bobs.told())
    bobs.rows("update cgm_private.audit_events set at = at - interval '61 minutes'")
    await audit.record_refusal(bobs.db, bobs.stranger, NotYours("person", "p-bob"))

    assert (within, len(bobs.told())) == (3, 4)


async def test_of_many_refusals_at_once_one_is_written(bobs: Bobs) -> None:
    things = [NotYours("person", "p-bob"), NotYours("connection", "c-bob"), NotYours("sync", "s-bob")]

    await asyncio.gather(*(audit.record_refusal(bobs.db, bobs.stranger, thing) for thing in things * 10))

    assert len(bobs.told()) == 1


async def test_while_one_writes_it_down_another_leaves_it_to_that_one(bobs: Bobs) -> None:
    asker = bobs.stranger.owner_id
    refused = NotYours("person", "p-bob")
    async with bobs.db.as_worker() as conn:
        values = {"actor": f"owner:{asker}", "asker": asker, "kind": "connection", "id": "c-bob"}
        first = await (await conn.execute(audit.QUERIES["whose"], values)).fetchone()
        await audit.record_refusal(bobs.db, bobs.stranger, refused)
        meanwhile = bobs.told()
    await audit.record_refusal(bobs.db, bobs.stranger, refused)

    assert first == {"person_id": "p-bob", "alone": True}
    assert (meanwhile, len(bobs.told())) == ([], 1)


async def test_a_database_that_fails_is_logged_and_raises_nothing(bobs: Bobs) -> None:
    bobs.rows("revoke insert on cgm_private.audit_events from cgm_worker")

    with capture_logs() as lines:
        await audit.record_refusal(bobs.db, bobs.stranger, NotYours("person", "p-bob"))

    assert [(line["event"], line["error"]) for line in lines] == [("refusal_not_recorded", "InsufficientPrivilege")]
