"""Whatever is wrong with the database or with the way to it: one clear line, exit code 1 or 2, and nothing changed."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from by_hand import held, run, run_as_psql
from psycopg import sql
from starts import lay, snapshot_of

from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migration_files import migrations

# What the second file makes before it compares: its schema, and in it what it compares with. (Roles belong to the whole
# server, and a snapshot tells of them where that schema is.)
MADE_FIRST = tuple(f"cgm_private.{name}" for name in ("close_schema", "first_of", "other_form", "users_of_provider"))


@dataclass(frozen=True)
class Wrong:
    """A start, what was done to it, and what the command must say of it."""

    start: str
    statement: str
    words: str
    # Which of the five files meets it.
    file: int = 0


IN_THE_WAY = {
    "a view that blocks": Wrong(
        "staging",
        "create view v as select provider from cgm_connections",
        "provider cannot become an enum while these use it: view public.v",
        1,
    ),
    "a policy of the host on provider": Wrong(
        "staging",
        "create policy p on cgm_connections for select using (provider <> 'hidden')",
        "while these use it: policy p on table public.cgm_connections",
        1,
    ),
    "an enum that lacks a label": Wrong(
        "staging",
        """create type "CGMProvider" as enum ('dexcom', 'libre')""",
        """enum public."CGMProvider": expected 'dexcom', 'libre', 'abbott', 'medtronic'; found 'dexcom', 'libre'""",
        1,
    ),
    "an enum with a label more": Wrong(
        "production",
        """alter type "CGMProvider" add value 'other'""",
        "found 'dexcom', 'libre', 'abbott', 'medtronic', 'other'",
        1,
    ),
    "an enum in another order": Wrong(
        "host-only",
        """create type "CGMConnectionStatus" as enum ('disconnected', 'connected', 'error', 'expired')""",
        "found 'disconnected', 'connected', 'error', 'expired'",
    ),
    "a wrong index of the right name": Wrong(
        "production",
        "drop index cgm_connections_status_idx;create index cgm_connections_status_idx on cgm_connections (status, id)",
        "found CREATE INDEX cgm_connections_status_idx ON public.cgm_connections USING btree (status, id)",
    ),
    "a unique index that is none": Wrong(
        "staging",
        "drop index cgm_connections_person_id_provider_key;"
        "create index cgm_connections_person_id_provider_key on cgm_connections (person_id, provider)",
        "found CREATE INDEX cgm_connections_person_id_provider_key",
    ),
    "a reference with another action": Wrong(
        "production",
        "alter table glucose_readings drop constraint glucose_readings_cgm_connection_id_fkey,"
        " add constraint glucose_readings_cgm_connection_id_fkey foreign key (cgm_connection_id)"
        " references cgm_connections on update cascade on delete cascade",
        "expected FOREIGN KEY (cgm_connection_id) REFERENCES public.cgm_connections(id)"
        " ON UPDATE CASCADE ON DELETE SET NULL; found",
    ),
    "a reference that was never checked": Wrong(
        "staging",
        "alter table cgm_connections drop constraint cgm_connections_person_id_fkey,"
        " add constraint cgm_connections_person_id_fkey foreign key (person_id)"
        ' references "Person" on update cascade on delete cascade not valid',
        "NOT VALID",
    ),
    "a column that may be null": Wrong(
        "staging",
        "alter table cgm_connections alter column access_token drop not null",
        "access_token: expected text not null; found text",
    ),
    "a column without its default": Wrong(
        "production",
        "alter table cgm_connections alter column created_at drop default",
        "created_at: expected timestamp(3) without time zone not null default CURRENT_TIMESTAMP; found",
    ),
    "a column of another type": Wrong(
        "staging",
        "alter table cgm_connections alter column provider type varchar(20)",
        "provider: expected text not null; found character varying(20) not null",
    ),
    "a policy that lets everybody in": Wrong(
        "production",
        'alter policy "Users can view own CGM connections" on cgm_connections using (true)',
        "found permissive for select to public using true",
    ),
    "a policy that restricts": Wrong(
        "staging",
        'drop policy "Users can delete own CGM connections" on cgm_connections;'
        'create policy "Users can delete own CGM connections" on cgm_connections as restrictive'
        " for delete using (false)",
        "found restrictive for delete",
    ),
    "another table of a name of ours": Wrong(
        "production",
        "create schema cgm_private; create table cgm_private.sync_state (connection_id text primary key, n int)",
        "cgm_private.sync_state",
        2,
    ),
    "a part of the job engine": Wrong(
        "production",
        "create schema cgm_jobs; create table cgm_jobs.pgqueuer_log (id bigint)",
        "cgm_jobs",
        4,
    ),
    "a function of a name of ours": Wrong(
        "staging",
        "create schema cgm_private; create function cgm_private.touch_updated_at() returns trigger language plpgsql"
        " as $$ begin return null; end $$",
        "function cgm_private.touch_updated_at()",
        3,
    ),
    "a database without host tables": Wrong("nothing", "create table lonely (id text)", '"Person"'),
}


def evercgm(dsn: str, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as an operator starts it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "PG"))}
    done = subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", "db", *arguments],
        env={**own, "DATABASE_URL": dsn, "MIGRATION_DATABASE_URL": dsn},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    secrets = ("plain-access", "plain-refresh", "enc:placeholder", "127.0.0.1", "localhost", password)
    assert [secret for secret in secrets if secret and secret in said] == []
    assert "Traceback" not in said
    return done


def password_of(dsn: str) -> str:
    return urlsplit(dsn).password or ""


async def laid(database: Any, start: str) -> str:
    if start == "nothing":
        return str(database.admin_dsn)
    await lay(database, start)
    return str(database.admin_dsn)


@pytest.mark.parametrize("case", list(IN_THE_WAY))
async def test_what_stands_in_the_way_is_named_and_nothing_is_changed(make_empty_database: Any, case: str) -> None:
    wrong = IN_THE_WAY[case]
    dsn = await laid(make_empty_database(), wrong.start)
    run(dsn, wrong.statement)
    before = await snapshot_of(dsn)
    rows_before = held(dsn) if wrong.start in ("staging", "production") else []

    done = evercgm(dsn, "migrate", password=password_of(dsn))

    assert (done.returncode, done.stdout) == (1, "")
    assert wrong.words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert await snapshot_of(dsn) == before
    assert rows_before == (held(dsn) if rows_before else [])


@pytest.mark.parametrize("case", list(IN_THE_WAY))
async def test_the_file_that_meets_it_stops_by_itself_as_psql_runs_it(make_empty_database: Any, case: str) -> None:
    wrong = IN_THE_WAY[case]
    dsn = await laid(make_empty_database(), wrong.start)
    run(dsn, wrong.statement)
    for migration in migrations()[: wrong.file]:
        run_as_psql(dsn, migration.path)
    before = await snapshot_of(dsn)
    rows_before = held(dsn) if wrong.start in ("staging", "production") else []

    with pytest.raises(psycopg.Error) as stopped:
        run_as_psql(dsn, migrations()[wrong.file].path)

    assert wrong.words in str(stopped.value)
    changed = differences(before, await snapshot_of(dsn))
    assert [
        one.key for one in changed if one.key.kind not in ("role", "schema") and not one.key.name.startswith(MADE_FIRST)
    ] == []
    assert rows_before == (held(dsn) if rows_before else [])


@pytest.fixture
def listener() -> Iterator[int]:
    """Something that is no PostgreSQL: it answers everything like a web server. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    talk, _ = server.accept()
                except OSError:
                    return
                with talk:
                    talk.recv(1000)
                    talk.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that is taken and not listened at: nobody else can come to listen there meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def elsewhere(dsn: str, *, port: int | None = None, password: str | None = None, name: str | None = None) -> str:
    """The same address but for one thing."""
    parts = urlsplit(dsn)
    netloc = f"{parts.username}:{password or parts.password}@{parts.hostname}:{port or parts.port}"
    return parts._replace(netloc=netloc, path=f"/{name}" if name else parts.path).geturl()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("text", "postgresql://"),
        ("port", "nothing listens there"),
        ("password", "password is refused"),
        ("database", "there is no database of that name"),
        ("no PostgreSQL", "what answers there is no PostgreSQL"),
        ("a role that owns nothing", "may not migrate"),
        ("a role that may only read", "read-only"),
    ],
)
async def test_a_wrong_way_to_the_database_is_told_without_repeating_it(
    make_empty_database: Any, listener: int, deaf: int, case: str, words: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    before = await snapshot_of(fresh.admin_dsn)
    if case == "a role that may only read":
        with psycopg.connect(fresh.admin_dsn, autocommit=True) as admin:
            words_of_role = sql.SQL("alter role current_user in database {} set default_transaction_read_only = on")
            admin.execute(words_of_role.format(sql.Identifier(fresh.name)))
    dsn = {
        "text": "the database of 127.0.0.1 with hunter2",
        "port": elsewhere(fresh.admin_dsn, port=deaf),
        "password": elsewhere(fresh.owner_dsn, password="hunter2"),
        "database": elsewhere(fresh.admin_dsn, name="no_such_database"),
        "no PostgreSQL": elsewhere(fresh.admin_dsn, port=listener),
        "a role that owns nothing": fresh.owner_dsn,
    }.get(case, fresh.admin_dsn)

    done = evercgm(dsn, "migrate", password="hunter2" if "hunter2" in dsn else password_of(dsn))

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert await snapshot_of(fresh.admin_dsn) == before
