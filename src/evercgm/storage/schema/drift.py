"""Compares two snapshots: what the second lacks, has besides, or has in another form, and what closes each.

Severity: "breaks" where something works on one side only (a client, a push, the service); "weakens" where it works with
less safety or speed; "cosmetic" where both forms mean the same. Seen from either side it is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import finished, maker_of, same

Change = Literal["missing", "extra", "different"]
Severity = Literal["breaks", "weakens", "cosmetic"]
Side = Literal["first", "second"]
_ORDER = {"breaks": 0, "weakens": 1, "cosmetic": 2}
# Kinds whose absence or other form costs safety or speed, and lets everything go on.
_WEAKENS = {"policy", "grant", "schema grant", "function grant", "trigger", "index", "default privileges"}
_OUR_ROLES = (" to cgm_request", " to cgm_worker")
_ACCESS = "20261124000003"
_OURS = ("public.cgm_connections", "cgm_private", "cgm_jobs")


@dataclass(frozen=True, slots=True)
class Difference:
    """One object; ``first`` and ``second`` are its definitions, None where it is not there.

    ``closed_by``: the migration that gives the object its last form, None where that is not ours to give. ``behind``:
    the sides that do not have that form (of a recorded version: the sides that have not recorded it).
    """

    change: Change
    severity: Severity
    key: Key
    first: str | None
    second: str | None
    closed_by: str | None
    behind: tuple[Side, ...]


def differences(first: Snapshot, second: Snapshot) -> list[Difference]:
    """All differences, the worst first. A history that may not be read is no difference: see ``is_certain``."""
    found = [*_of_objects(first, second), *_of_history(first, second)]
    return sorted(found, key=lambda one: (_ORDER[one.severity], one.key))


def is_certain(first: Snapshot, second: Snapshot) -> bool:
    """Whether everything could be compared."""
    return not (first.history_hidden or second.history_hidden)


def _of_objects(first: Snapshot, second: Snapshot) -> Iterator[Difference]:
    for key in first.entries.keys() | second.entries.keys():
        one, other = first.entries.get(key), second.entries.get(key)
        if one != other:
            version = _closed_by(key)
            behind = _behind(key, version, first, second)
            yield Difference(_change(one, other), severity_of(key, one, other), key, one, other, version, behind)


def _of_history(first: Snapshot, second: Snapshot) -> Iterator[Difference]:
    if not is_certain(first, second):
        return
    ours = {migration.version for migration in migrations()}
    one_side, other_side = first.history or {}, second.history or {}
    for version in one_side.keys() ^ other_side.keys():
        one, other = one_side.get(version), other_side.get(version)
        behind: Side = "second" if other is None else "first"
        closed_by = version if version in ours else None
        yield Difference(_change(one, other), "breaks", Key("history", version), one, other, closed_by, (behind,))


def _change(one: str | None, other: str | None) -> Change:
    if one is None:
        return "extra"
    return "missing" if other is None else "different"


def _closed_by(key: Key) -> str | None:
    """Rights on our objects that the target does not list (the host may keep them) are the access migration's."""
    version = maker_of(key)
    if version is None and (key.kind == "role" or (key.kind.endswith("grant") and key.name.startswith(_OURS))):
        return _ACCESS
    return version


def _behind(key: Key, version: str | None, first: Snapshot, second: Snapshot) -> tuple[Side, ...]:
    sides: tuple[tuple[Side, Snapshot], ...] = (("first", first), ("second", second))
    last_form = finished().get(key)
    if last_form is not None:
        return tuple(side for side, seen in sides if not same(seen.entries.get(key, ""), last_form))
    return tuple(side for side, seen in sides if version is not None and version not in (seen.history or {}))


def severity_of(key: Key, one: str | None, other: str | None) -> Severity:
    """How much a difference matters; None: the object is not there on that side."""
    if one is not None and other is not None:
        if same(one, other):
            return "cosmetic"
        if _works_alike(key, one, other):
            return "weakens"
    if key.kind.endswith("grant") and key.name.endswith(_OUR_ROLES):
        return "breaks"
    return "weakens" if key.kind in _WEAKENS and not (_is_unique(one) or _is_unique(other)) else "breaks"


def _works_alike(key: Key, one: str, other: str) -> bool:
    """Whether two forms differ in safety or speed only."""
    if key.kind == "table":  # row-level security, who owns it
        return one.split(", ")[0] == other.split(", ")[0]
    if key.kind == "role":  # what it may besides; whose member it is decides what works
        return one.partition("member of")[2] == other.partition("member of")[2]
    if key.kind == "function":  # the body, and the fixed search_path
        return _head(one) == _head(other)
    return key.kind == "constraint" and one.removesuffix(" NOT VALID") == other.removesuffix(" NOT VALID")


def _head(function: str) -> str:
    return function.partition(" body ")[0].partition(" set ")[0]


def _is_unique(definition: str | None) -> bool:
    return definition is not None and definition.startswith("CREATE UNIQUE INDEX")
