"""``evercgm doctor``: what is wrong here, line by line, and the command that mends it."""

import asyncio
import json
import secrets
from dataclasses import asdict
from typing import Annotated

import typer

from evercgm.actions import checkup
from evercgm.actions.checkup import Check
from evercgm.actions.checkup_load import check_load
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.errors import SettingsError
from evercgm.core.tokens import Secret
from evercgm.logs import set_up_logs
from evercgm.runtime import vendor_apps
from evercgm.settings import Settings
from evercgm.storage import embedded
from evercgm.storage.database import open_database
from evercgm.storage.vault import Vault


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False) -> None:
    """Look at settings, keys, database, clock, work, vendors; changes nothing. Exit codes: 0, 1 failed, 2 unknown."""
    set_up_logs("ERROR")
    checks = _checks()
    if as_json:
        typer.echo(json.dumps({"checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            typer.echo(f"{check.status:<8}{check.id:<24}{check.found}")
            if check.mend:
                typer.echo(f"{'':<8}{'':<24}-> {check.mend}")
    raise typer.Exit(checkup.exit_code(checks))


def _checks() -> list[Check]:
    try:
        settings = find_settings()
    except SettingsError as failure:
        return [Check("settings", "fail", str(failure), "set it as said, then: evercgm doctor")]
    good = Check("settings", "ok", f"they can be read; people reach us at {settings.public_url}")
    return [good, checkup.check_keys(settings), *_in_database(settings), *_at_vendors(settings)]


def _in_database(settings: Settings) -> list[Check]:
    """An embedded server is not started for this: that would make it, or bring it up to date."""
    if settings.database_url is None and not embedded.is_running(settings.data_dir):
        text = "DATABASE_URL is not set, and no PostgreSQL of our own runs here"
        return [Check("database", "unknown", text, "evercgm serve (or: evercgm demo), then again: evercgm doctor")]
    with databases(settings) as found:
        return asyncio.run(_look_inside(settings, found.service))


async def _look_inside(settings: Settings, dsn: Secret) -> list[Check]:
    first = await checkup.check_database(dsn.reveal())
    if first.status != "ok":
        return [first]
    # Nothing is opened here, so any key will do where there is none.
    vault = Vault(settings.keys[0] if settings.keys else secrets.token_bytes(32))
    async with open_database(dsn.reveal(), vault, largest=1) as db:
        apps = vendor_apps(settings)
        return [first, *await checkup.check_inside(db, settings, apps), *await check_load(db, apps)]


def _at_vendors(settings: Settings) -> list[Check]:
    return asyncio.run(checkup.check_hosts(vendor_apps(settings)))
