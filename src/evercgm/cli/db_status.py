"""``evercgm db status``: what is recorded and what is there in each named database, and the command that mends it."""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from evercgm.cli.db_target import reading_target
from evercgm.cli.surroundings import find_settings
from evercgm.core.errors import EvercgmError
from evercgm.storage.schema.catalog import snapshot_at
from evercgm.storage.schema.environments import (
    Environment,
    Environments,
    dsn_of_variable,
    read_environments,
    variable_of,
)
from evercgm.storage.schema.status import Seen, Status, exit_code, statuses_of
from evercgm.storage.schema.told import as_line

_RECORDED = {True: "recorded", False: "not recorded", None: "?"}
_OBJECTS = {"all": "all there", "some": "partly there", "none": "not there", "different": "in another form"}


def status_command(
    environments: Annotated[
        Path | None,
        typer.Option(help="The file that names the databases (default: EVERCGM_ENVIRONMENTS, else evercgm.toml here)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Tell for each named database what is recorded, what is there, and the command that mends it. Changes nothing.

    Without a file: the one database of MIGRATION_DATABASE_URL, else DATABASE_URL.
    Exit codes: 0 nothing to do, 1 something to mend, 2 a database could not be reached or read.
    """
    settings = find_settings()
    file = environments or settings.environments
    if environments is not None or file.is_file():
        statuses = asyncio.run(_look_at_all(read_environments(file)))
    else:
        statuses = _look_at_one()
    typer.echo(_as_json(statuses) if as_json else _as_text(statuses))
    raise typer.Exit(exit_code(statuses))


def _look_at_one() -> list[Status]:
    with reading_target() as target:
        snapshot = asyncio.run(snapshot_at(target.dsn.reveal(), target.setting))
    return statuses_of([Seen(target.setting, snapshot)], None)


async def _look_at_all(environments: Environments) -> list[Status]:
    """All at once; one that cannot be reached does not keep the others."""
    found = await asyncio.gather(*(_look_at(one) for one in environments.named))
    reached = statuses_of([one for one in found if isinstance(one, Seen)], environments.host_migrations)
    by_name = {one.name: one for one in (*reached, *(one for one in found if isinstance(one, Status)))}
    return [by_name[one.name] for one in environments.named]


async def _look_at(environment: Environment) -> Seen | Status:
    if environment.decommissioned is not None:
        return Status(environment.name, "decommissioned", environment.decommissioned)
    variable = variable_of(environment)
    try:
        snapshot = await snapshot_at(dsn_of_variable(variable, os.environ).reveal(), variable)
    except EvercgmError as failure:
        return Status(environment.name, "unreachable", str(failure))
    return Seen(environment.name, snapshot, f" --environment {environment.name}")


def _as_json(statuses: Sequence[Status]) -> str:
    return json.dumps({"environments": [asdict(status) for status in statuses]}, ensure_ascii=False)


def _as_text(statuses: Sequence[Status]) -> str:
    return "\n\n".join("\n".join(as_line(line) for line in _block(status)) for status in statuses)


def _block(status: Status) -> list[str]:
    if status.reach != "reached":
        return [f"{status.name}: {status.reach}: {status.reason}"]
    lines = [f"{status.name}: PostgreSQL {status.server_version}"]
    lines += _with_mends(
        (f"  {row.version} {row.name:<22} {_RECORDED[row.recorded]:<13} {_OBJECTS[row.objects]}", row.mend)
        for row in status.rows
    )
    if status.host:
        lines += ["  In the host app's own history:"]
        lines += _with_mends((f"  {one.version} {one.name}: {one.state}", one.mend) for one in status.host)
        reasons = {one.state: one.why for one in status.host if one.why}
        lines += [f"  ({state}: {why})" for state, why in reasons.items()]
    return lines


def _with_mends(rows: Iterable[tuple[str, str | None]]) -> list[str]:
    """The lines; a mend that several in a row share is said once, below them."""
    lines: list[str] = []
    for mend, group in groupby(rows, key=itemgetter(1)):
        lines += [line for line, _ in group]
        lines += [] if mend is None else [f"    -> {mend}"]
    return lines
