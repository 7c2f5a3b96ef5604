"""R1 to R6: row-level security, the policies and what they say, auth.uid(), and the host app's two tables. Pure."""

import re
from collections.abc import Collection, Iterator

from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.target import plainly, target
from evercgm.storage.schema.verify_findings import (
    API_ROLES,
    CONNECTIONS,
    OUR_ROLES,
    OUR_SCHEMAS,
    PERSON,
    READINGS,
    Check,
    Seen,
    missing_or_other,
    settled,
    wanted,
)

_BODY = re.compile(r" (?:using|with check) ")
_CONDITION = re.compile(r"(?:^| )(?:using|with check) ")
_ONCE_A_QUERY = "( SELECT auth.uid() AS uid)"
_BARE = re.compile(r"(?<!SELECT )auth\.uid\(\)")
# Whoever asks through the REST API, or for a person through the service.
_ASKING = ("public", *API_ROLES, "cgm_request")
_ASKS_WHO = re.compile(r"\bauth\.(?:uid|jwt)\(\)")
# Supabase's, with and without a pair of brackets; without blanks.
_SUB = "nullif(current_setting('request.jwt.claim.sub',true),'')"
_CLAIMS = "nullif(current_setting('request.jwt.claims',true),'')::jsonb->>'sub'"
_KNOWN_BODIES = {f"selectcoalesce({_SUB},{claims})::uuid" for claims in (_CLAIMS, f"({_CLAIMS})")}
_SECURITY, _FORCED = "row-level security", "forced on its owner"


def check_security(seen: Seen, login_roles: list[Check]) -> list[Check]:
    """R1: what keeps rows apart at all, and those that it does not stop."""
    expected = "row-level security on; login roles neither superuser nor owner, no BYPASSRLS"
    return settled("R1", [*_security(seen), *login_roles], _tables(seen), expected)


def check_policies(seen: Seen) -> list[Check]:
    """R2 to R6 in order."""
    return [
        *settled("R2", _heads(seen), CONNECTIONS, "four user policies, permissive, each for its command and its roles"),
        *settled("R3", _bodies(seen), CONNECTIONS, '"ownerId" compared with auth.uid() cast to text, once a query'),
        *_claims(seen),
        *settled("R5", _person(seen), PERSON, "row-level security or no writing by API roles; readable by its owner"),
        *settled("R6", _readings(seen), READINGS, "row-level security on, or no grants, cgm_request's included"),
    ]


def _tables(seen: Seen) -> str:
    return ", ".join([CONNECTIONS, *(["cgm_private"] if seen.expect == "target" else [])])


def _security(seen: Seen) -> Iterator[Check]:
    for key, found in sorted(seen.entries.items()):
        if key.kind != "table" or not found.startswith(("table", "partitioned table")):
            continue
        if key.name == CONNECTIONS or (seen.expect == "target" and key.name.startswith("cgm_private.")):
            if _SECURITY not in found:
                yield Check("R1", "fail", str(key), "row-level security on", "off")
            elif _FORCED in found:
                yield Check("R1", "warn", str(key), "not forced on its owner", "forced: an owner silently sees 0 rows")
        elif seen.expect == "target" and key.name.startswith("cgm_jobs.") and _SECURITY in found:
            yield Check("R1", "fail", str(key), "row-level security off: guarded by grants", "on: nothing is enqueued")


def _heads(seen: Seen) -> Iterator[Check]:
    """Who a policy is for, and for what; those that are there besides."""
    for key, expected in wanted(seen, ["policy"]).items():
        found = seen.entries.get(key)
        if found is None:
            yield missing_or_other(seen, "R2", key, expected, None)
            continue
        head, due = _split(found)[0], _split(expected)[0]
        if head not in ({due} if seen.expect == "target" else _forms(key, heads=True)):
            yield Check("R2", "fail", str(key), due, head)
        elif head.endswith(" to public"):
            yield Check("R2", "warn", str(key), "a role: to authenticated (gap 8)", head)
    yield from _extra(seen)


def _extra(seen: Seen) -> Iterator[Check]:
    for key, found in sorted(seen.entries.items()):
        if key.kind != "policy" or key in seen.shape or any(key in entries for entries in target().values()):
            continue
        table = key.name.partition(" ")[0]
        if table == CONNECTIONS or table.startswith(tuple(f"{schema}." for schema in OUR_SCHEMAS)):
            touches_us = {"public", *API_ROLES, *OUR_ROLES} & _roles(found)
            yield Check("R2", "fail" if touches_us else "warn", str(key), "no policy besides ours", found)


def _bodies(seen: Seen) -> Iterator[Check]:
    for key, expected in wanted(seen, ["policy"]).items():
        found = seen.entries.get(key)
        if found is None:
            continue
        body, due = _split(found)[1], _split(expected)[1]
        forms = {due} if seen.expect == "target" else _forms(key, heads=False)
        if plainly(body) not in {plainly(form) for form in forms}:
            yield Check("R3", "fail", str(key), due, body)
        elif _BARE.search(body):
            yield Check("R3", "warn", str(key), f"auth.uid() once a query: {_ONCE_A_QUERY} (gap 11)", body)


def _forms(key: Key, *, heads: bool) -> set[str]:
    """The heads or bodies that any migration gives a policy."""
    return {_split(entries[key])[0 if heads else 1] for entries in target().values() if key in entries}


def _split(policy: str) -> tuple[str, str]:
    """Its head ("permissive for select to public") and its expressions."""
    match = _BODY.search(policy)
    return (policy[: match.start()], policy[match.start() + 1 :]) if match else (policy, "")


def _roles(policy: str) -> set[str]:
    return set(_split(policy)[0].partition(" to ")[2].split(", "))


def _claims(seen: Seen) -> list[Check]:
    expected = "returns uuid, stable"
    row = next(iter(seen.rows["claims_function"]), None)
    if row is None:
        return [Check("R4", "fail", "function auth.uid()", expected, "missing")]
    found = f"returns {row['returns']}, {row['volatility']}"
    if found != expected:
        return [Check("R4", "fail", "function auth.uid()", expected, found)]
    if "".join(row["body"].split()).rstrip(";").lower() not in _KNOWN_BODIES:
        return [Check("R4", "warn", "function auth.uid()", _FROM_CLAIMS, "another body", _RESTORE)]
    return [Check("R4", "ok", "function auth.uid()", f"{expected}, {_FROM_CLAIMS}", "so")]


_FROM_CLAIMS = "Supabase's own body: the caller's sub, of the request's claims"
_RESTORE = (
    "Read it. Supabase's is: select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''), "
    "nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid"
)


def _person(seen: Seen) -> Iterator[Check]:
    """All of it is the host app's to mend, so all of it warns."""
    definition = seen.entries.get(Key("table", PERSON))
    if definition is None:
        yield Check("R5", "fail", f"table {PERSON}", "the host app's table of persons", "missing")
        return
    writers = _may(seen, PERSON, "INSERT", "UPDATE", "DELETE")
    if _SECURITY not in definition and writers:
        expected = "row-level security on, or no writing by API roles"
        yield Check("R5", "warn", f"table {PERSON}", expected, f"off, and {writers}: anyone may take over a person")
    if _SECURITY not in definition and (reads := _for_persons(seen, PERSON)):
        yield Check("R5", "warn", f"table {PERSON}", _GUARDED, f"off, and {reads}: the service's queries choose alone")
    yield from _open_policies(seen, "R5", PERSON)
    if _SECURITY in definition and not _readable(seen, PERSON, "authenticated"):
        expected = "a policy by which owners see their persons"
        yield Check("R5", "warn", f"table {PERSON}", expected, "none: nobody sees any connection")
    unread = [row["column"] for row in seen.rows["person_columns"] if not row["readable"]]
    if unread:
        expected = "authenticated may select id and ownerId"
        found = f"not {', '.join(unread)}: each query on connections through the REST API fails (the service's do not)"
        yield Check("R5", "warn", f"table {PERSON}", expected, found)
    if not seen.rows["owner_index"]:
        yield _no_owner_index()


def _no_owner_index() -> Check:
    return Check(
        "R5",
        "warn",
        f'index on {PERSON} ("ownerId")',
        "an index, so that an owner's persons are found without reading all",
        "none",
        'It is the host app\'s to add: @@index([ownerId]) in its Prisma model Person, or: create index concurrently '
        '"Person_ownerId_idx" on "Person" ("ownerId")',
        "each list of an owner's connections reads every person",
    )  # fmt: skip


def _readings(seen: Seen) -> Iterator[Check]:
    definition = seen.entries.get(Key("table", READINGS))
    if definition is None:
        yield Check("R6", "fail", f"table {READINGS}", "the host app's table of readings", "missing")
        return
    grants = _may(seen, READINGS, "SELECT", "INSERT", "UPDATE", "DELETE")
    if _SECURITY not in definition and grants:
        yield Check("R6", "warn", f"table {READINGS}", "row-level security on, or no grants", f"off, and {grants}")
    if _SECURITY not in definition and (reads := _for_persons(seen, READINGS)):
        found = f"off, and {reads}: all readings are open to it; the service's queries choose by owner, and they alone"
        yield Check("R6", "warn", f"table {READINGS}", _GUARDED, found, why=_ALONE)
    yield from _open_policies(seen, "R6", READINGS)
    if _SECURITY in definition and not _readable(seen, READINGS, "authenticated"):
        expected = "a policy by which owners see their readings"
        yield Check("R6", "warn", f"table {READINGS}", expected, "none: nobody sees any reading")
    for key, text in sorted(seen.entries.items()):
        if key.kind == "policy" and key.name.startswith((f"{PERSON} ", f"{READINGS} ")) and _narrows_ours(text):
            yield Check("R6", "warn", str(key), "no restrictive policy for the service's roles", text)


_GUARDED = "row-level security on: a second guard for what is asked for a person"
_ALONE = "a fault in one query of the service would show everybody's readings: nothing in the database stands behind it"


def _for_persons(seen: Seen, table: str) -> str:
    """What our own migrations let the service read of a host table when it acts for a person."""
    return _may(seen, table, "SELECT", roles=("cgm_request",)) if seen.expect == "target" else ""


def _open_policies(seen: Seen, id_: str, table: str) -> Iterator[Check]:
    """Policies that let the API's roles in without asking who they are."""
    for key, text in sorted(seen.entries.items()):
        if key.kind != "policy" or not key.name.startswith(f"{table} ") or not text.startswith("permissive"):
            continue
        conditions = _CONDITION.split(_split(text)[1])[1:]
        asks = all(one == "false" or _ASKS_WHO.search(one) for one in conditions)
        if not asks and set(_ASKING) & _roles(text):
            yield Check(id_, "warn", str(key), "a policy that compares its rows with auth.uid()", text)


def _narrows_ours(policy: str) -> bool:
    return policy.startswith("restrictive") and bool({"public", *OUR_ROLES} & _roles(policy))


def _readable(seen: Seen, table: str, role: str) -> bool:
    return any(
        _split(text)[0].startswith(("permissive for select ", "permissive for all "))
        and {"public", role} & _roles(text)
        for key, text in seen.entries.items()
        if key.kind == "policy" and key.name.startswith(f"{table} ")
    )


def _may(seen: Seen, table: str, *privileges: str, roles: Collection[str] = API_ROLES) -> str:
    """What the API roles may do with a table: "anon may insert, update"; '' where nothing of it."""
    told = []
    for row in seen.rows["api_privileges"]:
        held = [one for one in privileges if one in row["privileges"]]
        if row["object"] == table and row["role"] in roles and held:
            told.append(f"{row['role']} may {', '.join(held).lower()}")
    return "; ".join(told)
