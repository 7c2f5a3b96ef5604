"""H1: what is recorded as applied, beside the objects that are there; Prisma's own history, too. Pure."""

from collections.abc import Iterator

from evercgm.storage.schema.mending import mend_of
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.plan import Step, step_of
from evercgm.storage.schema.verify_findings import Check, Seen, Status

HISTORY = "supabase_migrations.schema_migrations"
_SHOWN = 4


def check_history(seen: Seen) -> list[Check]:
    """H1, one entry a migration of ours, one for the host app's, one for Prisma's."""
    if seen.snapshot.history_hidden:
        found = "this role may not read it"
        return [Check("H1", "unknown", HISTORY, "all migrations of ours", found, _ASK), *_prisma(seen)]
    return [*_ours(seen), *_foreign(seen), *_prisma(seen)]


_ASK = "Ask again as the migrating role: set MIGRATION_DATABASE_URL."


def _ours(seen: Seen) -> Iterator[Check]:
    history = seen.snapshot.history or {}
    for number, one in enumerate(migrations()):
        step = step_of(one.version, one.name, seen.entries, history)
        if seen.expect == "target" or number == 0:
            yield _check_step(seen, step)
        elif step.recorded:
            expected = f"not yet applied in the form of {seen.expect}"
            yield Check("H1", "fail", _named(step), expected, "recorded")


def _check_step(seen: Seen, step: Step) -> Check:
    expected = "its objects are there, and it is recorded"
    status, found, mend = _judged(seen, step)
    return Check("H1", status, _named(step), expected, found, mend)


def _judged(seen: Seen, step: Step) -> tuple[Status, str, str]:
    if step.action == "nothing":
        return "ok", "so", ""
    reasons = step.reasons()
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    told = "; ".join(reasons[:_SHOWN]) + more
    if step.recorded:
        mend = mend_of(step) if step.action == "stop" else "evercgm db migrate sets the grants again."
        return "fail", f"recorded, but {told}", mend
    late = _overtaken(seen, step)
    if step.action == "adopt":
        mend = (
            f"evercgm db migrate records it (the same as: supabase migration repair {step.version} --status applied)."
        )
        return "fail" if seen.expect == "target" else "warn", f"already existed: not recorded{late}", mend
    mend = "evercgm db migrate --plan, then: evercgm db migrate"
    if step.action == "apply":
        return "fail", f"not applied{late}", mend
    if step.action == "complete":
        return "fail", f"applied in part, not recorded{late}: {told}", mend
    mend = (
        "Objects of these names stand in another form: evercgm db migrate stops at them. Bring them to the form said."
    )
    return "fail", f"not recorded{late}, and {told}", mend


def _overtaken(seen: Seen, step: Step) -> str:
    newest = max(seen.snapshot.history or {"": ""})
    if newest <= step.version:
        return ""
    return f", and older than {newest} (out of order: the Supabase CLI pushes it only with --include-all)"


def _named(step: Step) -> str:
    return f"migration {step.version}_{step.name}"


def _foreign(seen: Seen) -> Iterator[Check]:
    own = {one.version for one in migrations()}
    others = {version: name for version, name in (seen.snapshot.history or {}).items() if version not in own}
    newer = sorted(version for version, name in others.items() if name.startswith("cgm_") and version > max(own))
    if newer:
        expected = "no migration of ours that this program does not know"
        mend = "A newer evercgm was here: use that version."
        yield Check("H1", "warn", HISTORY, expected, f"recorded: {', '.join(newer)}", mend)
    if others:
        found = f"{len(others)}, not ours to judge: {', '.join(sorted(others)[-_SHOWN:])}"
        yield Check("H1", "ok", HISTORY, "the host app's own versions are only listed", found)


def _prisma(seen: Seen) -> Iterator[Check]:
    there = next(iter(seen.rows["prisma_there"]), None)
    if there is None:
        return
    about = "public._prisma_migrations"
    if not there["readable"]:
        yield Check("H1", "unknown", about, "Prisma's history, readable", "this role may not read it", _ASK)
        return
    rows = seen.rows["prisma_history"]
    broken = [row["name"] for row in rows if not row["finished"] and not row["rolled_back"]]
    if broken:
        mend = f"prisma migrate resolve --applied {broken[0]} (or --rolled-back)"
        yield Check("H1", "warn", about, "no failed migration", f"failed: {', '.join(broken)}", mend)
    elif not any(row["finished"] and not row["rolled_back"] for row in rows):
        mend = "prisma migrate resolve --applied 20251016_add_cgm_connection, or its next deploy runs that file again."
        yield Check("H1", "warn", about, "20251016_add_cgm_connection is recorded", "it is not", mend)
    else:
        yield Check("H1", "ok", about, "20251016_add_cgm_connection is recorded", "it is")
