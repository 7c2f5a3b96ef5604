"""Each check of ``db verify`` fails when exactly its thing is broken, names it, and is silent otherwise."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from verify_mutations import BROKEN, HISTORY, connection, person
from verify_worlds import load, look, not_ok, statuses

from evercgm.storage.host_envelope import form_of
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.verify_findings import exit_code, made_strict
from evercgm.storage.schema.verify_words import WORDS
from evercgm.storage.vault import key_id

SHAPE_CHECKS = ("T1", "T2", "T3", "T4", "T5")
# One wrong thing may be told by two checks: the history's plan and the grants look at columns and tables, too.
ALSO = {"T1": {"G5"}, "T4": {"T6"}, "T6": {"G2"}, "R1": {"G5"}, "R4": {"R3", "R5", "R6"}, "G3": {"R1"}}


@pytest.fixture(scope="module")
def migrated(postgres, template_of) -> Iterator[str]:
    """A migrated standalone database, as superuser; what tests do to it is never committed."""
    fresh = postgres.create(f"test_verify_{secrets.token_hex(4)}", template_of(True))
    yield fresh.admin_dsn
    postgres.drop(fresh.name)


@pytest.fixture
def start(make_empty_database, shared_dir):
    """Makes one of the two shapes of the report: its superuser's DSN."""

    def make(name: str, **knobs: str) -> str:
        fresh = make_empty_database()
        load(fresh.admin_dsn, shared_dir / f"database/{name}.sql", **knobs)
        return fresh.admin_dsn

    return make


async def test_a_migrated_database_passes_every_check(migrated):
    checks = await look(migrated)

    assert not_ok(checks) == set()
    assert list(statuses(checks)) == [id_ for id_ in WORDS if id_ != "L1"]
    assert exit_code(made_strict(checks)) == 0


@pytest.mark.parametrize(("sql", "id_", "status", "about"), BROKEN)
async def test_one_broken_thing_is_told_by_its_check(migrated, postgres, sql, id_, status, about):
    name = {"service": postgres.service}

    checks = await look(migrated, sql.format(**name))

    assert (id_, status, about.format(**name)) in not_ok(checks, id_)
    assert {one.id for one in checks if one.status != "ok"} - {id_, "H1"} <= ALSO.get(id_, set())
    assert exit_code(checks) == (1 if "fail" in {one.status for one in checks} else 0)
    assert exit_code(made_strict(checks)) == 1


@pytest.mark.parametrize("start_name", ["staging", "production"])
@pytest.mark.parametrize(("host_rls", "auto_grants"), [("off", "on"), ("on", "on"), ("off", "off"), ("on", "off")])
async def test_the_shapes_of_the_report_are_known_and_their_gaps_are_told(start, start_name, host_rls, auto_grants):
    dsn = start(start_name, host_rls=host_rls, auto_grants=auto_grants)

    checks = await look(dsn, expect=start_name)

    found = statuses(checks)
    assert {found[id_] for id_ in (*SHAPE_CHECKS, "R1", "R4", "G3", "D3")} == {"ok"}
    assert (found["R2"], found["R3"]) == ("warn", "warn")
    assert found["G1"] == found["G2"] == ("warn" if auto_grants == "on" else "ok")
    assert (exit_code(checks), exit_code(made_strict(checks))) == (0, 1)
    assert found["G4"] == ("warn" if auto_grants == "on" else "ok")
    assert found["R6"] == ("warn" if (host_rls, auto_grants) == ("off", "on") else "ok")
    assert found["H1"] == ("ok" if start_name == "staging" else "warn")
    assert ("R5", "warn", 'index on public."Person" ("ownerId")') in not_ok(checks)


async def test_the_grants_of_the_first_form_are_wanted_with_compat_and_their_gaps_stay_named(start):
    checks = await look(start("production"), expect="production", compat=True)

    assert exit_code(checks) == 0
    told = {one.found for one in checks if one.object.endswith(".access_token")}
    assert told == {"selectable by anon and authenticated (gap 2 stays open)"}


async def test_each_shape_is_not_the_other(start):
    staging, production = start("staging"), start("production")

    missing = not_ok(await look(staging, expect="production"), *SHAPE_CHECKS)
    besides = not_ok(await look(production, expect="staging"), *SHAPE_CHECKS)

    assert missing == besides
    assert missing == {
        ("T1", "fail", "column public.cgm_connections.metadata"),
        ("T1", "fail", "column public.cgm_connections.provider"),
        ("T2", "fail", 'enum public."CGMProvider"'),
        ("T3", "fail", "index public.cgm_connections.cgm_connections_last_sync_at_idx"),
        ("T3", "fail", "index public.cgm_connections.cgm_connections_person_id_status_idx"),
    }


@pytest.mark.parametrize("start_name", ["staging", "production"])
@pytest.mark.parametrize(("host_rls", "auto_grants"), [("off", "on"), ("on", "off")])
async def test_after_the_migrations_nothing_fails_and_only_the_hosts_own_is_told(
    start, start_name, host_rls, auto_grants
):
    dsn = start(start_name, host_rls=host_rls, auto_grants=auto_grants)
    await migrate(dsn, unknown="quarantine")

    checks = await look(dsn)

    told = {"R5", "D1", "D2"} | ({"D3"} if start_name == "staging" else set())
    told |= {"G1", "G4"} if auto_grants == "on" else set()
    told |= {"R6"} if host_rls == "off" else set()
    assert {id_ for id_, status in statuses(checks).items() if status != "ok"} == told
    assert (exit_code(checks), exit_code(made_strict(checks))) == (0, 1)


async def test_a_host_with_only_persons_and_readings_passes_after_the_migrations(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)
    with psycopg.connect(fresh.owner_dsn) as host:
        host.execute('drop index "Person_ownerId_idx"')
    await migrate(fresh.owner_dsn)

    assert not_ok(await look(fresh.owner_dsn)) == {("R5", "warn", 'index on public."Person" ("ownerId")')}


async def test_without_the_hosts_row_level_security_the_services_own_grant_is_told(start):
    dsn = start("production", auto_grants="off")
    await migrate(dsn)

    checks = await look(dsn)

    told = {(one.id, one.object) for one in checks if one.found.startswith("off, and cgm_request may select: ")}
    assert told == {("R5", 'table public."Person"'), ("R6", "table public.glucose_readings")}
    with psycopg.connect(dsn) as connection:
        connection.execute("select set_config('request.jwt.claims', %s, true), set_config('role', 'cgm_request', true)",
                           ['{"sub": "d0000000-0000-4000-8000-00000000000d"}'])  # fmt: skip
        assert connection.execute("select count(*) > 0 from glucose_readings").fetchone() == (True,)


@pytest.mark.parametrize(
    "harmless",
    [
        "create view seen as select id, status from cgm_connections; grant select on seen to authenticated",
        "create view seen as select count(*) from cgm_connections; grant select on seen to authenticated",
        "create view seen with (security_invoker = on) as select access_token from cgm_connections;"
        " grant select on seen to authenticated",
        "create view base with (security_invoker = on) as select access_token from cgm_connections;"
        " create view seen as select * from base; grant select on seen to authenticated",
        "create view seen as select access_token from cgm_connections",
        'create view seen as select p from "Person" p, cgm_connections c where c.person_id = p.id;'
        " grant select on seen to authenticated",
        'create policy mine on "Person" for update to authenticated using ("ownerId" = (select auth.uid())::text)',
        'create policy mine on "Person" for select using ("ownerId" = (auth.jwt() ->> \'sub\'))',
        'create policy mine on "Person" for delete to authenticated using (false)',
        'create policy mine on "Person" for all to service_role using (true)',
        "create or replace function auth.uid() returns uuid language sql stable as $$\n  select\n  coalesce(\n"
        "    nullif(current_setting('request.jwt.claim.sub', true), ''),\n"
        "    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')\n  )::uuid;\n$$",
        "create rule late as on delete to cgm_connections do instead nothing;"
        " alter table cgm_connections disable rule late",
    ],
)
async def test_what_shows_and_opens_nothing_is_no_finding(migrated, harmless):
    assert not_ok(await look(migrated, harmless)) == set()


async def test_what_is_wrong_in_an_old_form_warns_unless_it_is_held_strictly(start):
    for name in ("staging", "production"):
        checks = await look(start(name), expect=name)

        assert {one.status for one in checks if one.id in ("G1", "G2")} == {"warn"}
        assert (exit_code(checks), exit_code(made_strict(checks))) == (0, 1)


async def test_compat_names_the_gaps_that_stay_open(start):
    dsn = start("production")
    await migrate(dsn, compat=True)

    plain, kept = await look(dsn), await look(dsn, compat=True)

    assert (statuses(plain)["G1"], statuses(plain)["G2"]) == ("fail", "fail")
    assert (statuses(kept)["G1"], statuses(kept)["G2"], exit_code(kept)) == ("warn", "warn", 0)
    assert not_ok(plain, "T1", "T3", "R2", "G3", "G5", "H1") == set()


async def test_the_report_says_which_columns_differ_from_what_is_expected(start):
    checks = await look(start("staging"), expect="target")

    told = {one.object: (one.expected, one.found) for one in checks}
    assert told["column public.cgm_connections.provider"] == ('public."CGMProvider" not null', "text not null")
    assert told["schema cgm_private"] == ("present", "missing")
    assert not [one for one in told if one.startswith(("table cgm_private", "column cgm_private"))]


async def test_an_empty_database_fails_without_an_error(make_empty_database):
    checks = await look(make_empty_database().admin_dsn)

    assert ("T1", "fail", "table public.cgm_connections") in not_ok(checks)
    assert ("R5", "fail", 'table public."Person"') in not_ok(checks)
    assert {one.status for one in checks if "cgm_connections" in one.object} <= {"fail", "unknown"}
    assert exit_code(checks) == 1


async def test_the_services_own_login_role_can_tell_everything(database):
    assert not_ok(await look(database.service_dsn)) == set()


async def test_what_a_plain_role_may_not_read_is_unknown_and_never_a_failure(migrated):
    checks = await look(migrated, "create role nobody_much; set local session authorization nobody_much")

    unknown = {"D1", "D2", "D3", "H1"}
    assert {id_ for id_, status in statuses(checks).items() if status != "ok"} == unknown
    assert {statuses(checks)[id_] for id_ in unknown} == {"unknown"}
    assert exit_code(checks) == 2


async def test_a_role_that_may_not_even_look_into_the_schema_gets_answers(migrated):
    sql = "revoke usage on schema public from public; create role blind; set local session authorization blind"

    checks = await look(migrated, sql)

    assert {one.status for one in checks} == {"ok", "unknown"}


async def test_rows_that_security_hides_are_not_counted_as_all(database):
    sql = person("1", "legacy") + 'alter table "Person" force row level security'

    checks = await look(database.owner_dsn, sql)

    found = next(one for one in checks if one.object == 'public."Person"' and one.id == "D1")
    assert (found.status, found.found) == ("unknown", 'this role may not read all rows of public."Person"')


async def test_a_membership_that_cannot_be_used_is_no_way_to_service_role(migrated, postgres):
    unusable = f"grant service_role to {postgres.service} with inherit false, set false"
    with psycopg.connect(migrated) as server:
        if server.info.server_version < 160000:
            pytest.skip("before PostgreSQL 16 every membership can be used")

    assert not_ok(await look(migrated, unusable)) == set()


async def test_the_role_of_the_service_is_looked_at_by_its_name(migrated):
    made = "create role strong login bypassrls"

    checks = await look(migrated, made, service_role="strong.project")

    assert not_ok(checks) == {("R1", "fail", "role strong")}


async def test_versions_of_the_host_app_are_only_listed(migrated):
    sql = f"insert into {HISTORY} (version, name) values ('20251010090002', 'create_food_photos_bucket')"

    checks = await look(migrated, sql)

    assert not_ok(checks) == set()
    assert "1, not ours to judge: 20251010090002" in {one.found for one in checks}


async def test_a_version_that_newer_ones_have_overtaken_is_told(start):
    newer = f"insert into {HISTORY} (version, name) values ('20260101000000', 'food')"

    checks = await look(start("production"), newer, expect="production")

    found = next(one.found for one in checks if one.object == "migration 20251016000001_add_cgm_connection")
    assert "older than 20260101000000 (out of order" in found


async def test_prismas_own_record_is_enough(migrated):
    sql = (
        "create table _prisma_migrations (migration_name text, started_at timestamptz, finished_at timestamptz,"
        " rolled_back_at timestamptz);"
        "insert into _prisma_migrations values ('20251016_add_cgm_connection', now(), now(), null)"
    )

    assert not_ok(await look(migrated, sql)) == set()


async def test_a_key_of_the_ring_is_no_finding(migrated):
    ring = [key_id(b"k" * 32)]

    assert not_ok(await look(migrated, connection("1", access=f"v1.{ring[0]}.AAAA"), key_ids=ring)) == set()


async def test_tokens_are_counted_by_the_forms_that_adoption_knows(migrated):
    tokens = [
        "", "plain-access-a1", "v1.0123abcd.AAAA_-==", "v1.0123abcd.", "v2.0123abcd.AAAA", "gAAAAABabcdefgh", "short",
        f"{'a' * 32}:{'B' * 32}:00ff", f"{'a' * 32}:{'b' * 32}:0", "enc:placeholder", "with blank in it",
        "eyJhbGciOi.x-y_z~+/=",
    ]  # fmt: skip
    sql = "".join(connection(str(number), token) for number, token in enumerate(tokens))

    checks = await look(migrated, sql)

    found = next(one.found for one in checks if one.object.endswith("access_token, refresh_token"))
    forms = ["empty"] * len(tokens) + [form_of(token) for token in tokens]
    assert {tuple(part.split()) for part in found.split(", ")} == {
        (str(forms.count(form)), form) for form in set(forms)
    }


async def test_no_value_of_a_row_is_told(start):
    looks = [await look(start(name), expect=name) for name in ("staging", "production")]

    text = "\n".join(str(check) for checks in looks for check in checks)
    assert not re.search(r"plain-|placeholder|example\.test|a0000000|legacy-user|conn-|person-", text)


async def test_it_reads_in_a_session_that_may_not_write(migrated):
    assert not_ok(await look(migrated, "set transaction read only")) == set()


def test_every_check_stands_in_the_manual():
    page = (Path(__file__).resolve().parents[3] / "docs/verify.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| ([A-Z]\d) \|", page, re.MULTILINE) == list(WORDS)
