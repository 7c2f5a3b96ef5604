"""G1 to G5, and R1's login roles: who may do what with the tables, beyond which rows. Pure."""

from collections.abc import Iterator
from typing import Any

from evercgm.storage.schema.target import api_rights, same
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
    grants = "exactly the rights that the service needs; owners and service_role have theirs"
    return [
        *settled("G1", _beyond_rows(seen), _tables(seen), f"no {', '.join(_BEYOND_ROWS[:3])} for API roles"),
        *settled("G2", _hidden(seen), CONNECTIONS, "tokens, cursor, metadata closed to API roles; no writing by them"),
        *settled(
            "G3", _service_roles(seen), "cgm_request, cgm_worker, login roles", _PLAIN_AND_FAR, _found_roles(seen)
        ),
        *settled("G4", _defaults(seen), "schema public", "new tables grant nothing to API roles"),
        *(
            settled("G5", _grants(seen), "cgm_request, cgm_worker, API roles", grants)
            if seen.expect == "target"
            else ()
        ),
    ]


_PLAIN = "neither superuser nor owner, no BYPASSRLS"
_PLAIN_AND_FAR = "no superuser, no BYPASSRLS, no way to service_role"


def _beyond_rows(seen: Seen) -> Iterator[Check]:
    told: dict[str, list[str]] = {}
    for row in seen.rows["api_privileges"]:
        held = [one for one in row["privileges"] if one in _BEYOND_ROWS]
        if held and row["role"] in API_ROLES:
            told.setdefault(row["object"], []).append(f"{row['role']} may {', '.join(held).lower()}")
    for name, found in told.items():
        expected = "none of these for API roles"
        if name == CONNECTIONS or name.startswith(OUR_SCHEMAS):
            yield Check("G1", _grave(seen, name), f"table {name}", expected, "; ".join(found))
        else:
            yield Check("G1", "warn", f"table {name}", expected, "; ".join(found), _HOSTS_GRANTS.format(table=name))


_HOSTS_GRANTS = "It is the host app's table: revoke truncate, references, trigger on {table} from anon, authenticated"


def _grave(seen: Seen, name: str = CONNECTIONS) -> Status:
    """The old forms are known to be open, and ``--compat`` leaves the connections as they were: that warns."""
    return "warn" if seen.expect != "target" or (seen.compat and name == CONNECTIONS) else "fail"


def _hidden(seen: Seen) -> Iterator[Check]:
    status = _grave(seen)
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
    for row in seen.rows["secret_views"]:
        expected = "no view that shows tokens, or anything of ours, with its owner's rights"
        found = f"selectable by {row['role']}"
        yield Check("G2", _grave(seen, ""), f"view {row['object']}", expected, found, _VIEWS.format(row["object"]))


_VIEWS = "revoke all on {0} from anon, authenticated; or alter view {0} set (security_invoker = on)"


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
        if held and row["object"].startswith(OUR_SCHEMAS) and row["role"] in API_ROLES:
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
    yield from _groups(seen)


def _groups(seen: Seen) -> Iterator[Check]:
    """The exact form of the two groups, and who must not be a member."""
    for row in seen.rows["group_forms"]:
        if row["besides"]:
            expected, mend = _FORMS[row["role"]]
            yield Check("G3", "fail", f"role {row['role']}", expected, row["besides"], mend)
    for row in seen.rows["group_members"]:
        mend = f"revoke {row['role']} from {row['members']} (or from the role between)"
        why = f"they could do all that {row['role']} may: {_POWER[row['role']]}"
        yield Check("G3", "fail", f"role {row['role']}", _NO_MEMBERS, f"has members: {row['members']}", mend, why)


_NO_MEMBERS = "none of the API's roles, nor the other group, is a member"
_POWER = {
    "cgm_request": "read the service's own tables for a person",
    "cgm_worker": "read everybody's tokens and rows, and change them",
}
_FORMS = {
    "cgm_request": (
        "a plain group that inherits, member of authenticated alone",
        "alter role cgm_request inherit nocreaterole nocreatedb; grant authenticated to cgm_request; revoke the others",
    ),
    "cgm_worker": (
        "a plain group, member of nothing",
        "alter role cgm_worker nocreaterole nocreatedb; revoke its memberships",
    ),
}


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
    yield from _api_grants(seen)


def _api_grants(seen: Seen) -> Iterator[Check]:
    """What the API's roles have too little of, and service_role in our schemas. What is open to others: G1, G2."""
    roles = {row["name"] for row in seen.rows["api_roles"]}
    for key, expected in api_rights().items():
        found = seen.entries.get(key, "")
        if key.name.rpartition(" to ")[2] in roles and _lacks(found, expected):
            yield Check("G5", "fail", str(key), expected, found or "nothing")
    for key, found in sorted(seen.entries.items()):
        if key.kind in _GRANTS and key.name.endswith(" to service_role") and key.name.startswith(OUR_SCHEMAS):
            yield Check("G5", "fail", str(key), "nothing", found)


def _lacks(found: str, expected: str) -> bool:
    """Whether a right is missing; one on a table is one on each of its columns."""
    held = set(found.split(", "))
    return not all({one, one.partition(" (")[0]} & held for one in expected.split(", "))


def _tables(seen: Seen) -> str:
    return ", ".join([CONNECTIONS, *(OUR_SCHEMAS if seen.expect == "target" else ())])
