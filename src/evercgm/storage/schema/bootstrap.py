"""Stands in for the host app on an empty PostgreSQL: roles, auth functions, "Person", readings."""

import re
from pathlib import Path

import psycopg
from psycopg import AsyncConnection

from evercgm.core.errors import EvercgmError

_FOLDER = Path(__file__).parent


class BootstrapError(EvercgmError):
    """This database has a host app, or objects of our names in another form; nothing was changed."""


async def bootstrap_standalone(dsn: str) -> None:
    """Make what the host app would have made; a second run does nothing.

    The role of ``dsn`` will own the objects. Where roles are missing it must be allowed to make them
    (service_role with BYPASSRLS). Raises BootstrapError where a host app is, or objects have another form.
    """
    await run_roles(dsn)
    await _run(dsn, "bootstrap.sql")


async def run_roles(dsn: str) -> None:
    """Only the four roles of the server: anon, authenticated, service_role, authenticator."""
    await _run(dsn, "bootstrap_roles.sql")


async def _run(dsn: str, file_name: str) -> None:
    text = (_FOLDER / file_name).read_bytes()
    try:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.execute(text)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise BootstrapError(error.diag.message_primary or str(error)) from error


def login_role_sql(name: str) -> str:
    """SQL that makes the service's login role with least rights; for an administrator, after the migrations.

    The role inherits nothing and reaches only cgm_request and cgm_worker. Set its password yourself.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError("a role's name has lower-case letters, digits and underscores only")
    return (_FOLDER / "login_role.sql").read_text().replace("service_login", name)
