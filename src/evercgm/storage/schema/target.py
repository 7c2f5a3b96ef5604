"""What each migration makes, as data: ``target.json``, one entry an object in the form that the migration gave it.

Made and kept true by tests/storage/schema/test_target.py. Apart from the others: what the roles of Supabase's API are
granted on the connections (``--compat`` leaves them more). Left out: roles, which belong to the server, and what the
host app made.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from evercgm.storage.schema.snapshot import Key

FILE = "target.json"
_OUR_ROLES = (" to cgm_request", " to cgm_worker")
_ON_CONNECTIONS = "public.cgm_connections to "
_BY_CONSTRAINT = " (by a constraint)"
Entries = Mapping[Key, str]


@cache
def target() -> Mapping[str, Entries]:
    """Version → the objects that this migration makes or changes, in order of the versions."""
    return {
        version: {key: text for key, text in entries.items() if not _is_api_right(key)}
        for version, entries in _everything().items()
    }


@cache
def api_rights() -> Entries:
    """What the API's roles are granted on the connections in the end; those that are not named, nothing."""
    return {key: text for entries in _everything().values() for key, text in entries.items() if _is_api_right(key)}


@cache
def _everything() -> Mapping[str, Entries]:
    text = resources.files("evercgm.storage.schema").joinpath(FILE).read_text(encoding="utf-8")
    return {
        version: {Key(kind, name): definition for kind, name, definition in entries}
        for version, entries in json.loads(text).items()
    }


def finished() -> Entries:
    """All objects of ours as they are after the last migration."""
    return {key: text for entries in target().values() for key, text in entries.items()}


def maker_of(key: Key) -> str | None:
    """The version that gives an object its last form; None for objects of the host app."""
    return next((version for version in reversed(list(target())) if key in target()[version]), None)


def same(one: str, other: str) -> bool:
    """Whether two definitions mean the same; uniqueness by constraint or by index is one."""
    return one.removesuffix(_BY_CONSTRAINT) == other.removesuffix(_BY_CONSTRAINT)


def plainly(text: str) -> str:
    """A policy in its plainest spelling: auth.uid() called once a row or once a query chooses the same rows."""
    return text.replace("( SELECT auth.uid() AS uid)", "auth.uid()")


def added(before: Entries, after: Entries) -> dict[Key, str]:
    """What a migration made or changed, of what is compared."""
    return {key: text for key, text in after.items() if before.get(key) != text and _is_compared(key)}


def to_text(entries_of: Mapping[str, Entries]) -> str:
    """The content of ``target.json``."""
    versions = []
    for version, entries in entries_of.items():
        lines = (json.dumps([key.kind, key.name, text], ensure_ascii=False) for key, text in sorted(entries.items()))
        versions.append(f'"{version}": [\n' + ",\n".join(lines) + "\n]")
    return "{" + ",\n".join(versions) + "}\n"


def _is_compared(key: Key) -> bool:
    if key.kind.endswith("grant"):
        return key.name.endswith(_OUR_ROLES) or _is_api_right(key)
    return key.kind not in ("role", "default privileges")


def _is_api_right(key: Key) -> bool:
    return key.kind == "grant" and key.name.startswith(_ON_CONNECTIONS) and not key.name.endswith(_OUR_ROLES)
