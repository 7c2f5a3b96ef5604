"""``evercgm erase``: delete what the service holds of a person, after a count and a question; again after a restore."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from evercgm.actions import erase as action
from evercgm.actions.erase import Report
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.erasure import Erasure, HostRows, Rows, parse
from evercgm.core.errors import BadInput
from evercgm.core.tokens import Secret
from evercgm.logs import set_up_logs
from evercgm.runtime import open_runtime
from evercgm.settings import Settings
from evercgm.storage.database import Database

WORDS = {
    "connections": "connections with their tokens",
    "syncs": "entries of the sync history",
    "routes": "other ways in",
    "unreadable_records": "records that could not be read",
    "set_aside": "connections that were set aside",
    "sign_ins": "sign-ins under way",
    "jobs": "waiting jobs",
    "settings": "rows of settings",
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the command line asks for."""

    person: str | None
    erasures: Sequence[Erasure] | None
    all_readings: bool
    dry_run: bool
    yes: bool
    as_json: bool


def erase(
    person: Annotated[str | None, typer.Option(help="The person's id.")] = None,
    all_readings: Annotated[bool, typer.Option("--all-readings", help="The host app's readings, too.")] = False,
    list_erased: Annotated[bool, typer.Option("--list", help="Who was erased, and when.")] = False,
    replay: Annotated[Path | None, typer.Option(help="Erase again those of a list, after a restore.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON; of a list, one line for each.")] = False,
) -> None:
    """Erase what the service holds of a person: tokens, connections, history, and the readings that came by it."""
    if sum((person is not None, list_erased, replay is not None)) != 1:
        raise BadInput("--person", "give one of --person ID, --list and --replay FILE")
    if replay is not None and all_readings:
        raise BadInput("--all-readings", "the list says of whom all readings are erased")
    erasures = None if replay is None else _read(replay)
    if not (list_erased or dry_run or yes or sys.stdin.isatty()):
        raise BadInput("--yes", "nobody can be asked here: give it where that is meant")
    set_up_logs("WARNING")
    settings = find_settings()
    wish = _Wish(person, erasures, all_readings, dry_run, yes, as_json)
    with databases(settings) as found:
        raise typer.Exit(asyncio.run(_run(settings, found.service, wish)))


def _read(path: Path) -> list[Erasure]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise BadInput("--replay", f"{path} cannot be read ({type(failure).__name__})") from None
    return parse("--replay", text.split("\n"), datetime.now(UTC))


async def _run(settings: Settings, service: Secret, wish: _Wish) -> int:
    async with open_runtime(settings, service, connections=2) as runtime:
        if wish.person is not None:
            return await _erase(runtime.db, wish.person, wish)
        if wish.erasures is not None:
            return await _replay(runtime.db, wish.erasures, wish)
        for erasure in await action.erased_persons(runtime.db):
            typer.echo(erasure.as_json() if wish.as_json else erasure.as_text())
        return 0


async def _erase(db: Database, person: str, wish: _Wish) -> int:
    """Count, ask, erase, tell."""
    report = await action.look(db, person, all_readings=wish.all_readings)
    if not wish.as_json:
        _tell("To be deleted", report)
    if not wish.dry_run:
        if not (wish.yes or typer.prompt("Type the person's id to delete this for good", err=True) == person):
            raise BadInput("--person", "another id was typed: nothing was deleted")
        report = await action.erase(db, person, all_readings=wish.all_readings)
        if not wish.as_json:
            _tell("Deleted", report)
    if wish.as_json:
        typer.echo(json.dumps({"person_id": person, "dry_run": wish.dry_run, **_as_json([report])}))
    return 0


async def _replay(db: Database, erasures: Sequence[Erasure], wish: _Wish) -> int:
    reports = await action.look_again(db, erasures)
    if not wish.as_json:
        _tell(f"Older than the erasures of {len(erasures)} persons", *reports)
    if not wish.dry_run:
        if not (wish.yes or typer.confirm("Delete this for good?", err=True)):
            raise BadInput("--replay", "nothing was deleted")
        with progress_bar("persons", len(erasures)) as watch:
            reports = await action.replay(db, erasures, watch)
        if not wish.as_json:
            _tell("Deleted", *reports)
    if wish.as_json:
        typer.echo(json.dumps({"persons": len(erasures), "dry_run": wish.dry_run, **_as_json(reports)}))
    return 0


def _tell(title: str, *reports: Report) -> None:
    typer.echo(f"{title}:")
    gone = [(number, f"readings ({source})") for source, number in _by_source(report.erased for report in reports)]
    _print([*gone, *((_sum(name, reports), words) for name, words in WORDS.items())])
    connections = sum(report.kept.connections for report in reports)
    kept = [
        (number, f"readings ({source}; --all-readings deletes them, too)")
        for source, number in _by_source(report.kept for report in reports)
    ]
    typer.echo("Kept, the host app's own:")
    _print([*kept, (connections, "connections that it made")])


def _print(lines: Iterable[tuple[int, str]]) -> None:
    shown = [f"{number:>10} {words}" for number, words in lines if number]
    typer.echo("\n".join(shown or [f"{'nothing':>10}"]))


def _as_json(reports: Sequence[Report]) -> dict[str, object]:
    """The sum of them."""
    return {
        "erased": {
            "readings": dict(_by_source(report.erased for report in reports)),
            **{name: _sum(name, reports) for name in WORDS},
        },
        "kept": {
            "readings": dict(_by_source(report.kept for report in reports)),
            "connections": sum(report.kept.connections for report in reports),
        },
    }


def _sum(name: str, reports: Sequence[Report]) -> int:
    return sum(getattr(report.erased, name) for report in reports)


def _by_source(rows: Iterable[Rows | HostRows]) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for one in rows:
        total.update(one.readings)
    return sorted(total.items())
