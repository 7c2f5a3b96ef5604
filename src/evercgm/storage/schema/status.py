"""A row a migration for each database: recorded or not, whether its objects are there, and the command that mends it.

Also the host app's own migrations in the same history, for the two traps of the report: an older file that was skipped
while a newer one is recorded, and objects that are there without their row.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evercgm.storage.schema.mending import mend_of
from evercgm.storage.schema.migration_files import migrations, migrations_in
from evercgm.storage.schema.plan import Step, step_of
from evercgm.storage.schema.snapshot import Snapshot

Reach = Literal["reached", "unreachable", "decommissioned"]
Objects = Literal["all", "some", "none", "different"]
HostState = Literal["recorded", "skipped", "waiting", "without a file"]
_MIGRATING_ROLE = "ask as the migrating role: this one may not read the history"


@dataclass(frozen=True, slots=True)
class Row:
    """One migration of ours. ``recorded`` None: the history may not be read. ``mend`` None: nothing to do."""

    version: str
    name: str
    recorded: bool | None
    objects: Objects
    mend: str | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """One migration of the host app, or one of ours as its own tool sees it."""

    version: str
    name: str
    state: HostState
    mend: str | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One database. ``reason``: why it was not looked at. ``host``: what the history holds besides ours."""

    name: str
    reach: Reach
    reason: str = ""
    server_version: str = ""
    rows: tuple[Row, ...] = ()
    host: tuple[HostRow, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether everything was seen; a decommissioned database is not asked."""
        return self.reach != "unreachable" and all(row.recorded is not None for row in self.rows)

    @property
    def is_good(self) -> bool:
        """Whether nothing is to be done."""
        return all(row.mend is None for row in self.rows) and all(one.mend is None for one in self.host)


@dataclass(frozen=True, slots=True)
class Seen:
    """A database that was reached, under its name; ``option``: how a command is pointed at it."""

    name: str
    snapshot: Snapshot
    option: str = ""


def exit_code(statuses: Iterable[Status]) -> int:
    """0 nothing to do, 1 something to mend, 2 not everything could be seen."""
    found = list(statuses)
    if not all(status.is_certain for status in found):
        return 2
    return 0 if all(status.is_good for status in found) else 1


def statuses_of(seen: Iterable[Seen], folder: Path | None) -> list[Status]:
    """The databases side by side. ``folder``: the host app's own migrations, None where it is not known."""
    databases = list(seen)
    files = [] if folder is None else migrations_in(folder)
    own = {one.version for one in migrations()}
    known = {version: name for one in databases for version, name in (one.snapshot.history or {}).items()}
    known |= {one.version: one.name for one in files}
    host = {version: name for version, name in sorted(known.items()) if version not in own}
    return [_status(one, host, folder) for one in databases]


def _status(seen: Seen, host: Mapping[str, str], folder: Path | None) -> Status:
    history = seen.snapshot.history or {}
    steps = [step_of(one.version, one.name, seen.snapshot.entries, history) for one in migrations()]
    rows = tuple(_row(step, hidden=seen.snapshot.history_hidden, option=seen.option) for step in steps)
    found = () if seen.snapshot.history_hidden else tuple(_host_rows(history, host, folder))
    return Status(seen.name, "reached", server_version=seen.snapshot.server_version, rows=rows, host=found)


def _row(step: Step, *, hidden: bool, option: str) -> Row:
    recorded = None if hidden else step.recorded
    mend = _MIGRATING_ROLE if hidden else _mend(step, option)
    return Row(step.version, step.name, recorded, _objects(step), mend)


def _objects(step: Step) -> Objects:
    if step.wrong:
        return "different"
    if not step.missing:
        return "all"
    return "some" if step.there else "none"


def _mend(step: Step, option: str) -> str | None:
    if step.action == "nothing":
        return None
    if step.action == "stop" and step.recorded:
        return mend_of(step, option)
    if step.action == "stop":
        return f"evercgm db migrate --plan{option} (it says what is in another form)"
    if step.action == "adopt":
        repair = f"supabase migration repair {step.version} --status applied"
        return f"evercgm db migrate{option} (it records what is there; or: {repair})"
    return f"evercgm db migrate{option}"


def _host_rows(history: Mapping[str, str], host: Mapping[str, str], folder: Path | None) -> Iterator[HostRow]:
    """The host's versions in order; of ours only those that its own tool will stumble over."""
    newest = max(history, default="")
    with_file = None if folder is None else {one.version for one in migrations_in(folder)}
    for version, name in host.items():
        if version not in history:
            yield _unrecorded(version, name, newest)
        elif with_file is not None and version not in with_file:
            yield _without_file(version, name, f"supabase migration repair {version} --status reverted")
        else:
            yield HostRow(version, name, "recorded", None)
    if with_file is not None and folder is not None:
        for own in migrations():
            if own.version in history and own.version not in with_file:
                yield _without_file(
                    own.version, own.name, f"cp {shlex.quote(str(own.path))} {shlex.quote(str(folder))}/"
                )


def _unrecorded(version: str, name: str, newest: str) -> HostRow:
    if version > newest:
        return HostRow(version, name, "waiting", "supabase db push", _haste(version))
    repair = f"supabase migration repair {version} --status applied"
    return HostRow(
        version,
        name,
        "skipped",
        f"look whether its objects are there; if so: {repair}; if not: supabase db push --include-all",
        f"a newer version ({newest}) is recorded, so every later push refuses",
    )


def _haste(version: str) -> str | None:
    if all(version > own.version for own in migrations()):
        return None
    return "before evercgm db migrate: our newer versions would make that push refuse"


def _without_file(version: str, name: str, mend: str) -> HostRow:
    why = "host_migrations has no such file, so every later push refuses"
    return HostRow(version, name, "without a file", mend, why)
