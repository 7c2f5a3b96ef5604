"""What is missing of a recorded migration is made again by the command that is named; another form is never touched."""

import re
from typing import Any

import pytest
from by_hand import CONNECTIONS, VERSIONS, rows, run
from starts import lay, snapshot_of
from verify_mutations import connection
from verify_worlds import look

from evercgm.storage.schema.drift_report import Party, closing, compare
from evercgm.storage.schema.migrate import MigrationError, migrate, plan
from evercgm.storage.schema.repair import parts_of, repair
from evercgm.storage.schema.status import Seen, statuses_of

NAMED = re.compile(r"evercgm db migrate --repair (\d+)")
USERS = '"Users can view own CGM connections" on cgm_connections'
# What is gone, and the migrations that are repaired one after the other, as `db status` names them.
GONE = [
    ("drop index cgm_connections_status_idx", VERSIONS[:1]),
    ("drop index cgm_connections_person_id_provider_key", VERSIONS[:1]),
    ("drop index cgm_connections_last_sync_at_idx", VERSIONS[1:2]),
    ("drop index cgm_private.routes_person_id_idx", VERSIONS[2:3]),
    ("drop index cgm_jobs.pgqueuer_unique_dedupe_key", VERSIONS[4:]),
    ("alter table cgm_private.routes drop constraint routes_connection_id_route_key", VERSIONS[2:3]),
    ("alter table cgm_connections drop constraint cgm_connections_person_id_fkey", VERSIONS[:1]),
    ("alter table glucose_readings drop column cgm_connection_id cascade", [VERSIONS[0], VERSIONS[3]]),
    ("alter table cgm_connections drop constraint cgm_connections_pkey cascade", [VERSIONS[0], VERSIONS[2]]),
    ("alter table cgm_private.person_settings drop constraint person_settings_targets", VERSIONS[2:3]),
    ("alter table cgm_connections drop column error_message", [VERSIONS[0]]),
    ("alter table cgm_connections drop column metadata", [VERSIONS[1]]),
    ("alter table cgm_private.sync_state drop column failure_count", [VERSIONS[2]]),
    (f"drop policy {USERS}", [VERSIONS[0], VERSIONS[3]]),
    ('drop policy "cgm_worker may keep all" on cgm_private.routes', [VERSIONS[3]]),
    ("drop trigger glucose_readings_own_connection on glucose_readings", [VERSIONS[3]]),
    ("drop trigger tg_pgqueuer_changed on cgm_jobs.pgqueuer", [VERSIONS[4]]),
    ("drop function cgm_private.touch_updated_at() cascade", [VERSIONS[3]]),
    ("drop function cgm_private.users_of_provider()", [VERSIONS[1]]),
    ("drop table cgm_private.routes", [VERSIONS[2], VERSIONS[3]]),
    ("drop table cgm_connections cascade", [*VERSIONS[:4]]),
    ("drop schema cgm_jobs cascade", [VERSIONS[4]]),
    ("drop schema cgm_private cascade", [*VERSIONS[1:4]]),
]


async def repair_as_named(dsn: str) -> list[str]:
    """Do what `db status` says until it says nothing more of the kind: the versions."""
    done: list[str] = []
    while len(done) < 9:
        (status,) = statuses_of([Seen("here", await snapshot_of(dsn))], None)
        named = [NAMED.match(row.mend) for row in status.rows if row.mend]
        if not named or named[0] is None:
            break
        done.append(named[0].group(1))
        await repair(dsn, done[-1])
    return done


@pytest.mark.parametrize(("gone", "versions"), GONE)
async def test_what_is_gone_is_made_again_by_the_command_that_is_named(database: Any, gone: str, versions: list[str]):
    before = await snapshot_of(database.admin_dsn)
    run(database.admin_dsn, gone)

    with pytest.raises(MigrationError, match="is recorded as applied"):
        await migrate(database.owner_dsn)
    assert await repair_as_named(database.owner_dsn) == versions
    # Grants on one column go with it, and a plain run sets them.
    await migrate(database.owner_dsn)

    assert await snapshot_of(database.admin_dsn) == before
    assert await migrate(database.owner_dsn) == []


async def test_a_policy_that_two_migrations_write_is_made_again_by_the_last_at_once(database: Any):
    before = await snapshot_of(database.admin_dsn)
    run(database.admin_dsn, f"drop policy {USERS}")
    (told,) = (one for one in await look(database.admin_dsn) if one.id == "R2")

    await repair(database.owner_dsn, VERSIONS[3])

    assert told.mend.startswith(f"evercgm db migrate --repair {VERSIONS[3]} ")
    assert await snapshot_of(database.admin_dsn) == before


async def test_all_who_tell_of_it_name_the_same_command(database: Any):
    whole = await snapshot_of(database.admin_dsn)
    run(database.admin_dsn, "drop index cgm_connections_status_idx")
    command = f"evercgm db migrate --repair {VERSIONS[0]}"

    broken = await snapshot_of(database.admin_dsn)
    (status,) = statuses_of([Seen("here", broken)], None)
    report = compare(Party("one", whole), Party("other", broken))
    checks = [one for one in await look(database.admin_dsn) if one.status != "ok"]

    told = [status.rows[0].mend or "", closing(report, report.found[0]), *(one.mend for one in checks)]
    assert [(one.id, command in one.mend) for one in checks] == [("T3", True), ("H1", True)]
    assert all(command in words for words in told)


async def test_rows_stay_as_they_are_and_a_column_comes_back_empty(database: Any):
    run(database.admin_dsn, connection("1"), "update cgm_connections set device_id = 'd', status = 'error'")
    before = rows(database.admin_dsn, CONNECTIONS)
    run(database.admin_dsn, "alter table cgm_connections drop column device_id, drop column status")
    await repair(database.owner_dsn, VERSIONS[0])

    assert [one[0] for one in rows(database.admin_dsn, CONNECTIONS)] == [
        {**one[0], "device_id": None, "status": "connected"} for one in before
    ]


@pytest.mark.parametrize(
    ("changed", "version", "words"),
    [
        (
            "drop index cgm_connections_status_idx; create index cgm_connections_status_idx on cgm_connections (id)",
            VERSIONS[0],
            "index public.cgm_connections.cgm_connections_status_idx: expected CREATE INDEX",
        ),
        ("alter table cgm_connections alter device_id type varchar(9)", VERSIONS[0], "found character varying(9)"),
        (f"alter policy {USERS} using (true)", VERSIONS[3], "Users can view own CGM connections"),
        ("alter function cgm_private.touch_updated_at() reset search_path", VERSIONS[3], "touch_updated_at"),
    ],
)
async def test_another_form_stops_it_and_nothing_is_changed(database: Any, changed: str, version: str, words: str):
    run(database.admin_dsn, changed, "drop index if exists cgm_connections_person_id_idx")
    before = await snapshot_of(database.admin_dsn)

    with pytest.raises(MigrationError, match=r"Nothing was changed: bring what is in another form") as told:
        await repair(database.owner_dsn, version)

    assert words in str(told.value)
    assert await snapshot_of(database.admin_dsn) == before


async def test_what_is_in_another_form_is_made_again_once_it_is_dropped(database: Any):
    before = await snapshot_of(database.admin_dsn)
    run(database.admin_dsn, f"alter policy {USERS} using (true)", f"drop policy {USERS}")

    await repair_as_named(database.owner_dsn)

    assert await snapshot_of(database.admin_dsn) == before


async def test_what_is_not_recorded_is_left_to_the_run(make_empty_database: Any):
    fresh = make_empty_database()
    await lay(fresh, "staging")

    with pytest.raises(MigrationError, match="is not recorded: evercgm db migrate applies it"):
        await repair(fresh.admin_dsn, VERSIONS[1])


async def test_where_nothing_is_missing_nothing_is_done(database: Any):
    done = await repair(database.owner_dsn, VERSIONS[3])

    assert (done.made, done.left) == ((), ())


async def test_rows_that_do_not_fit_stop_it_without_being_told(database: Any):
    run(database.admin_dsn, "alter table cgm_connections drop constraint cgm_connections_person_id_fkey",
        connection("1"), """delete from "Person" where id = 'p-1'""")  # fmt: skip

    with pytest.raises(MigrationError, match=r"cgm_connections_person_id_fkey.*Nothing was changed") as told:
        await repair(database.owner_dsn, VERSIONS[0])

    assert "p-1" not in str(told.value)


async def test_compat_is_kept_while_a_policy_is_made_again(make_empty_database: Any):
    fresh = make_empty_database()
    await lay(fresh, "production")
    await migrate(fresh.admin_dsn, compat=True)
    before = await snapshot_of(fresh.admin_dsn)
    run(fresh.admin_dsn, 'drop policy "cgm_worker may keep all" on cgm_private.routes')

    await repair(fresh.admin_dsn, VERSIONS[3], compat=True)

    assert await snapshot_of(fresh.admin_dsn) == before


async def test_the_others_that_are_not_whole_are_named(database: Any):
    run(database.admin_dsn, "drop table cgm_private.routes")

    done = await repair(database.owner_dsn, VERSIONS[2])

    assert [one.version for one in done.left] == [VERSIONS[3]]
    assert "table cgm_private.routes is missing" in done.made


async def test_the_parts_of_a_table_that_is_gone_are_left_to_its_file(database: Any):
    run(database.admin_dsn, "drop table cgm_private.routes; drop index cgm_private.sync_runs_job_id_idx")

    steps = (await plan(database.owner_dsn)).steps

    entries = (await snapshot_of(database.admin_dsn)).entries
    assert [" ".join(one.split()[:3]) for one in parts_of(steps[2], entries)] == ["CREATE INDEX sync_runs_job_id_idx"]
