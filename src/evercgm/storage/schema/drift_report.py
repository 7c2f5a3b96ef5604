"""The differences between two databases for people (text), for a page (Markdown), for programs (JSON)."""

import json
import re
from collections import Counter
from dataclasses import dataclass

from evercgm.storage.schema.drift import Difference, Severity, Side, differences, is_certain
from evercgm.storage.schema.mending import repair_of
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.snapshot import Snapshot
from evercgm.storage.schema.told import as_line

_SEVERITIES: tuple[Severity, ...] = ("breaks", "weakens", "cosmetic")
_NOT_THERE = "not there"


@dataclass(frozen=True, slots=True)
class Party:
    """One of the two: its name as it was given, its shape, and whether ``--environment`` knows the name."""

    name: str
    snapshot: Snapshot
    is_environment: bool = False

    @property
    def option(self) -> str:
        """How a command is pointed at it; nothing where only the caller knows."""
        return f" --environment {self.name}" if self.is_environment else ""


@dataclass(frozen=True, slots=True)
class Report:
    """The two, and how they differ."""

    first: Party
    second: Party
    found: tuple[Difference, ...]
    certain: bool

    @property
    def exit_code(self) -> int:
        """0 equal, 1 differences, 2 cannot tell."""
        return 1 if self.found else 0 if self.certain else 2


def compare(first: Party, second: Party) -> Report:
    """The report of two databases."""
    found = tuple(differences(first.snapshot, second.snapshot))
    return Report(first, second, found, is_certain(first.snapshot, second.snapshot))


def as_text(report: Report) -> str:
    """For a terminal."""
    blocks = [_block(report, one) for one in report.found]
    lines = [_headline(report), *_doubts(report), *(line for block in blocks for line in ("", *block))]
    return "\n".join(as_line(line) for line in lines)


def as_markdown(report: Report) -> str:
    """For a page: a table of all, then each definition in full."""
    first, second = as_line(report.first.name), as_line(report.second.name)
    lines = [f"# {first} and {second}", "", *(as_line(line) for line in (_headline(report), *_doubts(report)))]
    lines += [
        "",
        f"- {first}: {_server(report.first)}",
        f"- {second}: {_server(report.second)}",
    ]
    if report.found:
        lines += ["", "| severity | what | change | closed by |", "| --- | --- | --- | --- |"]
        lines += [_row(report, one) for one in report.found]
        for one in report.found:
            lines += ["", f"## {_code(str(one.key))}", ""]
            lines += [f"- {first}: {_code(one.first or _NOT_THERE)}"]
            lines += [f"- {second}: {_code(one.second or _NOT_THERE)}"]
    return "\n".join(lines)


def _row(report: Report, one: Difference) -> str:
    cells = (_code(str(one.key)), _cell(_where(report, one)), _cell(closing(report, one)))
    return f"| {one.severity} | {' | '.join(cells)} |"


def as_json(report: Report) -> str:
    """One line."""
    document = {
        "first": _party_as_json(report.first),
        "second": _party_as_json(report.second),
        "equal": not report.found and report.certain,
        "certain": report.certain,
        "differences": [
            {
                "change": one.change,
                "severity": one.severity,
                "kind": one.key.kind,
                "name": one.key.name,
                "first": one.first,
                "second": one.second,
                "closed_by": one.closed_by,
                "behind": [_party(report, side).name for side in one.behind],
                "closing": closing(report, one),
            }
            for one in report.found
        ],
    }
    return json.dumps(document, ensure_ascii=False)


def closing(report: Report, one: Difference) -> str:
    """What closes a difference, in words, with the command."""
    if one.key.kind == "history":
        return _closing_history(report, one)
    if one.severity == "cosmetic":
        return "nothing to close: both forms mean the same"
    if one.key.kind == "default privileges":
        return "a setting of the project: nothing of ours depends on it once it is migrated"
    if one.closed_by is None:
        return "no migration of ours: the host app's own, or by hand"
    return "; ".join(_closing_on(_party(report, side), one, one.closed_by) for side in one.behind) or (
        f"rights that are not those of {_file(one.closed_by)} (changed by hand, or kept by --compat): "
        "evercgm db migrate sets those of the API's roles and of ours again; evercgm db verify tells the others"
    )


def _closing_on(party: Party, one: Difference, version: str) -> str:
    if version in (party.snapshot.history or {}) and not one.key.kind.endswith("grant"):
        mend = repair_of(version, by_hand=one.key in party.snapshot.entries, option=party.option)
        return f"{_file(version)} is recorded on {party.name}: {mend}"
    return f"{_file(version)} on {party.name}: evercgm db migrate{party.option}"


def _closing_history(report: Report, one: Difference) -> str:
    party = _party(report, one.behind[0])
    repair = f"supabase migration repair {one.key.name} --status applied"
    if one.closed_by is not None:
        return f"evercgm db migrate{party.option} records it on {party.name} (or: {repair})"
    return f"look whether its objects are on {party.name}; if so: {repair}; if not: supabase db push --include-all"


def _block(report: Report, one: Difference) -> list[str]:
    width = max(len(report.first.name), len(report.second.name)) + 1
    return [
        f"{one.severity:<9} {_where(report, one)}: {one.key}",
        f"          {f'{report.first.name}:':<{width}} {one.first or _NOT_THERE}",
        f"          {f'{report.second.name}:':<{width}} {one.second or _NOT_THERE}",
        f"          -> {closing(report, one)}",
    ]


def _headline(report: Report) -> str:
    names = f"{report.first.name} and {report.second.name}"
    if not report.found:
        return f"{names}: no difference" + ("." if report.certain else " in what could be read.")
    counts = Counter(one.severity for one in report.found)
    parts = ", ".join(f"{counts[severity]} {severity}" for severity in _SEVERITIES if counts[severity])
    plural = "s" if len(report.found) > 1 else ""
    return f"{names}: {len(report.found)} difference{plural} ({parts})."


def _doubts(report: Report) -> list[str]:
    hidden = [party.name for party in (report.first, report.second) if party.snapshot.history_hidden]
    return [f"The migration history of {name} may not be read by this role: not compared." for name in hidden]


def _where(report: Report, one: Difference) -> str:
    if one.change == "different":
        return "different"
    return f"only on {(report.first if one.change == 'missing' else report.second).name}"


def _party(report: Report, side: Side) -> Party:
    return report.first if side == "first" else report.second


def _file(version: str) -> str:
    return next((f"{one.version}_{one.name}" for one in migrations() if one.version == version), version)


def _server(party: Party) -> str:
    owner = f", owned by {party.snapshot.owner}" if party.snapshot.owner else ""
    return f"PostgreSQL {party.snapshot.server_version}{owner}"


def _party_as_json(party: Party) -> dict[str, object]:
    return {"name": party.name, "server_version": party.snapshot.server_version}


def _code(text: str) -> str:
    """Text as code, in a table too; the fence is longer than any row of backticks in it."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence, blank = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{blank}{_cell(text)}{blank}{fence}"


def _cell(text: str) -> str:
    return as_line(text).replace("|", "\\|")
