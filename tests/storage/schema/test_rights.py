"""The service refuses to start with more rights than it needs, however its login role came by them."""

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from evercgm.core.errors import SettingsError
from evercgm.storage.schema.bootstrap import login_role_sql
from evercgm.storage.schema.rights import refuse_too_much

MakeRole = Callable[..., tuple[str, str]]


@pytest.fixture
def make_role(database, postgres) -> Iterator[MakeRole]:
    """Makes a login role as `db login-role` would, then runs statements in which {role} is its name: (name, DSN)."""
    made: list[str] = []

    def make(*statements: str) -> tuple[str, str]:
        name = f"test_login_{secrets.token_hex(4)}"
        made.append(name)
        with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
            connection.execute(login_role_sql(name).encode())
            connection.execute(sql.SQL("alter role {} password 'x'").format(sql.Identifier(name)))
            for statement in statements:
                connection.execute(statement.format(role=name, other=_other(made, name)).encode())
        place = database.admin_dsn.rpartition("@")[2]
        return name, f"postgresql://{name}:x@{place}"

    yield make
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        for name in reversed(made):
            if connection.execute("select from pg_roles where rolname = %s", [name]).fetchone() is not None:
                connection.execute(sql.SQL("reassign owned by {} to current_user").format(sql.Identifier(name)))
                connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def since_16(database) -> None:
    """Only where a membership may be one that cannot be used."""
    with psycopg.connect(database.admin_dsn) as connection:
        if connection.info.server_version < 160000:
            pytest.skip("before PostgreSQL 16 every membership can be used")


def _other(made: list[str], name: str) -> str:
    """The name of a second role of this test; it is dropped with the first."""
    made.insert(0, f"{name}_other")
    return made[0]


async def test_the_role_that_login_role_makes_passes(make_role):
    _, dsn = make_role()

    await refuse_too_much(dsn)


async def test_the_login_role_owns_nothing_inherits_nothing_and_may_become_the_services_roles_only(make_role):
    name, dsn = make_role()

    with psycopg.connect(dsn) as connection:
        flags = connection.execute(
            "select rolsuper, rolbypassrls, rolinherit, rolcreaterole, rolcreatedb, rolreplication"
            " from pg_roles where rolname = current_user"
        ).fetchone()
        owned = connection.execute(
            "select count(*) from pg_shdepend where refobjid = %s::regrole and deptype = 'o'", [name]
        ).fetchone()
        others = connection.execute(
            "select rolname from pg_roles where pg_has_role(current_user, oid, 'member') and rolname <> current_user"
        ).fetchall()
        used = connection.execute(
            "select count(*) from pg_roles where pg_has_role(current_user, oid, 'usage') and rolname <> current_user"
        ).fetchone()

    assert flags == (False,) * 6
    assert (owned, used) == ((0,), (0,))
    # cgm_request is a member of authenticated.
    assert {role for (role,) in others} == {"cgm_request", "authenticated", "cgm_worker"}


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["alter role {role} superuser"], "is a superuser"),
        (["alter role {role} bypassrls"], "bypasses row-level security"),
        (["alter role {role} replication"], "may replicate the whole server"),
        (["grant service_role to {role}"], "may become service_role, which bypasses row-level security"),
        (["create role {other}", "grant service_role to {other}", "grant {other} to {role}"], "become service_role"),
        (["create role {other} bypassrls", "grant {other} to {role}"], "_other, which bypasses row-level security"),
        (["create role {other} superuser", "grant {other} to {role}"], "may become the superuser"),
        (["alter table cgm_connections owner to {role}"], r"owns tables of ours \(in public\)"),
        (["alter table cgm_private.routes owner to {role}"], r"owns tables of ours \(in cgm_private\)"),
        (["alter schema cgm_jobs owner to {role}"], r"owns tables of ours \(in cgm_jobs\)"),
        (["create role {other}", "grant {other} to {role}", 'alter table "Person" owner to {other}'], "owns tables of"),
        (["grant pg_read_server_files to {role}"], "reaches the server's files"),
    ],
)  # fmt: skip
async def test_a_role_that_may_do_more_is_refused(make_role, statements, reason):
    name, dsn = make_role(*statements)

    with pytest.raises(SettingsError, match=reason) as refused:
        await refuse_too_much(dsn)

    assert name in str(refused.value)
    assert "evercgm db login-role" in str(refused.value)


async def test_an_owner_whose_rights_are_inherited_is_refused(make_role, since_16):
    _, dsn = make_role(
        "create role {other}", "alter role {role} inherit", "grant {other} to {role} with inherit true, set false",
        "alter table cgm_private.routes owner to {other}",
    )  # fmt: skip

    with pytest.raises(SettingsError, match="owns tables of ours"):
        await refuse_too_much(dsn)


async def test_a_membership_that_cannot_be_used_does_not_count(make_role, since_16):
    _, dsn = make_role("grant service_role to {role} with inherit false, set false")

    await refuse_too_much(dsn)


async def test_a_membership_that_may_be_handed_on_counts(make_role, since_16):
    _, dsn = make_role("grant service_role to {role} with admin true, inherit false, set false")

    with pytest.raises(SettingsError, match="may become service_role"):
        await refuse_too_much(dsn)


async def test_createrole_is_a_way_to_service_role_before_16_and_none_after(make_role):
    _, dsn = make_role("alter role {role} createrole")
    with psycopg.connect(dsn) as connection:
        is_way = connection.info.server_version < 160000

    if is_way:
        with pytest.raises(SettingsError, match="CREATEROLE, before PostgreSQL 16"):
            await refuse_too_much(dsn)
    else:
        await refuse_too_much(dsn)


async def test_a_role_set_by_the_address_hides_nothing(database):
    with pytest.raises(SettingsError, match="is a superuser"):
        await refuse_too_much(f"{database.admin_dsn}?options=-c%20role%3Dcgm_worker")


async def test_the_setting_is_named_and_the_address_is_not(database):
    with pytest.raises(SettingsError, match=r"^WORKER_DATABASE_URL: role") as refused:
        await refuse_too_much(database.admin_dsn, "WORKER_DATABASE_URL")

    assert "127.0.0.1" not in str(refused.value)


async def test_a_database_that_is_not_migrated_is_refused(make_empty_database, database):
    fresh = make_empty_database()

    with pytest.raises(SettingsError, match="not migrated"):
        await refuse_too_much(fresh.service_dsn)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("alter role {role} createrole", "more than the service needs"),
        ("alter role {role} bypassrls", "more than the service needs"),
        ("grant service_role to {role}", "is a member of service_role"),
    ],
)
def test_login_role_does_not_bless_a_role_that_may_do_more(database, make_role, statement, reason):
    name, _ = make_role(statement)

    with psycopg.connect(database.admin_dsn) as connection, pytest.raises(psycopg.Error, match=reason):
        connection.execute(login_role_sql(name).encode())
