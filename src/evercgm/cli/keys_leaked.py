"""``evercgm keys rekey-leaked``: out from under a key of the host app that others may have."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from evercgm.actions import adopt as adoption
from evercgm.actions import rekey_leaked as action
from evercgm.actions.adopt import Found, Outcome, Terms
from evercgm.actions.rekey_leaked import Exposed, Rekeyed
from evercgm.cli.adopt import FORMS, REASONS, Wish, agreed, exit_code, say_found
from evercgm.cli.progress_bar import progress_bar
from evercgm.cli.surroundings import databases, find_settings
from evercgm.core.errors import BadInput, SettingsError
from evercgm.core.tokens import Secret
from evercgm.logs import set_up_logs
from evercgm.runtime import Runtime, open_runtime
from evercgm.settings import DENIED_KEYS, HOST_KEY, Settings, fingerprint, require_host_key

WAITING = {
    "connected": "wait for their first sync, which renews them (a worker must run)",
    "error": "are failing and not renewed yet (evercgm doctor says more)",
    "disconnected": "are paused: their refresh token works until they are resumed, or disconnected and revoked",
    "expired": "wait for the person to reconnect",
    "refused": "were refused by the vendor: others may have used their tokens; their persons are asked to reconnect",
}
NEVER_OVER = (
    "Access tokens that were handed out before work until they end (Dexcom: two hours).",
    "Backups, dumps and other copies of the database still open with that key: delete those that nobody needs.",
)


def rekey_leaked(
    provider: Annotated[str, typer.Option(help="Whose connections.")] = "dexcom",
    region: Annotated[str | None, typer.Option(help="The region of those that name none: us, eu, jp, sandbox.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="The host app's own sync is off: do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Take over tokens sealed with a leaked key of the host app, have them renewed, say what stays exposed.

    EVERCGM_HOST_ENCRYPTION_KEY is that key, for this run alone; here it may be on the deny-list.
    """
    settings = find_settings(leaked_host_key=True)
    host_key = require_host_key(settings)
    if host_key in settings.keys:
        raise SettingsError(f"{HOST_KEY} is in our own key ring: give ENCRYPTION_KEY a new one first (keys rotate)")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise BadInput("--yes", "nobody can be asked here: give it once the host app's own sync is off")
    set_up_logs("WARNING")
    with databases(settings) as found:
        code = asyncio.run(_run(settings, found.service, Wish(provider, region, host_key, dry_run, yes, as_json)))
    raise typer.Exit(code)


async def _run(settings: Settings, service: Secret, wish: Wish) -> int:
    """Look, ask, take over, look again, tell; the exit code."""
    async with open_runtime(settings, service, connections=4) as runtime:
        terms = adoption.check_terms(runtime.vendors, wish.provider, wish.region, wish.host_key, leaked=True)
        found = await adoption.look(runtime.db, runtime.vendors, terms)
        if not wish.as_json:
            say_found(found, wish.provider)
        done = Rekeyed(Outcome(0, found.left), 0)
        if not wish.dry_run:
            adoption.require_region(runtime.vendors, terms, found)
            if agreed(found, wish.yes):
                done = await _rekey(runtime, terms, found)
        still = await adoption.look(runtime.db, runtime.vendors, terms)
        exposed = await action.exposed(runtime.db, still, terms)
    _tell(settings, found, done, exposed, wish)
    return exit_code(found, done.outcome, wish.dry_run) or (1 if exposed.aside.unreadable else 0)


async def _rekey(runtime: Runtime, terms: Terms, found: Found) -> Rekeyed:
    aside = await action.look_aside(runtime.db, terms)
    with progress_bar("connections", found.ready + sum(found.left.values()) + aside.all) as watch:
        return await action.rekey(runtime.db, runtime.vendors, terms, watch)


def _tell(settings: Settings, found: Found, done: Rekeyed, exposed: Exposed, wish: Wish) -> None:
    name = fingerprint(wish.host_key).hex()
    denied = fingerprint(wish.host_key) in settings.denied_keys
    if wish.as_json:
        typer.echo(json.dumps({**_as_json(found, done, exposed, wish), "fingerprint": name, "denied": denied}))
        return
    if wish.dry_run:
        typer.echo(f"{found.ready} can be taken over, {exposed.aside.ready} that were set aside can be sealed anew.")
    else:
        typer.echo(f"{done.outcome.adopted} taken over, {done.resealed} that were set aside sealed anew.")
    typer.echo("Still exposed:")
    for line in (*_exposed_lines(done, exposed, wish.provider), *NEVER_OVER):
        typer.echo(f"- {line}")
    if denied:
        typer.echo(f"The key is on the deny-list ({name}): nothing else of evercgm takes it.")
        return
    typer.echo("So that nothing of evercgm ever takes this key again, set everywhere:")
    typer.echo(f"{DENIED_KEYS}={','.join(filter(None, (os.environ.get(DENIED_KEYS), name)))}")


def _exposed_lines(done: Rekeyed, exposed: Exposed, provider: str) -> Iterator[str]:
    for reason, count in done.outcome.left.items():
        yield f"{count} connections of {provider} were left alone: they {REASONS[reason]}."
    for name, forms in sorted(exposed.host.items()):
        if name != provider:
            counts = ", ".join(f"{forms[form]} {words}" for form, words in FORMS.items() if forms.get(form))
            yield f"Connections of {name} stay the host app's: {counts}."
    plain = sum(forms.get("plain", 0) for forms in exposed.host.values())
    if plain:
        yield f"{plain} connections of the host app hold tokens in plain text."
    for status, count in exposed.waiting.items():
        yield f"{count} connections that were taken over {WAITING[status]}."
    if exposed.aside.all:
        yield (
            f"{exposed.aside.all} connections were set aside ({exposed.aside.unreadable} of them cannot be opened): "
            "nobody renews their tokens at the vendor (evercgm db quarantine list)."
        )


def _as_json(found: Found, done: Rekeyed, exposed: Exposed, wish: Wish) -> Mapping[str, object]:
    return {
        "dry_run": wish.dry_run,
        "found": {name: dict(forms) for name, forms in found.forms.items()},
        "ready": found.ready,
        "rekeyed": done.outcome.adopted,
        "resealed_aside": done.resealed,
        "left": dict(done.outcome.left),
        "exposed": {
            "host": {name: dict(forms) for name, forms in exposed.host.items()},
            "waiting": dict(exposed.waiting),
            "aside": {"all": exposed.aside.all, "ready": exposed.aside.ready, "unreadable": exposed.aside.unreadable},
        },
    }
