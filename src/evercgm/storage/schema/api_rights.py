"""Grants on our objects that are not as the migrations set them, beyond those that the target lists. Pure.

What the API's roles may do with the connections decides who reads tokens; and nothing else of ours is for them, nor is
more for our own two roles than the target says. Default privileges of a project, or people, grant what they like.
"""

from collections.abc import Iterator

from evercgm.storage.schema.plan import Wrong
from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.target import Entries, api_rights, finished, maker_of

_CONNECTIONS = "public.cgm_connections to "
_SCHEMAS = ("cgm_private", "cgm_jobs")
_GRANTED = tuple(
    f" to {role}" for role in ("public", "anon", "authenticated", "service_role", "cgm_request", "cgm_worker")
)
# Whom ``--compat`` leaves what they had.
_LEFT = tuple(f"{_CONNECTIONS}{role}" for role in ("public", "anon", "authenticated"))
NOTHING = "nothing"


def loose_rights(entries: Entries, *, compat: bool, service_role: bool) -> dict[str, list[Wrong]]:
    """By the version of the migration that sets them.

    ``compat``: the first form's grants are meant to stay. ``service_role``: whether the server has that role.
    """
    access = maker_of(Key("grant", f"{_CONNECTIONS}cgm_worker"))
    jobs = maker_of(Key("schema", "cgm_jobs"))
    found: dict[str, list[Wrong]] = {str(access): [], str(jobs): []}
    for wrong in [*_less(entries, compat, service_role), *_more(entries, compat)]:
        found[str(jobs if wrong.key.name.startswith("cgm_jobs") else access)].append(wrong)
    return found


def _less(entries: Entries, compat: bool, service_role: bool) -> Iterator[Wrong]:
    for key, expected in api_rights().items():
        found = entries.get(key, "")
        if key.name.endswith(" to service_role") and not service_role:
            continue
        if found != expected and not (compat and _covers(found, expected)):
            yield Wrong(key, expected, found)


def _more(entries: Entries, compat: bool) -> Iterator[Wrong]:
    meant = finished().keys() | api_rights().keys()
    for key, found in sorted(entries.items()):
        if _is_ours(key) and key not in meant and not (compat and key.name in _LEFT):
            yield Wrong(key, NOTHING, found)


def _is_ours(key: Key) -> bool:
    return key.kind.endswith("grant") and key.name.startswith((_CONNECTIONS, *_SCHEMAS)) and key.name.endswith(_GRANTED)


def _covers(found: str, expected: str) -> bool:
    """Whether all of ``expected`` is granted; a right on a table is one on its columns."""
    held = set(found.split(", "))
    return all(one in held or one.partition(" (")[0] in held for one in expected.split(", "))
