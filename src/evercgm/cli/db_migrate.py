"""``evercgm db migrate``: what would be done (``--plan``), or doing it, file by file."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from evercgm.cli.db_target import EnvironmentName, Target, migration_target, option_of, reading_target
from evercgm.core.errors import BadInput
from evercgm.storage.schema.mending import mend_of
from evercgm.storage.schema.migrate import Applied, Plan, migrate, plan
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.plan import Action, Step
from evercgm.storage.schema.preview import Spelling
from evercgm.storage.schema.repair import Repaired, repair
from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.told import as_line

_ACTIONS: dict[Action, str] = {
    "apply": "apply",
    "complete": "complete: a part is there",
    "adopt": "already existed: record it",
    "nothing": "nothing to do",
    "stop": "stop: drift",
}
_SHOWN = 6
_LIST = "evercgm db quarantine list"


class Unknown(StrEnum):
    """What happens to connections whose provider no alias names."""

    ABORT = "abort"
    QUARANTINE = "quarantine"


def migrate_command(
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and what stands in the way. Changes nothing.")
    ] = False,
    unknown: Annotated[
        Unknown,
        typer.Option(help="Connections whose provider no alias names: stop, or put them aside with their readings."),
    ] = Unknown.ABORT,
    compat: Annotated[
        bool, typer.Option("--compat", help="Keep the old grants: the host's own client reads tokens as a person.")
    ] = False,
    version: Annotated[
        str | None,
        typer.Option(
            "--repair",
            metavar="VERSION",
            help="Only make again what is missing of this recorded migration (db status names it).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    environment: EnvironmentName = None,
) -> None:
    """Bring the database to our form, file by file, each whole or not at all; a second run does nothing.

    What is there already is compared and recorded; another form stops the run. What is missing of a recorded
    migration stops it, too: --repair VERSION makes it again.
    Needs the role that owns the tables, on the direct or session port (MIGRATION_DATABASE_URL).
    Exit codes: 0 good, 1 stopped (of --plan: it would stop), 2 the database cannot be reached or changed.
    """
    if version is not None:
        _repair(_known(version, only_plan), unknown, compat, as_json, environment)
        return
    if only_plan:
        with reading_target(environment) as target:
            found = asyncio.run(plan(target.dsn.reveal(), unknown=unknown.value, compat=compat, setting=target.setting))
        option = option_of(environment)
        typer.echo(_plan_as_json(found, option) if as_json else _plan_as_text(found, unknown, option))
        raise typer.Exit(1 if found.would_stop else 0)
    with migration_target(environment) as target:
        applied = _run(target, unknown, compat, report=_mute if as_json else typer.echo)
    typer.echo(_applied_as_json(applied) if as_json else _summary(applied))


def _known(version: str, only_plan: bool) -> str:
    own = [one.version for one in migrations()]
    if version not in own:
        raise BadInput("--repair", f"no migration of ours has this version; expected one of {', '.join(own)}")
    if only_plan:
        raise BadInput("--plan", "say it without --repair: it names what is missing of each")
    return version


def _repair(version: str, unknown: Unknown, compat: bool, as_json: bool, environment: str | None) -> None:
    report = _mute if as_json else typer.echo
    with migration_target(environment) as target:
        dsn, setting = target.dsn.reveal(), target.setting
        done = asyncio.run(repair(dsn, version, unknown=unknown.value, compat=compat, report=report, setting=setting))
    typer.echo(_repaired_as_json(done) if as_json else _repaired_as_text(done, option_of(environment)))


def _repaired_as_json(done: Repaired) -> str:
    left = [one.version for one in done.left]
    return json.dumps({"repaired": {"version": done.version, "name": done.name, "made": done.made, "left": left}})


def _repaired_as_text(done: Repaired, option: str) -> str:
    if not done.made:
        lines = [f"{done.version} {done.name}: nothing is missing. Nothing was changed."]
    else:
        lines = [f"{done.version} {done.name}: made again:", *(f"  {as_line(one)}" for one in done.made)]
    lines += [f"{one.version} {one.name} is not whole: {mend_of(one, option)}" for one in done.left]
    return "\n".join([*lines, f"Then: evercgm db verify{option}"])


def _run(target: Target, unknown: Unknown, compat: bool, report: Callable[[str], None]) -> list[Applied]:
    return asyncio.run(
        migrate(target.dsn.reveal(), unknown=unknown.value, compat=compat, report=report, setting=target.setting)
    )


def _mute(_line: str) -> None:
    pass


def _summary(applied: Sequence[Applied]) -> str:
    if not applied:
        return "The database is up to date."
    aside = sum(one.put_aside for one in applied)
    words = f"{len(applied)} migration{'s' if len(applied) > 1 else ''} recorded."
    return f"{words} {aside} connections were put aside: {_LIST}" if aside else words


def _applied_as_json(applied: Sequence[Applied]) -> str:
    return json.dumps({"applied": [asdict(one) for one in applied]}, ensure_ascii=False)


def _plan_as_json(found: Plan, option: str) -> str:
    document = {
        "would_stop": found.would_stop,
        "migrations": [_step_as_json(step, found, option) for step in found.steps],
        "host_migrations": [{"version": version, "name": name} for version, name in found.foreign],
        "spellings": [asdict(one) for one in found.spellings],
    }
    return json.dumps(document, ensure_ascii=False)


def _step_as_json(step: Step, found: Plan, option: str) -> dict[str, Any]:
    return {
        "version": step.version,
        "name": step.name,
        "recorded": step.recorded,
        "action": step.action,
        "there": step.there,
        "missing": [str(key) for key in step.absent()],
        "to_change": [str(one) for one in step.outdated],
        "in_another_form": [str(one) for one in step.wrong],
        "mend": mend_of(step, option) if step.recorded and step.action == "stop" else None,
        "obstacles": [one.words for one in found.obstacles if one.version == step.version],
    }


def _plan_as_text(found: Plan, unknown: Unknown, option: str) -> str:
    lines = [line for step in found.steps for line in _step_lines(step, found, option)]
    if found.spellings:
        lines += ["", "Spellings of provider, and what becomes of them:"]
        lines += [_spelling_line(one, unknown) for one in found.spellings]
    if found.foreign:
        lines += ["", "Recorded by the host app:"]
        lines += [f"  {version} {name}" for version, name in found.foreign]
    todo = [step for step in found.steps if step.action != "nothing"]
    verdict = "A run would stop." if found.would_stop else "A run would succeed." if todo else "Nothing to do."
    return "\n".join([*lines, "", f"{verdict} Nothing was changed."])


def _step_lines(step: Step, found: Plan, option: str) -> list[str]:
    """What is there, missing, and in the way; of a file that is yet to be applied as a whole, only counts."""
    counts = {"there": step.there, "missing": len(step.absent()), "to change": len(step.outdated)}
    counts["in another form"] = len(step.wrong)
    lines = [
        f"{step.version} {step.name}: {_ACTIONS[step.action]}",
        f"    {'recorded' if step.recorded else 'not recorded'}; of its objects "
        + ", ".join(f"{count} {words}" for words, count in counts.items() if count),
    ]
    if step.action in ("complete", "stop"):
        lines += _shortened([f"missing: {key}" for key in _without_parts(step.absent())])
        lines += [f"    to change: {one}" for one in step.outdated]
    lines += [f"    in another form: {one}" for one in step.wrong]
    lines += [f"    in the way: {one.words}" for one in found.obstacles if one.version == step.version]
    lines += [f"    -> {mend_of(step, option)}"] if step.recorded and step.action == "stop" else []
    return lines


def _without_parts(keys: Sequence[Key]) -> list[Key]:
    """Without what comes along with a table that is missing as a whole."""
    tables = tuple(f"{key.name}{mark}" for key in keys if key.kind == "table" for mark in (".", " "))
    return [key for key in keys if not key.name.startswith(tables)]


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return [f"    {line}" for line in lines[:_SHOWN]] + ([f"    and {more} more missing"] if more > 0 else [])


def _spelling_line(one: Spelling, unknown: Unknown) -> str:
    start = f"  {one.text!r} ({_counted(one.connections, 'connection')}): "
    if one.becomes is None:
        if unknown is Unknown.ABORT:
            return start + "unknown: a run stops"
        return start + f"unknown: quarantine; readings left without connection: {one.readings}"
    words = [f"kept as {one.becomes}"] if one.second < one.connections else []
    if one.second:
        words.append(f"a person's second {one.becomes}, {one.second}: quarantine; readings moved: {one.readings}")
    return start + "; ".join(words)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
