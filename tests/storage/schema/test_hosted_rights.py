"""The migrating role of a Supabase project: no superuser, no owner of schema auth, and it must make our roles itself.

A server of its own, because roles belong to the whole server and the first migration on it makes them.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from by_hand import VERSIONS, held, rows, run, run_as_psql
from starts import lay, snapshot_of

from evercgm.core.errors import SettingsError
from evercgm.storage import embedded
from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.migration_files import MigrationError, migrations
from evercgm.storage.schema.target import finished, same

PASSWORD = secrets.token_hex(16)
# What Supabase gives its role postgres, and keeps for itself.
ROLE = (
    f"create role postgres login nosuperuser createrole createdb bypassrls password '{PASSWORD}'",
    "create role anon nologin noinherit",
    "create role authenticated nologin noinherit",
    "create role service_role nologin noinherit bypassrls",
    "grant anon, authenticated, service_role to postgres with admin option",
)
OWNERS = """
do $$
declare
  t regclass;
begin
  for t in select c.oid from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' loop
    execute format('alter table %s owner to postgres', t);
  end loop;
end $$;
alter type "GlucoseSource" owner to postgres;
alter schema supabase_migrations owner to postgres;
alter table supabase_migrations.schema_migrations owner to postgres;
grant all on schema auth to postgres;
alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
"""
TYPES = 'alter type "CGMConnectionStatus" owner to postgres'


@dataclass(frozen=True)
class Project:
    """A database: of the administrator, and of the role that the project's owner gets."""

    admin_dsn: str
    owner_dsn: str


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server without our roles; the administrator's URL."""
    data_dir = Path(tempfile.mkdtemp(prefix="evercgm-tests-"))
    data_dir.chmod(0o755)
    try:
        admin_dsn = embedded.start(data_dir, options={"fsync": "off", "synchronous_commit": "off"}).superuser_dsn
        run(admin_dsn, *ROLE)
        yield admin_dsn
    finally:
        embedded.stop(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


def make_project(server: str) -> Project:
    name = f"project_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} owner postgres".encode())
    parts = urlsplit(server)
    place = parts.netloc.rpartition("@")[2]
    own = parts._replace(path=f"/{name}")
    return Project(own.geturl(), own._replace(netloc=f"postgres:{PASSWORD}@{place}").geturl())


async def lay_project(server: str, start: str) -> Project:
    project = make_project(server)
    await lay(project, start, host_rls="on")
    run(project.admin_dsn, OWNERS)
    if start != "host-only":
        run(project.admin_dsn, TYPES)
    if start == "production":
        run(project.admin_dsn, 'alter type "CGMProvider" owner to postgres')
    return project


def away_from_target(entries: Any) -> list[str]:
    return [f"{key}: {entries.get(key)}" for key, text in finished().items() if not same(entries.get(key) or "", text)]


@pytest.mark.parametrize("start", ["staging", "host-only", "production"])
async def test_the_role_of_a_hosted_project_migrates_it(server: str, start: str) -> None:
    project = await lay_project(server, start)

    applied = await migrate(project.owner_dsn, unknown="quarantine")

    reached = await snapshot_of(project.owner_dsn)
    assert away_from_target(reached.entries) == []
    assert [one.version for one in applied] == (VERSIONS[1:] if start == "staging" else VERSIONS)
    assert all(not notice.startswith("no privileges were granted") for one in applied for notice in one.notices)
    before = held(project.admin_dsn)
    assert await migrate(project.owner_dsn) == []
    for migration in migrations():
        run_as_psql(project.owner_dsn, migration.path)
    assert differences(reached, await snapshot_of(project.owner_dsn)) == []
    assert held(project.admin_dsn) == before
    assert rows(project.admin_dsn, "select has_schema_privilege('cgm_request', 'auth', 'usage')") == [(True,)]


async def test_a_role_that_may_not_hand_on_authenticated_is_told_what_it_lacks(server: str) -> None:
    await migrate((await lay_project(server, "production")).owner_dsn)
    project = await lay_project(server, "production")
    run(
        server,
        f"create role lesser login createrole password '{PASSWORD}'",
        "revoke authenticated from cgm_request granted by postgres",
    )
    tables = ('public."Person"', "public.cgm_connections", "public.glucose_readings")
    run(
        project.admin_dsn,
        *(f"alter table {table} owner to lesser" for table in tables),
        "alter table supabase_migrations.schema_migrations owner to lesser",
        "alter schema supabase_migrations owner to lesser",
        "grant all on schema public, auth to lesser",
        f"grant create on database {urlsplit(project.admin_dsn).path[1:]} to lesser",
    )

    try:
        lesser_dsn = project.owner_dsn.replace("//postgres:", "//lesser:")
        with pytest.raises(SettingsError, match="may not hand on the role authenticated"):
            await migrate(lesser_dsn)
        for migration in migrations()[:3]:
            run_as_psql(lesser_dsn, migration.path)
        with pytest.raises(psycopg.Error, match="grant authenticated to lesser with admin option"):
            run_as_psql(lesser_dsn, migrations()[3].path)
    finally:
        run(server, "grant authenticated to cgm_request granted by postgres")


@pytest.mark.parametrize(
    ("change", "back", "found"),
    [
        ("alter role cgm_worker login", "alter role cgm_worker nologin", "may log in"),
        ("alter role cgm_worker bypassrls", "alter role cgm_worker nobypassrls", "passes row-level security"),
        ("alter role cgm_request createrole", "alter role cgm_request nocreaterole", "may make roles"),
        ("grant service_role to cgm_request", "revoke service_role from cgm_request", "member of service_role"),
        ("grant authenticated to cgm_worker", "revoke authenticated from cgm_worker", "member of authenticated"),
    ],
)
async def test_a_role_of_our_name_that_is_something_else_is_a_stop(
    server: str, change: str, back: str, found: str
) -> None:
    project = await lay_project(server, "production")
    for name in ("cgm_request", "cgm_worker"):
        run(server, f"do $$ begin if to_regrole('{name}') is null then create role {name} nologin; end if; end $$")
    run(server, change)

    try:
        with pytest.raises(MigrationError, match=rf"roles of these names are something else.*{found}"):
            await migrate(project.owner_dsn)
    finally:
        run(server, back)
