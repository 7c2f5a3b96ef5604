"""``evercgm db snapshot`` and ``db drift``: the shape of a database as a file, and how two of them differ."""

import asyncio
import os
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evercgm.cli.db_target import EnvironmentName, reading_target
from evercgm.cli.surroundings import find_settings
from evercgm.core.errors import BadInput, SettingsError
from evercgm.settings import Settings
from evercgm.storage.schema.catalog import snapshot_at
from evercgm.storage.schema.drift_report import Party, as_json, as_markdown, as_text, compare
from evercgm.storage.schema.environments import (
    dsn_of_variable,
    find_environment,
    read_environments,
    variable_of,
)
from evercgm.storage.schema.reach import DatabaseFailed
from evercgm.storage.schema.snapshot import NoSnapshot, Snapshot, from_json, to_json

_BY_VARIABLE = "env:"


class Format(StrEnum):
    """How a comparison is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def snapshot_command(
    out: Annotated[Path | None, typer.Option(help="Where to write it; left out: to the terminal.")] = None,
    environment: EnvironmentName = None,
) -> None:
    """Write the shape of a database as JSON: no rows, tokens, hosts or project ids. Changes nothing.

    Two snapshots of the same shape are the same, byte for byte, on any server of the same version.
    """
    with reading_target(environment) as target:
        text = to_json(asyncio.run(snapshot_at(target.dsn.reveal(), target.setting)))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as failure:
        raise BadInput("--out", f"{out} cannot be written ({failure.strerror})") from None
    typer.echo(f"Written: {out}")


def drift_command(
    first: Annotated[str, typer.Argument(metavar="A", help="The one: see B.")],
    second: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="The other: a file of `db snapshot`, an environment's name, or env:VARIABLE that holds an address.",
        ),
    ],
    form: Annotated[Format, typer.Option("--format", help="For people, programs, or a page.")] = Format.TEXT,
) -> None:
    """Tell how two databases differ, the worst first, and what closes each difference. Changes nothing.

    Exit codes: 0 equal, 1 they differ, 2 cannot tell.
    """
    settings = find_settings()
    one, other = _party(settings, "A", first), _party(settings, "B", second)
    if one.name == other.name:
        one, other = replace(one, name=first), replace(other, name=second)
    report = compare(one, other)
    printed = {Format.TEXT: as_text, Format.JSON: as_json, Format.MARKDOWN: as_markdown}[form]
    typer.echo(printed(report))
    raise typer.Exit(report.exit_code)


def _party(settings: Settings, argument: str, given: str) -> Party:
    """One of the two. Raises BadInput or SettingsError where it is none."""
    if given.startswith(_BY_VARIABLE):
        return Party(given, _look(given.removeprefix(_BY_VARIABLE)))
    if settings.environments.is_file():
        named = read_environments(settings.environments)
        if given in [one.name for one in named.named]:
            return Party(given, _look(variable_of(find_environment(named, given))), is_environment=True)
    return Party(Path(given).stem, _read(argument, Path(given)))


def _look(variable: str) -> Snapshot:
    dsn = dsn_of_variable(variable, os.environ)
    try:
        return asyncio.run(snapshot_at(dsn.reveal(), variable))
    except DatabaseFailed as failure:
        # Nothing differs and nothing is equal: it cannot be told.
        raise SettingsError(str(failure)) from None


def _read(argument: str, file: Path) -> Snapshot:
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(argument, "no such file, and no environment of that name is known") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise BadInput(argument, f"this file cannot be read ({type(failure).__name__})") from None
    except NoSnapshot as failure:
        raise BadInput(argument, str(failure)) from None
    except RecursionError:
        raise BadInput(argument, "this is no snapshot: nested too deep") from None
