"""Four starting points, one shape: an empty PostgreSQL, a host app alone, and the two shapes of the report."""

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from by_hand import EVERYTHING_IS_OPEN, ROLLBACK, VERSIONS, held, rows, run, run_as_one, run_as_psql
from starts import STARTS, lay, migrating_dsn, snapshot_of

from evercgm.storage.schema.drift import Difference, differences
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.snapshot import Snapshot

# What the host app made, in whatever form; ours are only the objects on them that the target names.
HOST = ('public."Person"', "public.glucose_readings", 'public."GlucoseSource"', "auth.")
KNOBS = [(rls, grants) for rls in ("off", "on") for grants in ("on", "off")]
COUNTS = {"host-only": (0, 0, 9), "staging": (6, 3, 9), "production": (6, 0, 9), "empty": (0, 0, 0)}


@pytest.fixture(scope="module")
def wanted(postgres: Any) -> Iterator[Snapshot]:
    """The shape that an empty PostgreSQL ends in."""
    fresh = postgres.create(f"test_starts_{secrets.token_hex(4)}")

    async def reach() -> Snapshot:
        await lay(fresh, "empty")
        await migrate(fresh.owner_dsn)
        return await snapshot_of(fresh.owner_dsn)

    with ThreadPoolExecutor(1) as apart:
        yield apart.submit(asyncio.run, reach()).result()
    postgres.drop(fresh.name)


def ours(found: list[Difference]) -> list[Difference]:
    """Without what the host app and its history are, which the starts have each in their way."""
    return [
        one
        for one in found
        if one.key.kind not in ("history", "default privileges")
        and (one.closed_by is not None or not one.key.name.startswith(HOST))
    ]


def counts(dsn: str) -> tuple[int, int, int]:
    """Connections, connections put aside, readings."""
    tables = ("public.cgm_connections", "cgm_private.quarantined_connections", "public.glucose_readings")
    kept, aside, readings = (rows(dsn, f"select count(*) from {table}")[0][0] for table in tables)
    return kept, aside, readings


@pytest.mark.parametrize(
    ("start", "host_rls", "auto_grants"),
    [("empty", "on", "off"), *((start, *knobs) for start in STARTS if start != "empty" for knobs in KNOBS)],
)
async def test_every_start_ends_in_one_shape_and_a_second_run_does_nothing(
    make_empty_database: Any, wanted: Snapshot, start: str, host_rls: str, auto_grants: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start, host_rls=host_rls, auto_grants=auto_grants)
    dsn = migrating_dsn(fresh, start)

    applied = await migrate(dsn, unknown="quarantine")

    reached = await snapshot_of(dsn)
    assert ours(differences(wanted, reached)) == []
    assert counts(fresh.admin_dsn) == COUNTS[start]
    recorded = {"staging": VERSIONS[1:]}.get(start, VERSIONS)
    assert [(one.version, one.existed) for one in applied] == [
        (version, start == "production" and version == VERSIONS[0]) for version in recorded
    ]

    rows_before = held(fresh.admin_dsn)
    again = await migrate(dsn, unknown="quarantine")
    for migration in migrations():
        run_as_one(dsn, migration.path)

    assert again == []
    assert differences(reached, await snapshot_of(dsn)) == []
    assert held(fresh.admin_dsn) == rows_before


@pytest.mark.parametrize("by", ["our runner", "psql"])
@pytest.mark.parametrize("start", ["host-only", "staging", "production"])
async def test_default_privileges_open_nothing_of_ours(
    make_empty_database: Any, wanted: Snapshot, start: str, by: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)
    run(fresh.admin_dsn, *EVERYTHING_IS_OPEN)

    if by == "our runner":
        await migrate(fresh.admin_dsn, unknown="quarantine")
    else:
        for migration in migrations():
            run_as_psql(fresh.admin_dsn, migration.path)

    assert ours(differences(wanted, await snapshot_of(fresh.admin_dsn))) == []


async def test_tokens_that_are_put_aside_are_closed_before_any_later_file(make_empty_database: Any) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    run(fresh.admin_dsn, *EVERYTHING_IS_OPEN)

    for migration in migrations()[:2]:
        run_as_psql(fresh.admin_dsn, migration.path)

    grants = [
        str(key)
        for key in (await snapshot_of(fresh.admin_dsn)).entries
        if key.kind.endswith("grant") and key.name.startswith("cgm_private")
    ]
    assert grants == []


@pytest.mark.parametrize("start", ["host-only", "staging", "production"])
async def test_the_files_alone_as_psql_runs_them_end_in_the_same_shape(
    make_empty_database: Any, wanted: Snapshot, start: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)

    for _ in range(2):
        for migration in migrations():
            run_as_psql(fresh.admin_dsn, migration.path)

    reached = await snapshot_of(fresh.admin_dsn)
    assert ours(differences(wanted, reached)) == []
    assert counts(fresh.admin_dsn) == COUNTS[start]


MIXED_POLICIES = (
    'alter table "Person" enable row level security',
    'create policy "for all" on "Person" using ("ownerId" = auth.uid()::text)',
    'create policy "restricts" on "Person" as restrictive for select using (length(id) > 0)',
    'create policy "nobody deletes" on "Person" for delete to authenticated using (false)',
    'create policy "service" on "Person" to service_role using (true) with check (true)',
    'create policy "by connection" on "Person" for select using (exists ('
    "select from cgm_connections c where c.person_id = \"Person\".id and c.status = 'connected'))",
    'create policy "host may read" on cgm_connections for select to service_role using (true)',
    "alter table cgm_connections add column host_note text",
    "create index host_index on cgm_connections (host_note, provider)",
)


@pytest.mark.parametrize("start", ["staging", "production"])
async def test_what_the_host_has_besides_stays_and_is_no_obstacle(
    make_empty_database: Any, wanted: Snapshot, start: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)
    run(fresh.admin_dsn, *MIXED_POLICIES)
    before = await snapshot_of(fresh.admin_dsn)

    await migrate(fresh.admin_dsn, unknown="quarantine")

    after = await snapshot_of(fresh.admin_dsn)
    theirs = {
        "column public.cgm_connections.host_note",
        "index public.cgm_connections.host_index",
        'policy public.cgm_connections "host may read"',
    }
    assert {str(one.key) for one in ours(differences(wanted, after))} == theirs
    policies = {key: text for key, text in before.entries.items() if key.kind == "policy" and '"Person"' in key.name}
    assert policies.items() <= after.entries.items()


SAME_MEANING = {
    "uniqueness by a constraint": (
        "drop index cgm_connections_person_id_provider_key",
        "alter table cgm_connections"
        " add constraint cgm_connections_person_id_provider_key unique (person_id, provider)",
    ),
    "the policies in the other spelling": (
        *(
            f'alter policy "Users can {verb} own CGM connections" on cgm_connections {clause} (exists (select 1 from'
            ' "Person" o where o.id = cgm_connections.person_id and o."ownerId" = (select auth.uid())::text))'
            for verb, clause in (("view", "using"), ("insert", "with check"), ("update", "using"), ("delete", "using"))
        ),
    ),
    "the policies for signed-in people": (
        *(
            f'alter policy "Users can {verb} own CGM connections" on cgm_connections to authenticated'
            for verb in ("view", "insert", "delete")
        ),
    ),
}


@pytest.mark.parametrize("case", list(SAME_MEANING))
@pytest.mark.parametrize("start", ["staging", "production"])
async def test_what_means_the_same_is_accepted(
    make_empty_database: Any, wanted: Snapshot, start: str, case: str
) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)
    run(fresh.admin_dsn, *SAME_MEANING[case])

    await migrate(fresh.admin_dsn, unknown="quarantine")

    left = ours(differences(wanted, await snapshot_of(fresh.admin_dsn)))
    assert [one for one in left if one.severity != "cosmetic"] == []


async def test_a_database_that_was_rolled_back_reaches_the_shape_again(
    make_empty_database: Any, wanted: Snapshot
) -> None:
    fresh = make_empty_database()
    await lay(fresh, "staging")
    await migrate(fresh.admin_dsn, unknown="quarantine")
    run_as_psql(fresh.admin_dsn, ROLLBACK)

    await migrate(fresh.admin_dsn, unknown="quarantine")

    assert ours(differences(wanted, await snapshot_of(fresh.admin_dsn))) == []


async def test_the_compat_switch_keeps_the_old_grants_and_nothing_else(make_empty_database: Any) -> None:
    shapes = {}
    for compat in (True, False):
        fresh = make_empty_database()
        await lay(fresh, "production")
        await migrate(fresh.admin_dsn, compat=compat)
        shapes[compat] = await snapshot_of(fresh.admin_dsn)

    changed = {str(one.key) for one in differences(shapes[True], shapes[False])}
    assert changed == {f"grant public.cgm_connections to {role}" for role in ("anon", "authenticated")}
