"""Bootstrap stands in for a host app on an empty PostgreSQL, all or nothing; anything in another form is a refusal."""

from importlib import resources
from typing import Any

import psycopg
import pytest

from evercgm.core.errors import SettingsError
from evercgm.storage.schema.bootstrap import BootstrapError, bootstrap_standalone

ROLES = resources.files("evercgm.storage.schema").joinpath("bootstrap_roles.sql").read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("alter role anon login", "role anon is login noinherit, expected nologin noinherit"),
        ("alter role authenticated superuser", "role authenticated is superuser nologin noinherit, expected"),
        ("alter role authenticated bypassrls", "role authenticated is nologin noinherit bypassrls, expected"),
        ("alter role anon inherit", "role anon is nologin inherit, expected"),
        ("alter role service_role nobypassrls", "role service_role is nologin noinherit, expected .* bypassrls"),
        ("alter role service_role createrole", "role service_role is nologin noinherit bypassrls createrole"),
        ("alter role authenticator nologin", "role authenticator is nologin noinherit, expected login noinherit"),
        ("alter role authenticator inherit createdb", "role authenticator is login inherit createdb"),
    ],
)
def test_a_role_of_another_form_is_refused_and_told(database: Any, change: str, told: str) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute(change.encode())

        with pytest.raises(psycopg.errors.RaiseException, match=told):
            connection.execute(ROLES)


def test_roles_of_the_expected_form_are_left_alone(database: Any) -> None:
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute(ROLES)

        assert connection.execute("select pg_current_xact_id_if_assigned()").fetchone() == (None,)


async def test_a_refusal_leaves_nothing_behind(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    with psycopg.connect(fresh.owner_dsn) as connection:
        connection.execute('create table public."Person" (id bigint primary key)')

    with pytest.raises(BootstrapError, match=r'"Person"\.id is bigint, expected text.*Nothing was changed'):
        await bootstrap_standalone(fresh.owner_dsn)

    with psycopg.connect(fresh.admin_dsn) as connection:
        assert connection.execute("select to_regnamespace('auth')").fetchone() == (None,)


async def test_a_database_that_does_not_answer_is_told_by_its_setting() -> None:
    with pytest.raises(SettingsError, match=r"^HERE: nothing listens there") as told:
        await bootstrap_standalone("postgresql://someone:hidden@127.0.0.1:1/x", setting="HERE")

    assert "hidden" not in str(told.value)
