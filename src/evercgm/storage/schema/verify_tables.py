"""T1 to T6: tables, enums, indexes, references, the readings' column, and what runs beside them. Pure."""

from collections.abc import Iterator

from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.verify_findings import (
    CONNECTIONS,
    OUR_SCHEMAS,
    PERSON,
    READINGS,
    Check,
    Seen,
    compared,
    is_form,
    missing_or_other,
    settled,
    wanted,
)

_HOST_ENUM = 'public."GlucoseSource"'


def check_tables(seen: Seen) -> list[Check]:
    """T1 to T6 in order."""
    return [
        *_tables(seen),
        *settled(
            "T2",
            compared(seen, "T2", ["enum"], lambda key: key.name != _HOST_ENUM and _looked_at(seen, key)),
            ", ".join(sorted(key.name for key in seen.shape if key.kind == "enum" and key.name.startswith("public."))),
            "these labels in this order",
        ),
        *settled("T3", compared(seen, "T3", ["index"], lambda key: _is_ours(seen, key)), _about(seen), "valid indexes"),
        *settled(
            "T4",
            [
                *compared(seen, "T4", ["constraint"], lambda key: _is_ours(seen, key)),
                *_silenced(seen),
                *_rules(seen),
            ],
            _about(seen),
            "primary keys, references with their actions, checks; validated, and nothing that silences them",
        ),
        *settled("T5", _readings(seen), f"{READINGS}.cgm_connection_id", "text, ON DELETE SET NULL, indexed"),
        *_beside(seen),
    ]


def _tables(seen: Seen) -> list[Check]:
    columns = sum(key.kind == "column" and key.name.startswith(f"{CONNECTIONS}.") for key in seen.shape)
    found = compared(seen, "T1", ["schema", "table", "column"], lambda key: _is_ours(seen, key))
    return settled("T1", found, _about(seen), f"{columns} columns of {CONNECTIONS}, types, nullability, defaults")


def _silenced(seen: Seen) -> Iterator[Check]:
    """References that are there and do nothing; those of the host app warn."""
    for row in seen.rows["silenced"]:
        key = Key("constraint", row["name"])
        found = f"does nothing: its triggers on {row['tables']} do not fire"
        mend = (
            f"As a superuser: alter table … enable trigger all, for each of {row['tables']}. An interrupted pg_restore "
            "--disable-triggers leaves them so: look at the rows that came or went meanwhile (D1)."
        )
        yield Check("T4", "fail" if key in seen.shape else "warn", str(key), "kept by its triggers", found, mend)


def _rules(seen: Seen) -> Iterator[Check]:
    for row in seen.rows["rules"]:
        about = f"rule {row['table_name']} {row['name']}"
        found = "statements are rewritten, those by which references are kept among them"
        mend = f"drop rule {row['name']} on {row['table_name']}"
        yield Check("T4", "warn" if row["table_name"] == PERSON else "fail", about, "no rule", found, mend)


def _readings(seen: Seen) -> Iterator[Check]:
    for key, expected in wanted(seen, ["column", "constraint", "index"]).items():
        if key.name.startswith(f"{READINGS}."):
            found = seen.entries.get(key)
            if not is_form(found, expected):
                yield missing_or_other(seen, "T5", key, expected, found)


def _beside(seen: Seen) -> list[Check]:
    """Triggers and functions; only the finished form has any."""
    if seen.expect != "target":
        return []
    found = compared(seen, "T6", ["trigger", "function"], lambda key: _is_ours(seen, key) or key in seen.shape)
    loose = [
        Check("T6", "fail", str(key), "a fixed search_path", text)
        for key, text in sorted(seen.entries.items())
        if key.kind == "function" and key not in seen.shape and _is_ours(seen, key) and "set search_path" not in text
    ]
    told = {check.object for check in loose}
    all_of_them = [*(check for check in found if check.object not in told), *loose]
    return settled("T6", all_of_them, _about(seen), "our triggers and functions, each with a fixed search_path")


def _about(seen: Seen) -> str:
    return ", ".join([CONNECTIONS, *(OUR_SCHEMAS if seen.expect == "target" else ())])


def _is_ours(seen: Seen, key: Key) -> bool:
    """Of the table of connections, or of our schemas where they are expected."""
    name = key.name
    if name == CONNECTIONS or name.startswith((f"{CONNECTIONS}.", f"{CONNECTIONS} ")):
        return True
    return seen.expect == "target" and (name in OUR_SCHEMAS or name.startswith(tuple(f"{s}." for s in OUR_SCHEMAS)))


def _looked_at(seen: Seen, key: Key) -> bool:
    return key.name.startswith("public.") or _is_ours(seen, key)
