"""``evercgm adopt``: take over connections that the host app made, after a count and a question."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from evercgm.actions import adopt as action
from evercgm.actions.adopt import Found, Left, Outcome, Terms
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.errors import BadInput
from evercgm.core.tokens import Secret
from evercgm.logs import set_up_logs
from evercgm.runtime import Runtime, open_runtime
from evercgm.settings import Settings, require_host_key
from evercgm.storage.host_envelope import Form

FORMS: dict[Form, str] = {
    "host": "sealed by the host app",
    "plain": "in plain text",
    "empty": "without tokens",
    "ours": "sealed by us",
    "unreadable": "cannot be opened",
}
REASONS: dict[Left, str] = {
    "unreadable": "cannot be opened with this key",
    "empty": "hold no tokens",
    "erased": "belong to persons who were erased since: a new sign-in of theirs connects them",
    "no_region": "name no region (give --region)",
    "unknown_region": "name a region that the vendor does not have",
    "region_not_offered": "name a region that is not set up here",
    "gone": "were deleted or connected anew meanwhile",
}
QUESTION = "Their tokens work once: whoever uses one ends the other's access. Is the host app's own sync off?"


@dataclass(frozen=True, slots=True, repr=False)
class Wish:
    """What the command line asks for."""

    provider: str
    region: str | None
    host_key: bytes
    dry_run: bool
    yes: bool
    as_json: bool


def adopt(
    provider: Annotated[str, typer.Option(help="Whose connections.")] = "dexcom",
    region: Annotated[str | None, typer.Option(help="The region of those that name none: us, eu, jp, sandbox.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="The host app's own sync is off: do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Take over the connections that the host app made."""
    settings = find_settings()
    host_key = require_host_key(settings)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise BadInput("--yes", "nobody can be asked here: give it once the host app's own sync is off")
    set_up_logs("WARNING")
    with databases(settings) as found:
        code = asyncio.run(_run(settings, found.service, Wish(provider, region, host_key, dry_run, yes, as_json)))
    raise typer.Exit(code)


async def _run(settings: Settings, service: Secret, wish: Wish) -> int:
    """Look, ask, take over, tell; the exit code."""
    async with open_runtime(settings, service, connections=4) as runtime:
        terms = action.check_terms(runtime.vendors, wish.provider, wish.region, wish.host_key)
        found = await action.look(runtime.db, runtime.vendors, terms)
        if not wish.as_json:
            say_found(found, wish.provider)
        outcome = Outcome(0, found.left)
        if not wish.dry_run:
            action.require_region(runtime.vendors, terms, found)
            if agreed(found, wish.yes):
                outcome = await _take_over(runtime, terms, found)
    _tell(found, outcome, wish)
    return exit_code(found, outcome, wish.dry_run)


def exit_code(found: Found, outcome: Outcome, dry_run: bool) -> int:
    """1 where connections could not be opened (a dry run: where none could), or none of the ready ones was taken."""
    unreadable = outcome.left.get("unreadable", 0)
    if dry_run:
        return 1 if unreadable and not found.ready else 0
    return 1 if unreadable or (found.ready and not outcome.adopted) else 0


def agreed(found: Found, yes: bool) -> bool:
    """Whether to go on; nobody is asked where there is nothing to take over."""
    if yes or not found.ready:
        return True
    return typer.confirm(QUESTION, err=True)


async def _take_over(runtime: Runtime, terms: Terms, found: Found) -> Outcome:
    with progress_bar("connections", found.ready + sum(found.left.values())) as show:
        return await action.adopt(runtime.db, runtime.vendors, terms, show)


def say_found(found: Found, provider: str) -> None:
    """What there is, a line a provider."""
    if not found.forms:
        typer.echo("There is no connection that the host app made.")
    for name, forms in sorted(found.forms.items()):
        counts = ", ".join(f"{forms[form]} {words}" for form, words in FORMS.items() if forms.get(form))
        typer.echo(f"{name}: {counts}" + ("" if name == provider else " (left alone)"))


def _tell(found: Found, outcome: Outcome, wish: Wish) -> None:
    if wish.as_json:
        typer.echo(json.dumps(_as_json(found, outcome, wish.dry_run)))
        return
    typer.echo(f"{found.ready} can be taken over." if wish.dry_run else f"{outcome.adopted} taken over.")
    for reason, count in outcome.left.items():
        typer.echo(f"{count} left alone: they {REASONS[reason]}.")


def _as_json(found: Found, outcome: Outcome, dry_run: bool) -> Mapping[str, object]:
    return {
        "dry_run": dry_run,
        "found": {name: dict(forms) for name, forms in found.forms.items()},
        "ready": found.ready,
        "adopted": outcome.adopted,
        "left": dict(outcome.left),
    }
