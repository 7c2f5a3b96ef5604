"""``evercgm import``: a file that was exported at a vendor into a person's readings, with a progress bar."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from evercgm.actions.import_file import Report, import_for
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.errors import AnswerNeeded, BadInput
from evercgm.core.tokens import Secret
from evercgm.file_imports.parsed import Answers
from evercgm.logs import set_up_logs
from evercgm.runtime import open_runtime
from evercgm.settings import Settings

OPTIONS = {"time_zone": "--time-zone", "date_order": "--date-order", "unit": "--unit", "file": "FILE"}
# More of them are told by the API; nobody reads 400 zones in a terminal.
MOST_CHOICES = 5


def import_file(
    file: Annotated[Path, typer.Argument(help="The CSV file of Dexcom Clarity, LibreView or Medtronic CareLink.")],
    person: Annotated[str, typer.Option(help="The person's id.")],
    time_zone: Annotated[str | None, typer.Option(help="Of the device's clock, such as Europe/Berlin.")] = None,
    unit: Annotated[str | None, typer.Option(help="mg/dL or mmol/L, where the file does not say.")] = None,
    date_order: Annotated[
        str | None, typer.Option(help="day_first or month_first, where the file's dates fit both.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Import an exported file: all of it, or nothing. The same file again adds nothing."""
    set_up_logs("WARNING")
    settings = find_settings()
    answers = Answers(time_zone, date_order, unit)
    try:
        with databases(settings) as found:
            report = asyncio.run(_run(settings, found.service, person, file, answers))
    except BadInput as refused:
        raise _as_option(refused) from None
    typer.echo(json.dumps(_facts(report)) if as_json else _words(report))


async def _run(settings: Settings, service: Secret, person: str, path: Path, answers: Answers) -> Report:
    try:
        file = path.open("rb")
    except OSError as failure:
        raise BadInput("file", f"{path} cannot be read ({type(failure).__name__})") from None
    with file, progress_bar("readings stored") as show:
        async with open_runtime(settings, service, connections=2) as runtime:
            return await import_for(
                runtime.db, person, file, answers, datetime.now(UTC), lambda progress: show(*progress)
            )


def _as_option(refused: BadInput) -> BadInput:
    """The same, named as it is written on the command line."""
    message = refused.message
    if isinstance(refused, AnswerNeeded) and len(refused.choices) <= MOST_CHOICES:
        message += f" ({', '.join(refused.choices)})"
    return BadInput(OPTIONS.get(refused.field, refused.field), message)


def _facts(report: Report) -> dict[str, object]:
    return {
        "format": report.format.code,
        "unit": report.unit,
        "imported": report.imported,
        "known": report.known,
        "corrected": report.corrected,
        "skipped": sum(report.skipped.values()),
        "first": report.first.isoformat() if report.first else None,
        "last": report.last.isoformat() if report.last else None,
        "connection_id": report.connection_id,
    }


def _words(report: Report) -> str:
    if report.first is None or report.last is None:
        return f"{report.format.title}: the file has no readings of a sensor; nothing was changed"
    return (
        f"{report.format.title}, {report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}: {report.imported:,} imported, "
        f"{report.known:,} known already ({report.corrected:,} corrected), "
        f"{sum(report.skipped.values()):,} lines skipped"
    )
