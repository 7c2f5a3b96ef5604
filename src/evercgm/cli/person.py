"""``evercgm person`` and ``sign-in``: standalone mode's people."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Annotated

import typer

from evercgm.cli.surroundings import Databases, databases, find_settings, require_migration_url
from evercgm.core.errors import BadInput, SettingsError
from evercgm.runtime import open_runtime
from evercgm.settings import Settings
from evercgm.storage import identity, persons

person_app = typer.Typer(help="People who wear a sensor (standalone mode).", no_args_is_help=True)
JWT_LIFETIME = timedelta(days=1)
Owner = Annotated[str | None, typer.Option(help="The owner's UUID; may be left out where there is one owner.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON.")]


@person_app.command()
def add(label: Annotated[str, typer.Argument(help="A name for the page.")], owner: Owner = None) -> None:
    """Make a person."""
    with databases(find_settings()) as found:
        dsn = require_migration_url(found)
        person = asyncio.run(_add(dsn, owner, label))
    typer.echo(json.dumps({"id": person.id, "label": person.label, "owner_id": person.owner_id}))


async def _add(dsn: str, owner: str | None, label: str) -> persons.Person:
    return await persons.add_person(dsn, _checked(owner) or await persons.the_owner(dsn), label)


@person_app.command("list")
def list_command(owner: Owner = None, as_json: AsJson = False) -> None:
    """List the persons."""
    with databases(find_settings()) as found:
        everyone = asyncio.run(persons.list_persons(require_migration_url(found), _checked(owner)))
    for person in everyone:
        row = {"id": person.id, "label": person.label, "owner_id": person.owner_id}
        typer.echo(json.dumps(row) if as_json else f"{person.id}  {person.label}  (owner {person.owner_id})")


def sign_in(owner: Owner = None, as_json: AsJson = False) -> None:
    """Print a sign-in link for the page: it works once, for 15 minutes."""
    settings = find_settings()
    if settings.supabase is not None:
        raise SettingsError("SUPABASE_URL is set: people sign in at that project; links are for standalone mode")
    with databases(settings) as found:
        link = asyncio.run(_sign_in(settings, found, _checked(owner)))
    typer.echo(json.dumps(link) if as_json else link["url"])


async def _sign_in(settings: Settings, found: Databases, owner: str | None) -> dict[str, str]:
    owner_id = owner or await persons.the_owner(require_migration_url(found))
    return await sign_in_link(settings, found, owner_id)


async def sign_in_link(settings: Settings, found: Databases, owner_id: str) -> dict[str, str]:
    """A one-time link to the page, and a Bearer token valid for a day."""
    async with open_runtime(settings, found.service, connections=2) as runtime:
        token = await identity.sign_in_link(runtime.db, owner_id)
        jwt = identity.issue_jwt(runtime.keys, owner_id, JWT_LIFETIME)
    return {"url": f"{settings.public_url}/sign-in/{token}", "jwt": jwt}


def _checked(owner: str | None) -> str | None:
    try:
        return str(uuid.UUID(owner)) if owner is not None else None
    except ValueError:
        raise BadInput("--owner", "must be a UUID") from None
