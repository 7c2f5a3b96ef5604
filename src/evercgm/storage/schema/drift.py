"""Compares two snapshots: what the second lacks, has besides, or has in another form, and which migration closes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import maker_of, same

Change = Literal["missing", "extra", "different"]
Severity = Literal["breaks", "weakens", "cosmetic"]
_WEAKENS = {"policy", "grant", "role", "trigger", "index", "default privileges"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One object; ``first`` and ``second`` are its definitions, None where it is not there."""

    change: Change
    severity: Severity
    key: Key
    first: str | None
    second: str | None
    closed_by: str | None


def differences(first: Snapshot, second: Snapshot) -> list[Difference]:
    """All differences, the worst first. An unreadable history is no difference."""
    found = [*_of_objects(first, second), *_of_history(first, second)]
    order = {"breaks": 0, "weakens": 1, "cosmetic": 2}
    return sorted(found, key=lambda one: (order[one.severity], one.key))


def _of_objects(first: Snapshot, second: Snapshot) -> Iterator[Difference]:
    for key in first.entries.keys() | second.entries.keys():
        one, other = first.entries.get(key), second.entries.get(key)
        if one != other:
            yield Difference(_change(one, other), _severity(key, one, other), key, one, other, maker_of(key))


def _of_history(first: Snapshot, second: Snapshot) -> Iterator[Difference]:
    if first.history_hidden or second.history_hidden:
        return
    ours, theirs = first.history or {}, second.history or {}
    for version in ours.keys() ^ theirs.keys():
        one, other = ours.get(version), theirs.get(version)
        yield Difference(_change(one, other), "breaks", Key("history", version), one, other, None)


def _change(one: str | None, other: str | None) -> Change:
    if one is None:
        return "extra"
    return "missing" if other is None else "different"


def _severity(key: Key, one: str | None, other: str | None) -> Severity:
    if one is not None and other is not None:
        if same(one, other):
            return "cosmetic"
        if key.kind == "table" and one.split(", ")[0] == other.split(", ")[0]:
            return "weakens"
    return "weakens" if key.kind in _WEAKENS and not _is_unique(one or other or "") else "breaks"


def _is_unique(definition: str) -> bool:
    return definition.startswith("CREATE UNIQUE INDEX")
