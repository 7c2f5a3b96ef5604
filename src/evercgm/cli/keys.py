"""``evercgm keys …``: the keys that seal tokens at rest."""

import typer

from evercgm.cli.keys_leaked import rekey_leaked

keys_app = typer.Typer(help="The keys that seal tokens at rest.", no_args_is_help=True)
keys_app.command("rekey-leaked")(rekey_leaked)
