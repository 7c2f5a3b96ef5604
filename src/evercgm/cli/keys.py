"""``evercgm keys …``: make a key, see which keys the stored secrets need, move them all to the newest."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from evercgm.actions import rotate_keys as action
from evercgm.actions.renew_tokens import renew_all
from evercgm.actions.rotate_keys import Rotation, Step, Watch
from evercgm.cli.failures import CANNOT_TELL, tell
from evercgm.cli.keys_leaked import rekey_leaked
from evercgm.cli.keys_words import as_json, tell_inventory, tell_keys, tell_renewal, tell_rotation
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.errors import BadInput
from evercgm.core.tokens import Secret
from evercgm.logs import set_up_logs
from evercgm.runtime import make_vault
from evercgm.settings import KEY_BYTES
from evercgm.storage.database import Database, open_database
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.storage.vault import Vault, key_id

Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]
Found = TypeVar("Found")
NEXT_STEPS = """This is key {key_id}; nothing has stored it. For a first installation: ENCRYPTION_KEY is this key.
To replace a key: 1. add this one to ENCRYPTION_KEYS_PREVIOUS of every serve and work, and restart them all;
2. make it ENCRYPTION_KEY and move the old one to ENCRYPTION_KEYS_PREVIOUS, everywhere; 3. evercgm keys rotate.
"""

keys_app = typer.Typer(help="The keys that stored tokens are sealed with.", no_args_is_help=True)
keys_app.command("rekey-leaked")(rekey_leaked)


@keys_app.command("new")
def new(json_wanted: Json = False) -> None:
    """Print a new key: 32 random bytes as 64 hex digits, alone on stdout."""
    key = secrets.token_bytes(KEY_BYTES)
    typer.echo(json.dumps({"key": key.hex(), "key_id": key_id(key)}) if json_wanted else key.hex())
    typer.echo(NEXT_STEPS.format(key_id=key_id(key)), err=True, nl=False)


@keys_app.command("status")
def status(json_wanted: Json = False) -> None:
    """Open every stored secret once and count, by place, form and key. Exit codes: 0, 1 some do not open, 2 unknown."""
    try:
        found = _with_database(action.look)
    except Exception as failure:  # noqa: BLE001 - a door: what is not known is no failure of the keys
        raise typer.Exit(tell(failure, without_database=CANNOT_TELL)) from None
    if json_wanted:
        typer.echo(json.dumps(as_json(found)))
    else:
        tell_inventory(found)
        tell_keys(found)
    raise typer.Exit(1 if found.unopened else 0)


@keys_app.command("rotate")
def rotate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    json_wanted: Json = False,
) -> None:
    """Seal everything anew with ENCRYPTION_KEY, while the service runs. Exit codes: 0, 1 not all, 2 bad use."""
    done = Rotation({}, _with_database(action.look)) if dry_run else _with_database(action.rotate)
    if json_wanted:
        typer.echo(json.dumps({"dry_run": dry_run, "resealed": dict(done.resealed), **as_json(done.left)}))
    else:
        tell_rotation(done, dry_run)
    failed = done.left.unopened if dry_run else not done.left.finished
    raise typer.Exit(1 if failed else 0)


@keys_app.command("renew")
def renew(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, json_wanted: Json = False) -> None:
    """After database and key were seen together: have every token renewed at its vendor, which ends those before."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("--yes", "nobody can be asked here: give it to have all tokens renewed")
        typer.confirm("Each connection calls its vendor for new tokens at once. Go on?", abort=True, err=True)
    kinds = _with_database(lambda db, watch: renew_all(db, lambda done: watch(Step(done, done))))
    if json_wanted:
        typer.echo(json.dumps({"renewed_at_next_call": kinds}))
    else:
        tell_renewal(kinds)


def _with_database(act: Callable[[Database, Watch], Awaitable[Found]]) -> Found:
    """Do it beside whatever runs, with a bar over the rows."""
    settings = find_settings()
    vault = make_vault(settings)
    set_up_logs("WARNING")
    with databases(settings) as found:
        return asyncio.run(_in(found.service, vault, act))


async def _in(dsn: Secret, vault: Vault, act: Callable[[Database, Watch], Awaitable[Found]]) -> Found:
    await refuse_too_much(dsn.reveal())
    async with open_database(dsn.reveal(), vault, largest=1) as db:
        with progress_bar("rows") as show:
            return await act(db, lambda step: show(step.done, step.rows))
