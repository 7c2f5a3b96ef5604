"""``evercgm db verify``: what was expected, what was found, why it matters, and what to do; changes nothing."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from evercgm.cli.db_target import EnvironmentName, reading_target
from evercgm.cli.surroundings import find_settings
from evercgm.storage.schema.told import as_line
from evercgm.storage.schema.verify import Wish, role_of, verify_at
from evercgm.storage.schema.verify_findings import Check, Expect, exit_code
from evercgm.storage.schema.verify_words import WORDS
from evercgm.storage.vault import key_id

_SHORT = 160
_MARKS = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "unknown": "?"}


def verify_command(
    expect: Annotated[
        Expect, typer.Option(help="The form it should have: as the report found the two, or finished.")
    ] = "target",
    compat: Annotated[
        bool, typer.Option("--compat", help="The grants of the first form were kept: say which gaps stay open.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Also try it with two made-up people, in a transaction that is rolled back.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    environment: EnvironmentName = None,
) -> None:
    """Check the database against the form it should have. Exit codes: 0 good, 1 failed, 2 cannot tell."""
    settings = find_settings()
    known = settings.database_url if environment is None else None
    wish = Wish(
        expect,
        compat,
        live,
        strict,
        key_ids=[key_id(key) for key in settings.keys],
        service_role=None if known is None else role_of(known.reveal()),
    )
    with reading_target(environment) as target:
        checks = asyncio.run(verify_at(target.dsn.reveal(), target.setting, wish))
    typer.echo(_as_json(checks) if as_json else _as_text(checks, wish))
    raise typer.Exit(exit_code(checks))


def _as_json(checks: Sequence[Check]) -> str:
    fields = ("id", "status", "object", "expected", "found")
    return json.dumps({"checks": [{name: getattr(check, name) for name in fields} for check in checks]})


def _as_text(checks: Sequence[Check], wish: Wish) -> str:
    lines = [as_line(line) for check in checks for line in _lines(check)]
    return "\n".join([*lines, "", _summary(checks, wish)])


def _lines(check: Check) -> list[str]:
    words = WORDS[check.id]
    first = f"{_MARKS[check.status]:<5}{check.id:<3} {words.title}: {check.object}"
    if check.status == "ok":
        return [f"{first}: {_short(check.expected)}: {_short(check.found)}"]
    return [
        first,
        f"         expected  {check.expected}",
        f"         found     {check.found}",
        f"         why       {check.why or words.why}",
        f"         do        {check.mend or words.mend}",
    ]


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _summary(checks: Sequence[Check], wish: Wish) -> str:
    counts = Counter(check.status for check in checks)
    told = f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failed, {counts['unknown']} unknown"
    verdict = {
        0: f"this database is as expected ({wish.expect})",
        1: f"this database is not as expected ({wish.expect})",
    }
    return f"{told}: {verdict.get(exit_code(checks), 'not everything could be told')}."
