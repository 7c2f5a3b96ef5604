"""A row a migration for each database; the two traps of the report are found, each with the command that mends it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starts import lay, snapshot_of

from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.status import Seen, Status, exit_code, statuses_of
from evercgm.storage.schema.target import finished, target

OURS = {migration.version: migration.name for migration in migrations()}
FIRST = next(iter(OURS))
BUCKET = {"20251010090002": "create_food_photos_bucket"}
REPAIR = "supabase migration repair {} --status applied"


def host_folder(folder: Path, names: Mapping[str, str], *, with_ours: bool = True) -> Path:
    for version, name in ({**OURS, **names} if with_ours else names).items():
        (folder / f"{version}_{name}.sql").write_text("")
    (folder / "20251010090003_another.sql.skip").write_text("")
    (folder / "notes.sql").write_text("")
    return folder


def of_history(history: Mapping[str, str], entries: Mapping[Key, str] | None = None) -> Seen:
    return Seen("here", Snapshot(finished() if entries is None else entries, history), " --environment here")


def host_states(status: Status) -> dict[str, str]:
    return {row.version: row.state for row in status.host}


async def test_both_traps_of_the_report_are_found_with_what_mends_them(make_empty_database: Any) -> None:
    seen = []
    for name in ("staging", "production"):
        fresh = make_empty_database()
        await lay(fresh, name)
        seen.append(Seen(name, await snapshot_of(fresh.admin_dsn), f" --environment {name}"))

    staging, production = statuses_of(seen, None)

    (skipped,) = staging.host
    assert (skipped.version, skipped.state) == ("20251010090002", "skipped")
    assert skipped.why == "a newer version (20251016000001) is recorded, so every later push refuses"
    assert skipped.mend is not None
    assert skipped.mend.startswith("look whether its objects are there; if so: " + REPAIR.format("20251010090002"))
    assert host_states(production) == {"20251010090002": "recorded"}
    lacking = production.rows[0]
    assert (lacking.version, lacking.recorded, lacking.objects) == (FIRST, False, "all")
    assert lacking.mend is not None
    assert lacking.mend.startswith("evercgm db migrate --environment production ")
    assert REPAIR.format(FIRST) in lacking.mend
    assert [row.objects for row in staging.rows] == ["all", "none", "none", "none", "none"]
    assert [row.objects for row in production.rows] == ["all", "some", "none", "none", "none"]
    assert exit_code([staging, production]) == 1


async def test_a_migrated_database_has_nothing_to_do(make_empty_database: Any, tmp_path: Path) -> None:
    fresh = make_empty_database()
    await lay(fresh, "production")
    await migrate(fresh.admin_dsn)

    (status,) = statuses_of([Seen("here", await snapshot_of(fresh.admin_dsn))], host_folder(tmp_path, BUCKET))

    assert [(row.recorded, row.objects, row.mend) for row in status.rows] == [(True, "all", None)] * 5
    assert host_states(status) == {"20251010090002": "recorded"}
    assert exit_code([status]) == 0


@pytest.mark.parametrize(
    ("files", "with_ours", "history", "expected"),
    [
        (BUCKET, True, OURS, {"20251010090002": "skipped"}),
        (BUCKET, True, {**OURS, **BUCKET}, {"20251010090002": "recorded"}),
        (BUCKET, True, {}, {"20251010090002": "waiting"}),
        ({"20270101000000": "later"}, True, OURS, {"20270101000000": "waiting"}),
        ({}, True, {**OURS, **BUCKET}, {"20251010090002": "without a file"}),
        (BUCKET, False, {**BUCKET, FIRST: OURS[FIRST]}, {"20251010090002": "recorded", FIRST: "without a file"}),
        ({"7": "short"}, True, {"7": "short"}, {"7": "recorded"}),
    ],
)
def test_the_hosts_own_files_beside_the_history(
    tmp_path: Path, files: dict[str, str], with_ours: bool, history: dict[str, str], expected: dict[str, str]
) -> None:
    folder = host_folder(tmp_path, files, with_ours=with_ours)

    (status,) = statuses_of([of_history(history)], folder)

    assert host_states(status) == expected
    assert {row.version for row in status.host if row.mend} == {
        version for version, state in expected.items() if state != "recorded"
    }


def test_our_files_that_the_host_lacks_are_copied_by_the_command_given(tmp_path: Path) -> None:
    (status,) = statuses_of([of_history(OURS)], host_folder(tmp_path, {}, with_ours=False))

    copies = [(row.mend or "").split() for row in status.host]

    assert [command for command, _file, _to in copies] == ["cp"] * 5
    assert [Path(file).is_file() for _command, file, _to in copies] == [True] * 5
    assert {to for _command, _file, to in copies} == {f"{tmp_path}/"}


def test_a_host_file_that_waits_is_to_be_pushed_before_our_newer_ones(tmp_path: Path) -> None:
    folder = host_folder(tmp_path, {"20261101000000": "older_than_ours", "20270101000000": "newer"})

    (status,) = statuses_of([of_history({FIRST: OURS[FIRST]})], folder)

    assert [row.why is not None for row in status.host] == [True, False]
    assert "before evercgm db migrate" in (status.host[0].why or "")


@pytest.mark.parametrize(
    ("entries", "objects", "mend"),
    [
        ({}, "none", "evercgm db migrate --environment here"),
        (dict(list(target()[FIRST].items())[:3]), "some", "evercgm db migrate --environment here"),
        (
            {**target()[FIRST], Key("enum", 'public."CGMConnectionStatus"'): "'connected'"},
            "different",
            "evercgm db migrate --plan --environment here (it says what is in another form)",
        ),
    ],
)
def test_what_is_there_decides_the_command(entries: dict[Key, str], objects: str, mend: str) -> None:
    (status,) = statuses_of([of_history({}, entries)], None)

    assert (status.rows[0].objects, status.rows[0].mend) == (objects, mend)


def test_a_recorded_migration_without_its_objects_is_a_stop() -> None:
    (status,) = statuses_of([of_history(OURS, {})], None)

    assert {(row.recorded, row.objects) for row in status.rows} == {(True, "none")}
    assert [row.mend for row in status.rows] == [
        f"evercgm db migrate --repair {version} --environment here makes again what is missing" for version in OURS
    ]


def test_a_history_that_may_not_be_read_leaves_the_answer_open() -> None:
    hidden = Seen("here", Snapshot(finished(), None, history_hidden=True))

    (status,) = statuses_of([hidden], None)

    assert {(row.recorded, row.objects) for row in status.rows} == {(None, "all")}
    assert exit_code([status]) == 2


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ([], 0),
        ([Status("old", "decommissioned", "2025-10-14")], 0),
        ([Status("gone", "unreachable", "no answer in time")], 2),
    ],
)
def test_an_unreachable_database_is_an_open_answer_and_a_decommissioned_one_is_none(
    others: list[Status], code: int
) -> None:
    assert exit_code([*statuses_of([of_history(OURS)], None), *others]) == code
