"""``evercgm db``: bootstrap, migrate, and the SQL of the login role."""

import asyncio
from typing import Annotated

import typer

from evercgm.cli.db_quarantine import quarantine_app
from evercgm.cli.db_verify import verify_command
from evercgm.cli.surroundings import databases, find_settings, require_migration_url
from evercgm.storage.schema.bootstrap import bootstrap_standalone, login_role_sql
from evercgm.storage.schema.migrate import migrate

db_app = typer.Typer(help="The database: bootstrap an empty one, migrate, rights.", no_args_is_help=True)
db_app.command("verify")(verify_command)
db_app.add_typer(quarantine_app, name="quarantine")


@db_app.command()
def bootstrap(
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Stand in for the host app on an empty PostgreSQL.")
    ] = False,
) -> None:
    """Prepare an empty PostgreSQL: the roles, auth functions and the two tables that a host app would have."""
    if not standalone:
        raise typer.BadParameter("say --standalone: beside a host app there is nothing to bootstrap")
    settings = find_settings()
    with databases(settings) as found:
        asyncio.run(bootstrap_standalone(require_migration_url(found)))
    typer.echo("The database is ready for: evercgm db migrate")


@db_app.command("migrate")
def migrate_command() -> None:
    """Apply what is missing; a second run does nothing."""
    settings = find_settings()
    with databases(settings) as found:
        applied = asyncio.run(migrate(require_migration_url(found), report=typer.echo))
    typer.echo(f"{len(applied)} migrations applied." if applied else "The database is up to date.")


@db_app.command("login-role")
def login_role(
    name: Annotated[str, typer.Argument(help="The role's name.")] = "evercgm",
) -> None:
    """Print the SQL that makes the service's login role with least rights."""
    typer.echo(login_role_sql(name))
