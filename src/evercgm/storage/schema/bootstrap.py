"""Stands in for the host app on an empty PostgreSQL: roles, auth functions, "Person", readings."""

import re
from pathlib import Path

import psycopg

from evercgm.core.errors import EvercgmError
from evercgm.storage.schema.reach import reached, refusal

SETTING = "MIGRATION_DATABASE_URL"
_FOLDER = Path(__file__).parent
# Roles that others rely on in another form, and words that mean somebody else in SQL.
_TAKEN = {
    *(
        "anon",
        "authenticated",
        "authenticator",
        "service_role",
        "postgres",
        "dashboard_user",
        "pgbouncer",
        "pgtle_admin",
    ),
    *("public", "none", "user", "current_user", "current_role", "session_user"),
}
_TAKEN_STARTS = ("supabase_", "cgm_", "pg_", "pgsodium_")


class BootstrapError(EvercgmError):
    """This database has a host app, or objects of our names in another form; nothing was changed."""


async def bootstrap_standalone(dsn: str, *, setting: str = SETTING) -> None:
    """Make what the host app would have made, all or nothing; a second run does nothing.

    The role of ``dsn`` will own the objects. Where roles are missing it must be allowed to make them
    (service_role with BYPASSRLS). ``setting``: what holds the DSN, for messages. Raises BootstrapError where a host
    app is, or roles or tables have another form, and SettingsError where the database cannot be reached.
    """
    await _run(dsn, setting, "bootstrap_roles.sql", "bootstrap.sql")


async def run_roles(dsn: str, *, setting: str = SETTING) -> None:
    """Only the four roles of the server: anon, authenticated, service_role, authenticator."""
    await _run(dsn, setting, "bootstrap_roles.sql")


async def _run(dsn: str, setting: str, *file_names: str) -> None:
    async with reached(dsn, setting) as connection:
        try:
            async with connection.transaction():
                for file_name in file_names:
                    await connection.execute((_FOLDER / file_name).read_bytes())
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
            raise BootstrapError(f"{refusal(error)}{hint}. Nothing was changed") from error


def login_role_sql(name: str) -> str:
    """SQL that makes the service's login role with least rights; for an administrator, after the migrations.

    The role inherits nothing and reaches only cgm_request and cgm_worker. Set its password yourself. Raises ValueError
    where the name is none for it: no role of Supabase or PostgreSQL, and none of our groups, becomes a login of ours.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError("a role's name has lower-case letters, digits and underscores only")
    if name in _TAKEN or name.startswith(_TAKEN_STARTS):
        raise ValueError("this name belongs to Supabase, to PostgreSQL or to our own groups: choose another")
    return (_FOLDER / "login_role.sql").read_text().replace("service_login", name)
