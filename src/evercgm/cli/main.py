"""The command ``evercgm``: its groups; whatever goes wrong in one ends here, as one line and an exit code."""

import re
import sys
from collections.abc import Sequence

import typer

from evercgm.cli.adopt import adopt
from evercgm.cli.db import db_app
from evercgm.cli.demo import demo
from evercgm.cli.doctor import doctor
from evercgm.cli.erase import erase
from evercgm.cli.failures import tell
from evercgm.cli.import_file import import_file
from evercgm.cli.keys import keys_app
from evercgm.cli.new_provider import new_provider
from evercgm.cli.person import person_app, sign_in
from evercgm.cli.serve import serve, work
from evercgm.cli.simulate import simulate_app
from evercgm.cli.sync import sync
from evercgm.core.errors import SettingsError

app = typer.Typer(
    name="evercgm",
    help="Connects continuous glucose monitors, once, and never loses a reading.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(demo)
app.command()(serve)
app.command()(work)
app.command()(sync)
app.command()(adopt)
app.command()(erase)
app.command("import")(import_file)
app.command()(doctor)
app.command("sign-in")(sign_in)
app.command("new-provider")(new_provider)
app.add_typer(db_app, name="db")
app.add_typer(keys_app, name="keys")
app.add_typer(person_app, name="person")
app.add_typer(simulate_app, name="simulate")


# A PostgreSQL URL, a password before an @, or libpq's words; not an option such as --host=….
_ADDRESS = re.compile(
    r"postgres(?:ql)?:/|:\S*@|(?<![\w-])(?:password|passfile|host|hostaddr|user|dbname)\s*=", re.IGNORECASE
)


def refuse_addresses(arguments: Sequence[str]) -> None:
    """Raises SettingsError where an argument is the address of a database; no message may repeat it after this."""
    for number, argument in enumerate(arguments, 1):
        if _ADDRESS.search(argument):
            raise SettingsError(
                f"argument {number} looks like the address of a database, and process lists show it: put it into "
                "MIGRATION_DATABASE_URL or DATABASE_URL, or into a variable that evercgm.toml names (--environment "
                "NAME; db drift takes env:VARIABLE, too)"
            )


def main() -> None:
    """Run a command. Exit codes: 0 good, 1 failed, 2 bad use or settings."""
    try:
        refuse_addresses(sys.argv[1:])
        app()
    except Exception as failure:  # noqa: BLE001 - a door
        raise SystemExit(tell(failure)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
