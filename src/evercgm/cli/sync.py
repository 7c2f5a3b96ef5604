"""``evercgm sync``: one sync now, in the foreground, with a progress bar."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from evercgm.actions.endings import Result
from evercgm.actions.sync import Progress as Step
from evercgm.actions.sync import sync_connection
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import Databases, databases, find_settings
from evercgm.core.errors import BadInput
from evercgm.logs import set_up_logs
from evercgm.runtime import open_runtime
from evercgm.settings import Settings

Window = tuple[datetime | None, datetime | None]


def sync(
    connection: Annotated[str, typer.Argument(help="The connection's id.")],
    start: Annotated[str | None, typer.Option("--from", help="Read again from here (RFC 3339, with zone).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Read again up to here (RFC 3339, with zone).")] = None,
) -> None:
    """Sync one connection now."""
    window = (_instant("--from", start), _instant("--to", end))
    if window[0] and window[0] >= (window[1] or datetime.now(UTC)):
        raise BadInput("--from", "must be before --to, and not in the future")
    settings = find_settings()
    set_up_logs("WARNING")
    with databases(settings) as found:
        result = asyncio.run(_sync(settings, found, connection, window))
    if result is None:
        raise BadInput("CONNECTION", "there is no such connection here that evercgm syncs")
    saved = result.saved
    typer.echo(
        f"{result.outcome}: {saved.fetched} read, {saved.inserted} new, {saved.updated} corrected, "
        f"{saved.rejected} set aside" + (f" ({result.reason})" if result.reason else "")
    )
    raise typer.Exit(1 if result.outcome == "failed" else 0)


async def _sync(settings: Settings, found: Databases, connection: str, window: Window) -> Result | None:
    with progress_bar("windows read") as show:

        def watch(step: Step) -> None:
            show(step.done, step.windows)

        async with open_runtime(settings, found.service, connections=4) as runtime:
            return await sync_connection(
                runtime.db, runtime.vendors, connection, trigger="command", window=window, watch=watch
            )


def _instant(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(field, "must be a time such as 2026-11-24T08:00:00Z") from None
    if instant.tzinfo is None:
        raise BadInput(field, "needs a zone, such as the Z of 2026-11-24T08:00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise BadInput(field, "must be a time between the years 1 and 9999") from None
