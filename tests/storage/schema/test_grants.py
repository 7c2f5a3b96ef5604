"""Grants are set, not made: whatever default privileges or people give or take, a run sets them again and says so."""

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from by_hand import VERSIONS, run
from starts import snapshot_of
from verify_worlds import load

from evercgm.storage.schema.api_rights import loose_rights
from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate, plan
from evercgm.storage.schema.plan import step_of
from evercgm.storage.schema.target import api_rights, finished

ACCESS, JOBS = VERSIONS[3:]
AUTHENTICATED = "grant public.cgm_connections to authenticated"


@pytest.fixture(scope="module")
def template(postgres: Any, shared_dir: Path) -> Iterator[str]:
    """The name of a migrated production database."""
    fresh = postgres.create(f"test_grants_{secrets.token_hex(4)}")
    load(fresh.admin_dsn, shared_dir / "database/production.sql")
    with ThreadPoolExecutor(1) as apart:
        apart.submit(asyncio.run, migrate(fresh.admin_dsn)).result()
    yield fresh.name
    postgres.drop(fresh.name)


@pytest.fixture
def migrated(postgres: Any, template: str) -> Iterator[str]:
    """A migrated production database of its own, as superuser."""
    fresh = postgres.create(f"test_{secrets.token_hex(6)}", template)
    yield fresh.admin_dsn
    postgres.drop(fresh.name)


CHANGED = {
    "what owners may see and delete": (
        "revoke all on cgm_connections from authenticated",
        ACCESS,
        AUTHENTICATED,
    ),
    "the rights of service_role": (
        "revoke all on cgm_connections from service_role",
        ACCESS,
        "grant public.cgm_connections to service_role",
    ),
    "a token to owners": (
        "grant select (access_token) on cgm_connections to authenticated",
        ACCESS,
        AUTHENTICATED,
    ),
    "everything to anon": (
        "grant all on cgm_connections to anon",
        ACCESS,
        "grant public.cgm_connections to anon: expected nothing; found delete, insert",
    ),
    "a table of ours to everybody": (
        "grant select on cgm_private.routes to public",
        ACCESS,
        "grant cgm_private.routes to public: expected nothing; found select",
    ),
    "our schema": ("grant usage on schema cgm_private to anon", ACCESS, "schema grant cgm_private to anon"),
    "a function of ours": (
        "grant execute on function cgm_private.check_reading_connection() to authenticated",
        ACCESS,
        "function grant cgm_private.check_reading_connection() to authenticated",
    ),
    "the jobs": ("grant all on cgm_jobs.pgqueuer to service_role", JOBS, "grant cgm_jobs.pgqueuer to service_role"),
    "less to the worker": (
        "revoke insert on cgm_connections from cgm_worker",
        ACCESS,
        "grant public.cgm_connections to cgm_worker",
    ),
    "more to the worker": ('grant update on "Person" to cgm_worker', ACCESS, 'grant public."Person" to cgm_worker'),
    "more to those who act for persons": (
        "grant select on cgm_private.signing_keys to cgm_request",
        ACCESS,
        "grant cgm_private.signing_keys to cgm_request",
    ),
}


@pytest.mark.parametrize("case", list(CHANGED))
async def test_a_grant_that_was_changed_is_set_again_and_told(migrated: str, case: str) -> None:
    change, version, words = CHANGED[case]
    before = await snapshot_of(migrated)
    run(migrated, change)
    said: list[str] = []

    planned = await plan(migrated)
    (again,) = await migrate(migrated, report=said.append)

    assert {step.version: step.action for step in planned.steps if step.action != "nothing"} == {version: "complete"}
    assert not planned.would_stop
    assert (again.version, again.existed) == (version, False)
    assert [words in one for one in again.regranted] == [True]
    assert words in said[0]
    assert "recorded already; these grants were not as it sets them, and are now" in said[0]
    assert await snapshot_of(migrated) == before
    assert await migrate(migrated) == []


async def test_a_run_without_compat_takes_back_what_compat_left(make_empty_database: Any, shared_dir: Path) -> None:
    ends = []
    for compat in (True, False):
        fresh = make_empty_database()
        load(fresh.admin_dsn, shared_dir / "database/production.sql")
        await migrate(fresh.admin_dsn, compat=compat)
        kept = await migrate(fresh.admin_dsn, compat=compat)
        planned = [step.action for step in (await plan(fresh.admin_dsn, compat=compat)).steps]
        closed = await migrate(fresh.admin_dsn)
        ends.append(await snapshot_of(fresh.admin_dsn))

        assert (kept, planned) == ([], ["nothing"] * 5)
        assert [one.version for one in closed] == ([ACCESS] if compat else [])

    assert differences(*ends) == []


async def test_compat_leaves_more_and_never_less(migrated: str) -> None:
    run(migrated, "revoke all on cgm_connections from authenticated; grant select on cgm_connections to authenticated")

    (again,) = await migrate(migrated, compat=True)

    assert [one.startswith(AUTHENTICATED) for one in again.regranted] == [True]
    found = {str(key): text for key, text in (await snapshot_of(migrated)).entries.items()}
    assert found[AUTHENTICATED].startswith("delete, select, select (created_at)")


def test_what_a_server_has_no_role_for_is_not_missed() -> None:
    entries = {
        **finished(),
        **{key: text for key, text in api_rights().items() if key.name.endswith(" to authenticated")},
    }

    with_role, without = (loose_rights(entries, compat=False, service_role=there) for there in (True, False))

    assert {version: len(found) for version, found in with_role.items()} == {ACCESS: 1, JOBS: 0}
    assert {version: len(found) for version, found in without.items()} == {ACCESS: 0, JOBS: 0}


def test_an_object_that_is_gone_is_drift_whatever_the_grants_are() -> None:
    entries = {
        key: text for key, text in finished().items() if key.kind != "trigger" and not key.kind.endswith("grant")
    }

    step = step_of(ACCESS, "", entries, (ACCESS,), loose_rights(entries, compat=False, service_role=True)[ACCESS])

    assert step.action == "stop"
