"""``evercgm db``: its commands; here bootstrap and the SQL of the login role."""

import asyncio
from typing import Annotated

import typer

from evercgm.cli.db_compare import drift_command, snapshot_command
from evercgm.cli.db_migrate import migrate_command
from evercgm.cli.db_quarantine import quarantine_app
from evercgm.cli.db_status import status_command
from evercgm.cli.db_target import EnvironmentName, migration_target
from evercgm.cli.db_verify import verify_command
from evercgm.core.errors import BadInput
from evercgm.storage.schema.bootstrap import bootstrap_standalone, login_role_sql

db_app = typer.Typer(help="The database: migrate it, look at it, compare it, its rights.", no_args_is_help=True)
db_app.command("migrate")(migrate_command)
db_app.command("status")(status_command)
db_app.command("verify")(verify_command)
db_app.command("snapshot")(snapshot_command)
db_app.command("drift")(drift_command)
db_app.add_typer(quarantine_app, name="quarantine")


@db_app.command()
def bootstrap(
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Stand in for the host app on an empty PostgreSQL.")
    ] = False,
    environment: EnvironmentName = None,
) -> None:
    """Prepare an empty PostgreSQL of your own: roles, auth functions and the two tables that a host app would have.

    Needs MIGRATION_DATABASE_URL with a role that may make roles and schemas; it will own the tables.
    Roles belong to the whole server: they are made where missing, never changed.
    Refuses, and changes nothing, where a host app is (auth.users), or a role or table has another form.
    A second run does nothing. Then: evercgm db migrate.
    """
    if not standalone:
        raise typer.BadParameter("say --standalone: beside a host app there is nothing to bootstrap")
    with migration_target(environment) as target:
        asyncio.run(bootstrap_standalone(target.dsn.reveal(), setting=target.setting))
    typer.echo("The database is ready for: evercgm db migrate")


@db_app.command("login-role")
def login_role(
    name: Annotated[str, typer.Argument(help="The role's name: lower-case letters, digits, underscores.")] = "evercgm",
) -> None:
    """Print the SQL that makes the service's login role with least rights. Touches no database.

    Run it as an administrator after the migrations, give the role a password, put its address into DATABASE_URL.
    The role inherits nothing, owns nothing, and may become cgm_request and cgm_worker only.
    """
    try:
        text = login_role_sql(name)
    except ValueError as failure:
        raise BadInput("NAME", str(failure)) from None
    typer.echo(text)
