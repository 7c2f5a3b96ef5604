"""Brings our own server to the finished shape: roles, the host app's stand-ins, migrations, login role."""

from collections.abc import Callable

from psycopg import sql

from evercgm.storage.address import connect
from evercgm.storage.embedded import OWNER, SERVICE, Embedded, verifier
from evercgm.storage.schema.bootstrap import bootstrap_standalone, login_role_sql, run_roles
from evercgm.storage.schema.migrate import Applied, migrate

OUR_SERVER = "the embedded PostgreSQL"


async def prepare(embedded: Embedded, *, report: Callable[[str], None] = lambda _: None) -> list[Applied]:
    """Everything that the embedded server needs before the service connects; a second run does nothing."""
    await lend_roles(embedded.superuser_dsn, OWNER)
    await bootstrap_standalone(embedded.owner_dsn)
    applied = await migrate(embedded.owner_dsn, report=report)
    await make_login_role(embedded.superuser_dsn, SERVICE, embedded.service_password)
    return applied


async def lend_roles(superuser_dsn: str, owner: str) -> None:
    """Make the four roles where missing, and let ``owner`` hand them on, as Supabase lets ``postgres``."""
    await run_roles(superuser_dsn)
    async with await connect(superuser_dsn, OUR_SERVER) as connection:
        await connection.execute(
            sql.SQL("grant anon, authenticated, service_role to {} with admin option").format(sql.Identifier(owner))
        )


async def make_login_role(superuser_dsn: str, name: str, password: str) -> None:
    """Make the service's login role, or bring it back to least rights and to this password."""
    async with await connect(superuser_dsn, OUR_SERVER) as connection:
        await connection.execute(login_role_sql(name).encode())
        await connection.execute(
            sql.SQL("alter role {} password {}").format(
                sql.Identifier(name), sql.Literal(verifier(connection, name, password))
            )
        )
