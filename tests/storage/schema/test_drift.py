"""Two databases side by side: what differs, how much it matters, and what closes it."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starts import lay, snapshot_of

from evercgm.storage.schema.drift import differences, severity_of
from evercgm.storage.schema.drift_report import Party, Report, as_json, as_markdown, as_text, compare
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import finished, target

MIRRORED = {"missing": "extra", "extra": "missing", "different": "different"}
OPPOSITE = {"first": "second", "second": "first"}
# What the two shapes of the report differ in, as the report says.
EXPECTED = {
    ("extra", "breaks", "column public.cgm_connections.metadata", "20261124000001", ("first",)),
    ("different", "breaks", "column public.cgm_connections.provider", "20261124000001", ("first",)),
    ("extra", "breaks", 'enum public."CGMProvider"', "20261124000001", ("first",)),
    ("extra", "breaks", "history 20251010090002", None, ("first",)),
    ("missing", "breaks", "history 20251016000001", "20251016000001", ("second",)),
    (
        "extra",
        "weakens",
        "index public.cgm_connections.cgm_connections_last_sync_at_idx",
        "20261124000001",
        ("first",),
    ),
    (
        "extra",
        "weakens",
        "index public.cgm_connections.cgm_connections_person_id_status_idx",
        "20261124000001",
        ("first",),
    ),
}


@pytest.fixture
async def shapes(make_empty_database: Any) -> dict[str, Any]:
    """STAGING and PRODUCTION as the report left them: the databases and their snapshots."""
    found = {}
    for name in ("staging", "production"):
        fresh = make_empty_database()
        await lay(fresh, name)
        found[name] = (fresh, await snapshot_of(fresh.admin_dsn))
    return found


def report_of(first: Snapshot, second: Snapshot) -> Report:
    return compare(Party("staging", first, is_environment=True), Party("production", second))


async def test_staging_and_production_differ_in_what_the_report_says_and_nothing_more(shapes: Any) -> None:
    found = differences(shapes["staging"][1], shapes["production"][1])

    assert {(one.change, one.severity, str(one.key), one.closed_by, one.behind) for one in found} == EXPECTED
    assert [one.severity for one in found] == sorted(one.severity for one in found)


async def test_each_difference_of_the_two_shapes_is_told_with_the_command_that_closes_it(shapes: Any) -> None:
    text = as_text(report_of(shapes["staging"][1], shapes["production"][1]))

    assert text.startswith("staging and production: 7 differences (5 breaks, 2 weakens).")
    assert "different: column public.cgm_connections.provider" in text
    assert 'production: public."CGMProvider" not null' in text
    assert "-> 20261124000001_cgm_match_production on staging: evercgm db migrate --environment staging" in text
    assert (
        "-> evercgm db migrate records it on production (or: supabase migration repair 20251016000001 --status applied)"
        in text
    )
    assert "if so: supabase migration repair 20251010090002 --status applied" in text


async def test_after_the_migrations_only_the_hosts_own_history_is_left(shapes: Any) -> None:
    reached = {}
    for name, (fresh, _before) in shapes.items():
        await migrate(fresh.admin_dsn, unknown="quarantine")
        reached[name] = await snapshot_of(fresh.admin_dsn)

    left = differences(reached["staging"], reached["production"])

    assert [str(one.key) for one in left] == ["history 20251010090002"]


@pytest.mark.parametrize(
    ("spoilt", "key", "change", "severity", "closing"),
    [
        (
            "alter table cgm_connections disable row level security",
            "table public.cgm_connections",
            "different",
            "weakens",
            "is recorded on production: bring what is in another form",
        ),
        (
            "grant select on cgm_connections to anon",
            "grant public.cgm_connections to anon",
            "extra",
            "weakens",
            "rights that are not those of 20261124000003_cgm_access",
        ),
        (
            "grant usage on schema cgm_private to authenticated",
            "schema grant cgm_private to authenticated",
            "extra",
            "weakens",
            "evercgm db migrate sets those of the API's roles and of ours again",
        ),
        (
            "grant execute on function cgm_private.touch_updated_at() to public",
            "function grant cgm_private.touch_updated_at() to public",
            "extra",
            "weakens",
            "evercgm db migrate sets those of the API's roles and of ours again",
        ),
        (
            "revoke select on glucose_readings from cgm_request",
            "grant public.glucose_readings to cgm_request",
            "missing",
            "breaks",
            "20261124000003_cgm_access on production: evercgm db migrate",
        ),
        (
            "revoke usage on schema cgm_private from cgm_worker",
            "schema grant cgm_private to cgm_worker",
            "missing",
            "breaks",
            "20261124000003_cgm_access on production: evercgm db migrate",
        ),
        (
            'drop policy "Users can view own CGM connections" on cgm_connections',
            'policy public.cgm_connections "Users can view own CGM connections"',
            "missing",
            "weakens",
            "is recorded on production: evercgm db migrate --repair 20261124000003 makes again",
        ),
        (
            "drop index cgm_connections_person_id_provider_key",
            "index public.cgm_connections.cgm_connections_person_id_provider_key",
            "missing",
            "breaks",
            "is recorded on production: evercgm db migrate --repair 20251016000001 makes again",
        ),
        (
            "drop index cgm_connections_person_id_provider_key;"
            " alter table cgm_connections add constraint cgm_connections_person_id_provider_key"
            " unique (person_id, provider)",
            "index public.cgm_connections.cgm_connections_person_id_provider_key",
            "different",
            "cosmetic",
            "nothing to close",
        ),
        (
            'alter table cgm_connections alter column device_id type text collate "C"',
            "column public.cgm_connections.device_id",
            "different",
            "breaks",
            "is recorded on production",
        ),
        (
            "alter table cgm_connections disable trigger cgm_connections_updated_at",
            "trigger public.cgm_connections cgm_connections_updated_at",
            "different",
            "weakens",
            "is recorded on production",
        ),
        (
            'alter table "Person" add column nickname text',
            'column public."Person".nickname',
            "extra",
            "breaks",
            "no migration of ours",
        ),
        (
            "alter table cgm_private.routes owner to authenticated",
            "table cgm_private.routes",
            "different",
            "weakens",
            "is recorded on production",
        ),
        (
            "alter default privileges in schema public grant select on tables to anon",
            "default privileges public",
            "extra",
            "weakens",
            "a setting of the project",
        ),
    ],
)
async def test_one_change_is_one_difference(
    database: Any, spoilt: str, key: str, change: str, severity: str, closing: str
) -> None:
    before = await snapshot_of(database.admin_dsn)
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute(spoilt.encode())

    report = report_of(before, await snapshot_of(database.admin_dsn))

    assert [(str(one.key), one.change, one.severity) for one in report.found] == [(key, change, severity)]
    assert closing in json.loads(as_json(report))["differences"][0]["closing"]


async def test_json_is_one_line_and_markdown_a_page(shapes: Any) -> None:
    report = report_of(shapes["staging"][1], shapes["production"][1])

    told = json.loads(as_json(report))
    page = as_markdown(report)

    assert "\n" not in as_json(report)
    assert (told["equal"], len(told["differences"])) == (False, 7)
    assert told["first"]["name"] == "staging"
    assert page.startswith("# staging and production\n")
    assert "| breaks | `column public.cgm_connections.provider` | different |" in page
    assert '- production: `public."CGMProvider" not null`' in page


async def test_names_with_what_does_not_print_break_no_line_and_no_table(database: Any) -> None:
    before = await snapshot_of(database.admin_dsn)
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute('create index "a\n| b ``c`` \x1b[2J" on cgm_connections (device_id)')

    report = report_of(before, await snapshot_of(database.admin_dsn))

    page, text = as_markdown(report), as_text(report)
    (row,) = (line for line in page.splitlines() if line.startswith("| weakens"))
    assert row.startswith(
        r'| weakens | ``` index public.cgm_connections."a\n\| b ``c`` \x1b[2J" ``` | only on production'
    )
    assert len(text.splitlines()) == 6
    assert not [one for one in page + text if not one.isprintable() and one != "\n"]


async def test_nothing_of_the_rows_is_in_a_report(shapes: Any) -> None:
    report = report_of(shapes["staging"][1], shapes["production"][1])

    for printed in (as_text(report), as_json(report), as_markdown(report)):
        for marked in ("plain-", "enc:", "person-alice", "conn-", "eversense", "@", "127.0.0.1"):
            assert marked not in printed


def test_a_history_that_may_not_be_read_leaves_the_answer_open() -> None:
    seen = Snapshot(finished(), {"20251016000001": "add_cgm_connection"})
    hidden = Snapshot(finished(), None, history_hidden=True)

    report = report_of(seen, hidden)

    assert (report.found, report.exit_code) == ((), 2)
    assert "no difference in what could be read" in as_text(report)
    assert "history of production may not be read" in as_text(report)
    assert json.loads(as_json(report))["equal"] is False


@pytest.mark.parametrize(
    ("key", "one", "other", "severity"),
    [
        (Key("index", "t.i"), "CREATE INDEX i", None, "weakens"),
        (Key("index", "t.i"), "CREATE UNIQUE INDEX i", "CREATE INDEX i", "breaks"),
        (Key("index", "t.i"), "CREATE UNIQUE INDEX i", "CREATE UNIQUE INDEX i (by a constraint)", "cosmetic"),
        (Key("index", "t.i"), "CREATE UNIQUE INDEX i", "CREATE UNIQUE INDEX i (by a deferrable constraint)", "breaks"),
        (Key("index", "t.i"), "CREATE INDEX i", "CREATE INDEX i (invalid)", "weakens"),
        (Key("constraint", "t.c"), "FOREIGN KEY x", "FOREIGN KEY x NOT VALID", "weakens"),
        (Key("constraint", "t.c"), "FOREIGN KEY x", "FOREIGN KEY y", "breaks"),
        (Key("table", "t"), "table, row-level security", "table", "weakens"),
        (Key("table", "t"), "table", "view", "breaks"),
        (Key("function", "f()"), "returns uuid stable body 1", "returns uuid stable set x body 2", "weakens"),
        (Key("function", "f()"), "returns uuid stable body 1", "returns text stable body 1", "breaks"),
        (Key("function", "f()"), "returns uuid stable body 1", None, "breaks"),
        (Key("role", "r"), "group, member of a", "superuser, group, member of a", "weakens"),
        (Key("role", "r"), "group, member of a", "group", "breaks"),
        (Key("grant", "t to anon"), "select", None, "weakens"),
        (Key("grant", "t to cgm_worker"), "select", "select, update", "breaks"),
        (Key("enum", "e"), "'a', 'b'", "'b', 'a'", "breaks"),
        (Key("default privileges", "public"), "anon", None, "weakens"),
    ],
)
def test_severity(key: Key, one: str | None, other: str | None, severity: str) -> None:
    assert severity_of(key, one, other) == severity
    assert severity_of(key, other, one) == severity


KEYS = st.sampled_from([*finished(), Key("grant", "public.cgm_connections to anon"), Key("column", "public.x.y")])
FORMS = st.sampled_from([*{text for entries in target().values() for text in entries.values()}, "another form"])
HISTORIES = st.dictionaries(st.sampled_from([*target(), "20251010090002"]), st.just("a name"), max_size=6)
SNAPSHOTS = st.builds(Snapshot, st.dictionaries(KEYS, FORMS, max_size=12), st.none() | HISTORIES)


@settings(deadline=None)
@given(SNAPSHOTS)
def test_a_shape_does_not_differ_from_itself(one: Snapshot) -> None:
    assert differences(one, one) == []


@settings(deadline=None)
@given(SNAPSHOTS, SNAPSHOTS)
def test_seen_from_the_other_side_it_is_the_same(one: Snapshot, other: Snapshot) -> None:
    there = {
        (found.key, found.change, found.severity, found.first, found.second, found.closed_by, found.behind)
        for found in differences(one, other)
    }
    back = {
        (
            found.key,
            MIRRORED[found.change],
            found.severity,
            found.second,
            found.first,
            found.closed_by,
            tuple(sorted(OPPOSITE[side] for side in found.behind)),
        )
        for found in differences(other, one)
    }

    assert there == back


@settings(deadline=None)
@given(SNAPSHOTS, SNAPSHOTS)
def test_every_report_can_be_printed_in_every_form(one: Snapshot, other: Snapshot) -> None:
    report = report_of(one, other)

    assert report.exit_code == (1 if report.found else 0)
    assert all(str(found.key) in as_text(report) for found in report.found)
    assert len(json.loads(as_json(report))["differences"]) == len(report.found)
    assert as_markdown(report).count("\n## ") == len(report.found)
