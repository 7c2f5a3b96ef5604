"""Why a database cannot be used is said in words; an address, a host or a password is never repeated."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row
from starts import lay

from evercgm.core.errors import SettingsError
from evercgm.storage.schema.migrate import migrate, plan
from evercgm.storage.schema.reach import QUERIES, DatabaseFailed, reached, reached_to_migrate

HIDDEN = "hidden-password"


def with_parts(dsn: str, *, user: str | None = None, port: int | None = None, database: str | None = None) -> str:
    parts = urlsplit(dsn)
    name = user or f"{parts.username}:{parts.password}"
    netloc = f"{name}@127.0.0.1:{port or parts.port}"
    return parts._replace(netloc=netloc, path=f"/{database}" if database else parts.path).geturl()


async def refusal_of(dsn: str, *, to_migrate: bool = False) -> str:
    opened = reached_to_migrate if to_migrate else reached
    with pytest.raises(SettingsError) as told:
        async with opened(dsn, "A_DATABASE_URL"):
            pass
    text = str(told.value)
    assert text.startswith("A_DATABASE_URL: ")
    parts = urlsplit(dsn)
    for secret in (HIDDEN, "127.0.0.1", parts.password, parts.netloc.rpartition(":")[2]):
        assert not secret or secret not in text
    return text


async def test_a_wrong_password_and_a_wrong_name_are_told(database: Any) -> None:
    said = "the role's name or its password is refused"

    assert said in await refusal_of(with_parts(database.owner_dsn, user=f"nobody:{HIDDEN}"))
    assert said in await refusal_of(with_parts(database.owner_dsn, user=f"authenticator:{HIDDEN}"))


async def test_a_database_that_is_not_there_is_told(database: Any) -> None:
    assert "there is no database of that name" in await refusal_of(with_parts(database.owner_dsn, database="none"))


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        (f"postgresql://u:{HIDDEN}@127.0.0.1:1/d", "nothing listens there"),
        (f"postgresql://u:{HIDDEN}@no-such-host.invalid/d", "the name of the host is not known"),
        (f"postgresql://u:{HIDDEN}@127.0.0.1:port/d", "this is no PostgreSQL URL"),
        (f"hidden {HIDDEN}", "this is no PostgreSQL URL"),
    ],
)
async def test_an_address_that_leads_nowhere_is_told(dsn: str, said: str) -> None:
    assert said in await refusal_of(dsn)


@contextmanager
def answering(words: bytes) -> Iterator[int]:
    """A server that is none of ours: it says these words to everybody, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            while True:
                client, _ = await loop.sock_accept(server)
                await loop.sock_sendall(client, words)
                client.close()

        task = asyncio.get_running_loop().create_task(serve())
        yield server.getsockname()[1]
        task.cancel()


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"J\0\0\0\n8.0\0", b""]
)
async def test_what_is_no_postgresql_is_told_as_such(words: bytes) -> None:
    with answering(words) as port:
        text = await refusal_of(f"postgresql://u:{HIDDEN}@127.0.0.1:{port}/d")

    assert "no PostgreSQL" in text


async def test_a_failure_of_a_statement_is_told_without_the_row(database: Any) -> None:
    with pytest.raises(DatabaseFailed) as told:
        async with reached(database.admin_dsn, "A_DATABASE_URL") as connection:
            await connection.execute("insert into public.\"Person\" (id) values ('marked-row')")

    assert str(told.value).startswith("A_DATABASE_URL: null value in column")
    assert "marked-row" not in str(told.value)


async def test_a_connection_that_is_lost_is_told(database: Any) -> None:
    with pytest.raises(DatabaseFailed, match="A_DATABASE_URL"):
        async with reached(database.admin_dsn, "A_DATABASE_URL") as connection:
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def login(postgres: Any) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Makes login roles with these rights: name and password; asked for before databases, it drops them after those."""
    made: list[str] = []

    def make(rights: str) -> tuple[str, str]:
        name, password = f"test_{secrets.token_hex(4)}", secrets.token_hex(8)
        made.append(name)
        execute(postgres.admin_dsn, f"create role {name} login password '{password}' {rights}")
        return name, password

    yield make
    for name in made:
        execute(postgres.admin_dsn, f"drop role {name}")


def execute(dsn: str, statements: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statements.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize(
    ("rights", "granted", "said"),
    [
        ("createrole", "", "belongs to"),
        ("createrole", "OWN", "it may make nothing in schema public"),
        ("createrole", "OWN; grant create on schema public to {name}", "it may make no schema here"),
    ],
)
async def test_a_role_that_may_not_migrate_is_told_what_it_lacks(
    login: Any, make_empty_database: Any, rights: str, granted: str, said: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, "production")
    name, password = login(rights)
    own = "; ".join(
        f"alter table {table} owner to {name}" for table in ('"Person"', "cgm_connections", "glucose_readings")
    )
    execute(fresh.admin_dsn, granted.format(name=name).replace("OWN", own) or "select 1")

    text = await refusal_of(with_parts(fresh.admin_dsn, user=f"{name}:{password}"), to_migrate=True)

    assert f"role {name} may not migrate" in text
    assert said in text


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("nocreaterole", "it may make no roles (CREATEROLE)"),
        ("createrole", "it may not hand on the role authenticated (GRANT authenticated TO … WITH ADMIN OPTION)"),
    ],
)
def test_before_our_group_roles_exist_the_migrating_role_must_be_able_to_make_them(
    login: Any, make_empty_database: Any, rights: str, missing: str
) -> None:
    fresh = make_empty_database()
    name, _password = login(rights)

    # Roles belong to the whole server: renamed for this transaction only.
    with psycopg.connect(fresh.admin_dsn) as connection:
        connection.execute(
            f"""
            do $$ begin
              if to_regrole('cgm_request') is not null then alter role cgm_request rename to {name}_aside; end if;
            end $$;
            alter database {fresh.name} owner to {name};
            set local role {name};
            """.encode()
        )
        row = connection.cursor(row_factory=dict_row).execute(QUERIES["rights"].encode()).fetchone()
        before_sixteen = connection.info.server_version < 160000
        connection.rollback()

    assert row is not None
    # Up to PostgreSQL 15, whoever may make roles may hand on any role.
    assert row["missing"] == (None if before_sixteen and rights == "createrole" else missing)


async def test_rows_that_row_security_hides_from_the_migrating_role_are_told(
    make_empty_database: Any, postgres: Any
) -> None:
    fresh = make_empty_database()
    await lay(fresh, "empty")
    await migrate(fresh.owner_dsn)
    execute(fresh.admin_dsn, "alter table cgm_connections force row level security")

    text = await refusal_of(fresh.owner_dsn, to_migrate=True)

    assert "row-level security hides rows of cgm_connections" in text
    assert "FORCE" in text


HISTORY = (
    ("", "it may not read the history"),
    ("grant usage on schema supabase_migrations to {name}", "it may not read the history"),
    ("grant select on supabase_migrations.schema_migrations to {name}", "it may not write the history"),
    ("grant insert on supabase_migrations.schema_migrations to {name}", ""),
)


async def test_a_history_that_may_not_be_read_or_written_is_told_before_anything_is_done(
    login: Any, make_empty_database: Any
) -> None:
    fresh = make_empty_database()
    await lay(fresh, "production")
    dsn = own_everything(fresh, *login("createrole"))
    for grant, said in HISTORY:
        execute(fresh.admin_dsn, grant.format(name=urlsplit(dsn).username) or "select 1")
        if said:
            for way in (plan, migrate):
                with pytest.raises(SettingsError, match=f"may not migrate: {said}"):
                    await way(dsn)

    assert not (await plan(dsn)).would_stop
    assert len(await migrate(dsn)) == 5


@pytest.mark.parametrize(("start", "said"), [("staging", "it may make no temporary tables here"), ("production", "")])
async def test_temporary_tables_are_asked_for_where_the_conversion_needs_them(
    login: Any, make_empty_database: Any, start: str, said: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)
    dsn = own_everything(fresh, *login("createrole"))
    execute(fresh.admin_dsn, f"revoke temporary on database {fresh.name} from public")
    execute(fresh.admin_dsn, f"grant all on schema supabase_migrations to {urlsplit(dsn).username}")
    execute(fresh.admin_dsn, f"grant all on supabase_migrations.schema_migrations to {urlsplit(dsn).username}")

    if said:
        for way in (plan, migrate):
            with pytest.raises(SettingsError, match=f"may not migrate: {said}"):
                await way(dsn)
    else:
        assert not (await plan(dsn)).would_stop
        assert len(await migrate(dsn)) == 5


def own_everything(fresh: Any, name: str, password: str) -> str:
    """Gives this role what migrating takes, but for the history; its DSN."""
    execute(
        fresh.admin_dsn,
        f"""
        do $$
        declare
          w record;
        begin
          for w in select format('table %s', c.oid::regclass) as object from pg_class c
                    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
                   union all
                   select format('type %s', t.oid::regtype) from pg_type t
                    where t.typnamespace = 'public'::regnamespace and t.typtype = 'e'
          loop
            execute format('alter %s owner to {name}', w.object);
          end loop;
        end $$;
        grant all on schema public, auth to {name};
        grant create on database {fresh.name} to {name};
        grant authenticated to {name} with admin option;
        """,
    )
    return with_parts(fresh.admin_dsn, user=f"{name}:{password}")


async def test_a_read_only_database_is_told(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    execute(fresh.admin_dsn, f"alter database {fresh.name} set default_transaction_read_only = on")

    assert "read-only" in await refusal_of(fresh.owner_dsn, to_migrate=True)


async def test_an_empty_database_may_be_migrated_by_its_owner(make_empty_database: Any) -> None:
    async with reached_to_migrate(make_empty_database().owner_dsn, "A_DATABASE_URL") as connection:
        assert not connection.closed


async def test_a_refusal_in_words_that_we_do_not_know_is_told_by_its_class_alone(database: Any) -> None:
    """Here the server repeats a part of the address."""
    said = await refusal_of(f"{database.owner_dsn}?options=-c%20{HIDDEN}%3D1")

    assert said == "A_DATABASE_URL: the database does not answer (OperationalError)"
