"""G1 to G5, and R1's login roles: who may do what with the tables, beyond which rows. Pure."""

from collections.abc import Iterator
from typing import Any

from evercgm.storage.schema.target import same
from evercgm.storage.schema.verify_findings import (
    API_ROLES,
    CONNECTIONS,
    OUR_ROLES,
    OUR_SCHEMAS,
    Check,
    Seen,
    Status,
    settled,
    wanted,
)

# RLS does not stop these, or they are not for an API at all.
_BEYOND_ROWS = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
_TOKENS = ("access_token", "refresh_token")
_HIDDEN = (*_TOKENS, "sync_cursor", "metadata")
_GRANTS = ("grant", "schema grant", "function grant")
_TO_API_ROLES = tuple(f" to {role}" for role in ("public", *API_ROLES))
_TO_OUR_ROLES = tuple(f" to {role}" for role in OUR_ROLES)
_REACHING = "may become "


def check_login_roles(seen: Seen) -> list[Check]:
    """R1 for those that the service logs in as."""
    return [
        Check("R1", "warn" if row["is_us"] else "fail", f"role {row['role']}", _PLAIN, " and ".join(found))
        for row in seen.rows["service_roles"]
        if row["may_log_in"] and (found := [one for one in row["excess"] if not one.startswith(_REACHING)])
    ]


def check_rights(seen: Seen) -> list[Check]:
    """G1 to G5 in order."""
    grants = "exactly the rights that the service needs"
    return [
        *settled("G1", _beyond_rows(seen), _tables(seen), f"no {', '.join(_BEYOND_ROWS[:3])} for API roles"),
        *settled("G2", _hidden(seen), CONNECTIONS, "tokens, cursor, metadata closed to API roles; no writing by them"),
        *settled(
            "G3", _service_roles(seen), "cgm_request, cgm_worker, login roles", _PLAIN_AND_FAR, _found_roles(seen)
        ),
        *settled("G4", _defaults(seen), "schema public", "new tables grant nothing to API roles"),
        *(settled("G5", _grants(seen), "cgm_request, cgm_worker", grants) if seen.expect == "target" else ()),
    ]


_PLAIN = "neither superuser nor owner, no BYPASSRLS"
_PLAIN_AND_FAR = "no superuser, no BYPASSRLS, no way to service_role"


def _beyond_rows(seen: Seen) -> Iterator[Check]:
    told: dict[str, list[str]] = {}
    for row in seen.rows["api_privileges"]:
        held = [one for one in row["privileges"] if one in _BEYOND_ROWS]
        if held:
            told.setdefault(row["object"], []).append(f"{row['role']} may {', '.join(held).lower()}")
    for name, found in told.items():
        yield Check("G1", _grave(seen, name), f"table {name}", "none of these for API roles", "; ".join(found))


def _grave(seen: Seen, table: str) -> Status:
    """What is wrong with the host app's tables warns, and what ``--compat`` leaves as it was."""
    if table == CONNECTIONS:
        return "warn" if seen.compat else "fail"
    return "fail" if table.startswith(OUR_SCHEMAS) else "warn"


def _hidden(seen: Seen) -> Iterator[Check]:
    status: Status = "warn" if seen.compat else "fail"
    gap = " (gap 2 stays open)" if seen.compat else ""
    for name in _HIDDEN:
        rows = [row for row in seen.rows["connection_columns"] if row["column"] == name]
        if readers := [row["role"] for row in rows if row["may_select"]]:
            found = f"selectable by {' and '.join(readers)}{gap}"
            yield Check("G2", status, f"column {CONNECTIONS}.{name}", "selectable by no API role", found)
    for role in API_ROLES:
        if found := _writes(seen, role):
            yield Check("G2", status, f"table {CONNECTIONS}", f"no writing by {role}", f"{role} may {found}{gap}")
    yield from _ours(seen)
    for row in seen.rows["token_views"]:
        expected = "no view that shows tokens with its owner's rights"
        yield Check("G2", "fail", f"view {row['object']}", expected, f"selectable by {row['role']}")


def _writes(seen: Seen, role: str) -> str:
    rows = [row for row in seen.rows["connection_columns"] if row["role"] == role]
    told = []
    for verb in ("insert", "update"):
        columns = [row["column"] for row in rows if row[f"may_{verb}"]]
        if columns:
            told.append(f"{verb} {'any column' if len(columns) == len(rows) else ', '.join(columns)}")
    if role == "anon":
        told += [verb.lower() for verb in ("SELECT", "DELETE") if verb in _privileges(seen, CONNECTIONS, role)]
    return "; ".join(told)


def _ours(seen: Seen) -> Iterator[Check]:
    """The API's roles have no business in our own schemas."""
    for row in seen.rows["api_privileges"]:
        held = [one.lower() for one in row["privileges"] if one not in _BEYOND_ROWS]
        if held and row["object"].startswith(OUR_SCHEMAS):
            found = f"{row['role']} may {', '.join(held)}"
            yield Check("G2", "fail", f"table {row['object']}", "nothing for API roles", found)
    for key, text in sorted(seen.entries.items()):
        if key.kind in _GRANTS[1:] and key.name.endswith(_TO_API_ROLES):
            yield Check("G2", "fail", str(key), "nothing for API roles", text)


def _privileges(seen: Seen, table: str, role: str) -> list[str]:
    rows = seen.rows["api_privileges"]
    return next((row["privileges"] for row in rows if (row["object"], row["role"]) == (table, role)), [])


def _service_roles(seen: Seen) -> Iterator[Check]:
    rows = seen.rows["service_roles"]
    there = {row["role"] for row in rows}
    for role in OUR_ROLES:
        if seen.expect == "target" and role not in there:
            yield Check("G3", "fail", f"role {role}", "a group without login", "missing")
    for row in rows:
        group = row["role"] in OUR_ROLES
        if group and row["may_log_in"]:
            yield Check("G3", "fail", f"role {row['role']}", "a group without login", "may log in")
        # Of a login role, what it is itself is R1's.
        if found := [one for one in row["excess"] if group or one.startswith(_REACHING)]:
            yield Check("G3", _weight(row), f"role {row['role']}", _PLAIN_AND_FAR, " and ".join(found))


def _weight(row: dict[str, Any]) -> Status:
    return "warn" if row["is_us"] else "fail"


def _found_roles(seen: Seen) -> str:
    logins = sum(row["may_log_in"] for row in seen.rows["service_roles"])
    return f"so; {logins} login role{'' if logins == 1 else 's'} may become them"


def _defaults(seen: Seen) -> Iterator[Check]:
    for key, roles in sorted(seen.entries.items()):
        granted = [role for role in roles.split(", ") if role in ("public", *API_ROLES)]
        if key.kind == "default privileges" and granted:
            found = f"new tables are granted to {', '.join(granted)} (Supabase projects made before 2026-05-30)"
            yield Check("G4", "warn", f"default privileges {key.name}", "new tables grant nothing to API roles", found)


def _grants(seen: Seen) -> Iterator[Check]:
    mine = {key: text for key, text in seen.entries.items() if key.kind in _GRANTS and key.name.endswith(_TO_OUR_ROLES)}
    for key, expected in wanted(seen, _GRANTS).items():
        if not same(mine.get(key, ""), expected):
            yield Check("G5", "fail", str(key), expected, mine.get(key, "nothing"))
    for key, found in sorted(mine.items()):
        if key not in seen.shape:
            yield Check("G5", "fail", str(key), "nothing", found)


def _tables(seen: Seen) -> str:
    return ", ".join([CONNECTIONS, *(OUR_SCHEMAS if seen.expect == "target" else ())])
