"""What a check of the database answers, and what the checks look at. Pure."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from evercgm.storage.schema.mending import repair_of
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import Entries, finished, maker_of, target

Status = Literal["ok", "warn", "fail", "unknown"]
Expect = Literal["staging", "production", "target"]
API_ROLES = ("anon", "authenticated")
OUR_ROLES = ("cgm_request", "cgm_worker")
CONNECTIONS, READINGS, PERSON = "public.cgm_connections", "public.glucose_readings", 'public."Person"'
OUR_SCHEMAS = ("cgm_private", "cgm_jobs")
AS_EXPECTED = "as expected"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ``object`` is what it is about; ``mend`` and ``why`` are said instead of the check's usual words."""

    id: str
    status: Status
    object: str
    expected: str
    found: str
    mend: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of one database. ``rows``: the answers of the queries of verify.sql, by name."""

    expect: Expect
    compat: bool
    snapshot: Snapshot
    rows: Mapping[str, list[dict[str, Any]]]

    @property
    def entries(self) -> Entries:
        """The objects that are there."""
        return self.snapshot.entries

    @property
    def shape(self) -> Entries:
        """The objects that are expected."""
        return shape_of(self.expect)


def shape_of(expect: Expect) -> Entries:
    """The objects of a finished database, or of one of the two that the report tells of."""
    first, second = list(target().values())[:2]
    if expect == "staging":
        return first
    if expect == "production":
        return {**first, **{key: text for key, text in second.items() if is_public(key)}}
    return finished()


def is_public(key: Key) -> bool:
    """Whether an object lies in the schema that we share with the host app."""
    return key.name.startswith("public.")


def settled(id_: str, findings: Iterable[Check], about: str, expected: str, found: str = AS_EXPECTED) -> list[Check]:
    """The findings, or that all is well where there is none."""
    return list(findings) or [Check(id_, "ok", about, expected, found)]


def compared(seen: Seen, id_: str, kinds: Collection[str], about: Callable[[Key], bool]) -> list[Check]:
    """Objects that are missing, in another form, or there besides; ``about`` chooses those that this check looks at."""
    expected = {key: text for key, text in wanted(seen, kinds).items() if about(key)}
    there = {key: text for key, text in seen.entries.items() if key.kind in kinds and about(key)}
    return [
        *(missing_or_other(seen, id_, key, text, there.get(key)) for key, text in sorted(expected.items())
          if not is_form(there.get(key), text)),
        *(_besides(id_, key, text) for key, text in sorted(there.items()) if key not in expected),
    ]  # fmt: skip


def wanted(seen: Seen, kinds: Collection[str]) -> dict[Key, str]:
    """The expected objects of these kinds, but not those of a table or schema that is missing as a whole."""
    return {key: text for key, text in sorted(seen.shape.items()) if key.kind in kinds and not _is_part(seen, key)}


def _is_part(seen: Seen, key: Key) -> bool:
    schema = Key("schema", re.split("[. ]", key.name)[0])
    tables = (
        one
        for one in seen.shape
        if one.kind == "table" and one != key and key.name.startswith((f"{one.name}.", f"{one.name} "))
    )
    return any(
        one not in seen.entries for one in (*([schema] if schema in seen.shape and schema != key else ()), *tables)
    )


def is_form(found: str | None, expected: str) -> bool:
    """Whether a definition is the expected one; a table's row-level security is looked at apart."""
    return found is not None and _bare(found) == _bare(expected)


def _bare(definition: str) -> str:
    for words in (" (by a constraint)", ", row-level security", ", forced on its owner"):
        definition = definition.removesuffix(words) if words.startswith(" (") else definition.replace(words, "")
    return definition


def missing_or_other(seen: Seen, id_: str, key: Key, expected: str, found: str | None) -> Check:
    """The finding; where the migration that makes the object is recorded, with the command that makes it again."""
    version = maker_of(key)
    recorded = seen.expect == "target" and version is not None and version in (seen.snapshot.history or {})
    # The labels of an enum are for people to decide on, in any case.
    mend = repair_of(version, by_hand=found is not None) if recorded and version and key.kind != "enum" else ""
    return Check(id_, "fail", str(key), expected, "missing" if found is None else found, mend)


def _besides(id_: str, key: Key, found: str) -> Check:
    if key in finished():
        return Check(id_, "fail", str(key), "not there in this form of the database", found)
    blocks = key.kind == "column" and " not null" in found and not any(word in found for word in _FILLED)
    expected = "no other column that must be filled" if blocks else "nothing besides ours"
    return Check(id_, "fail" if blocks else "warn", str(key), expected, found)


_FILLED = (" default ", " identity", " generated as ")


def made_strict(checks: Iterable[Check]) -> list[Check]:
    """The checks with warnings as failures."""
    return [replace(check, status="fail") if check.status == "warn" else check for check in checks]


def exit_code(checks: Iterable[Check]) -> int:
    """0 all good (warnings included), 1 something failed, 2 something could not be told."""
    found = {check.status for check in checks}
    return 1 if "fail" in found else 2 if "unknown" in found else 0
