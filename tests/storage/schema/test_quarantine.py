"""``evercgm db quarantine`` as an operator types it: nothing is lost, nothing is doubled, no token is shown."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from by_hand import QUARANTINED, ROLLBACK, held, rows, run, run_as_one, speak
from verify_worlds import load

from evercgm.core.errors import BadInput, SettingsError
from evercgm.storage.schema.migrate import SETTING, migrate
from evercgm.storage.schema.prepare import make_login_role
from evercgm.storage.schema.quarantine import CannotResolve, let_go, list_quarantined, put_back

EVENTS = "select actor, person_id, action, detail from cgm_private.audit_events order by id"


@pytest.fixture
async def staging(make_empty_database: Any, shared_dir: Path) -> Any:
    """The staging form, migrated: conn-a2, conn-b2 and conn-b3 are aside. Its server speaks German."""
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    speak(fresh.admin_dsn, fresh.name, "Europe/Berlin", "German, DMY")
    await migrate(fresh.admin_dsn, unknown="quarantine")
    return fresh


def everything(dsn: str) -> list[Any]:
    return [*held(dsn), rows(dsn, QUARANTINED), rows(dsn, EVENTS)]


def quarantine(dsn: str, *arguments: str, setting: str = SETTING) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; whatever it says, no token and no address is in it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "DATABASE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", "db", "quarantine", *arguments],
        env={**own, setting: dsn},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    for secret in ("plain-access", "plain-refresh", "postgresql://", dsn.split(":")[2].split("@")[0]):
        assert secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_list_says_what_is_aside_and_why(staging: Any) -> None:
    listed = json.loads(quarantine(staging.admin_dsn, "list", "--json").stdout)["quarantined"]
    told = quarantine(staging.admin_dsn, "list")

    assert [(one["id"], one["provider"], one["reason"], one["kept_id"], one["readings"]) for one in listed] == [
        ("conn-a2", "Dexcom", "second_spelling", "conn-a1", 1),
        ("conn-b2", "eversense", "unknown_provider", None, 1),
        ("conn-b3", "", "unknown_provider", None, 0),
    ]
    assert all(one["quarantined_at"].endswith("Z") and one["person_id"] for one in listed)
    assert told.returncode == 0
    assert 'conn-b3  person person-bob  provider ""  0 readings  since' in told.stdout
    assert told.stdout.endswith("3 in quarantine.\n")


def test_one_is_put_back_under_a_provider_with_its_readings(staging: Any) -> None:
    before = rows(staging.admin_dsn, "select connection from cgm_private.quarantined_connections where id = 'conn-b2'")

    done = quarantine(staging.admin_dsn, "resolve", "conn-b2", "--provider", "abbott", "--json")

    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        {"id": "conn-b2", "person_id": "person-bob", "provider": "abbott", "linked": 1, "elsewhere": 0},
    )
    after = rows(staging.admin_dsn, "select to_jsonb(c) from cgm_connections c where id = 'conn-b2'")
    changed = {"provider": "abbott", "metadata": {"providerOriginal": "eversense"}}
    assert after == [({**before[0][0], **changed},)]
    assert rows(staging.admin_dsn, "select cgm_connection_id from glucose_readings where id = 'r-08'") == [("conn-b2",)]
    assert rows(staging.admin_dsn, "select id from cgm_private.quarantined_connections order by id") == [
        ("conn-a2",),
        ("conn-b3",),
    ]
    assert rows(staging.admin_dsn, EVENTS) == [
        (
            "operator",
            "person-bob",
            "quarantine_put_back",
            {"connection_id": "conn-b2", "provider": "abbott", "readings": 1},
        )
    ]


async def test_a_reading_that_was_linked_since_stays_where_it_is(staging: Any) -> None:
    run(staging.admin_dsn, "update glucose_readings set cgm_connection_id = 'conn-b1' where id = 'r-08'")

    result = await put_back(staging.admin_dsn, SETTING, "conn-b2", "abbott")

    assert (result.linked, result.elsewhere) == (0, 1)
    assert rows(staging.admin_dsn, "select cgm_connection_id from glucose_readings where id = 'r-08'") == [("conn-b1",)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("resolve", "conn-b2", "--provider", "dexcom"), 1, "person-bob has one of dexcom already (conn-b1)"),
        (("resolve", "conn-a2", "--provider", "dexcom"), 1, "a second spelling ('Dexcom') of conn-a1"),
        (("resolve", "conn-a2", "--provider", "dexcom"), 1, "resolve conn-a2 --discard --yes"),
        (
            ("resolve", "conn-b2", "--provider", "eversense"),
            2,
            "'eversense' is none of dexcom, libre, abbott, medtronic",
        ),
        (("resolve", "conn-x", "--provider", "libre"), 2, "there is no 'conn-x' in quarantine"),
        (("resolve", "conn-a1", "--discard", "--yes"), 2, "there is no 'conn-a1' in quarantine"),
        (("resolve", "conn-a2", "--discard"), 2, "its readings stay with conn-a1. Nothing was deleted"),
        (("resolve", "conn-b2", "--discard"), 2, "nothing knows any more that they were its own. Nothing was deleted"),
        (("resolve", "conn-b2"), 2, "say either --provider P (put it back) or --discard (delete it)"),
        (("resolve", "conn-b2", "--provider", "libre", "--discard", "--yes"), 2, "say either --provider"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(
    staging: Any, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = everything(staging.admin_dsn)

    done = quarantine(staging.admin_dsn, *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert everything(staging.admin_dsn) == before


def test_discarding_deletes_the_copy_and_no_reading(staging: Any) -> None:
    before = held(staging.admin_dsn)

    done = quarantine(staging.admin_dsn, "resolve", "conn-a2", "--discard", "--yes", "--json")

    assert (done.returncode, json.loads(done.stdout)) == (0, {"id": "conn-a2", "discarded": True})
    assert held(staging.admin_dsn) == before
    assert rows(staging.admin_dsn, "select count(*) from cgm_private.quarantined_connections") == [(2,)]
    assert [(action, detail["connection_id"]) for _, _, action, detail in rows(staging.admin_dsn, EVENTS)] == [
        ("quarantine_discarded", "conn-a2")
    ]


async def test_a_second_spelling_comes_back_once_the_kept_one_is_gone(staging: Any) -> None:
    run(staging.admin_dsn, "delete from cgm_connections where id = 'conn-a1'")

    result = await put_back(staging.admin_dsn, SETTING, "conn-a2", "dexcom")

    assert (result.linked, result.elsewhere) == (1, 0)


async def test_what_fails_half_way_leaves_everything_as_it_was(staging: Any) -> None:
    run(staging.admin_dsn, "alter table cgm_connections drop column device_id")
    before = everything(staging.admin_dsn)

    with pytest.raises(CannotResolve, match="no longer has a column for values of conn-a2: device_id"):
        await put_back(staging.admin_dsn, SETTING, "conn-a2", "medtronic")

    assert everything(staging.admin_dsn) == before


async def test_a_person_gets_one_connection_of_a_provider_back(staging: Any) -> None:
    await put_back(staging.admin_dsn, SETTING, "conn-b2", "abbott")

    with pytest.raises(CannotResolve, match=r"person-bob has one of abbott already \(conn-b2\)"):
        await put_back(staging.admin_dsn, SETTING, "conn-b3", "abbott")


RENAMED = """update "Person" set id = 'person-robert' where id = 'person-bob'"""
DORA_TAKES_THE_ID = """
delete from glucose_readings where id = 'r-08';
insert into "Person" values ('person-bob', 'd0000000-0000-4000-8000-00000000000d')
"""


@pytest.mark.parametrize("taken", ["", DORA_TAKES_THE_ID], ids=["the id is gone", "another person has the id now"])
async def test_what_is_aside_goes_with_its_person_when_their_id_changes(staging: Any, taken: str) -> None:
    run(staging.admin_dsn, RENAMED, *filter(None, [taken]))

    result = await put_back(staging.admin_dsn, SETTING, "conn-b2", "medtronic")

    assert result.person_id == "person-robert"
    assert rows(staging.admin_dsn, "select person_id from cgm_connections where id = 'conn-b2'") == [("person-robert",)]


async def test_the_rollback_finds_what_was_put_back(staging: Any) -> None:
    await put_back(staging.admin_dsn, SETTING, "conn-b2", "abbott")

    run_as_one(staging.admin_dsn, ROLLBACK)

    old = rows(staging.admin_dsn, "select provider, metadata from cgm_connections where id = 'conn-b2'")
    assert old == [("eversense", None)]
    assert rows(staging.admin_dsn, "select count(*) from cgm_connections") == [(9,)]


async def test_a_null_of_json_among_the_metadata_stays_one(make_empty_database: Any, shared_dir: Path) -> None:
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    run(
        fresh.admin_dsn,
        "alter table cgm_connections add column metadata jsonb",
        "update cgm_connections set metadata = 'null' where id = 'conn-b3'",
    )
    await migrate(fresh.admin_dsn, unknown="quarantine")

    for id_, provider in (("conn-b2", "abbott"), ("conn-b3", "libre")):
        await put_back(fresh.admin_dsn, SETTING, id_, provider)

    assert rows(
        fresh.admin_dsn, "select metadata from cgm_connections where id in ('conn-b2', 'conn-b3') order by id"
    ) == [
        ({"providerOriginal": "eversense"},),
        ({"providerOriginal": "", "metadataOriginal": None},),
    ]
    run_as_one(fresh.admin_dsn, ROLLBACK)
    assert rows(fresh.admin_dsn, "select id from cgm_connections where metadata = 'null'") == [("conn-b3",)]


async def test_the_login_role_of_the_service_may_do_it_too(staging: Any) -> None:
    service = psycopg.conninfo.conninfo_to_dict(staging.service_dsn)
    await make_login_role(staging.admin_dsn, str(service["user"]), str(service["password"]))

    listed = quarantine(staging.service_dsn, "list", "--json", setting="DATABASE_URL")
    await put_back(staging.service_dsn, "DATABASE_URL", "conn-b3", "libre")
    await let_go(staging.service_dsn, "DATABASE_URL", "conn-b2")

    assert len(json.loads(listed.stdout)["quarantined"]) == 3
    assert [one.id for one in await list_quarantined(staging.service_dsn, "DATABASE_URL")] == ["conn-a2"]


async def test_a_database_that_is_not_migrated_or_a_role_without_rights_is_told(
    make_empty_database: Any, staging: Any
) -> None:
    with pytest.raises(SettingsError, match="run `evercgm db migrate` first"):
        await list_quarantined(make_empty_database().owner_dsn, SETTING)
    with pytest.raises(SettingsError, match="its role may not see the quarantine"):
        await list_quarantined(staging.owner_dsn, SETTING)


async def test_a_list_with_forged_ids_keeps_one_line_a_connection(staging: Any) -> None:
    forged = r"E'conn-b3\x1b[2J\nconn-zz person nobody'"
    run(
        staging.admin_dsn,
        f"update cgm_private.quarantined_connections set id = {forged} where id = 'conn-b3'",
        "update cgm_private.quarantined_connections set kept_id = E'conn-a1\r\u009b' where id = 'conn-a2'",
        """update "Person" set id = E'person-bob\u2028' where id = 'person-bob'""",
    )

    told = quarantine(staging.admin_dsn, "list")

    assert len(told.stdout.splitlines()) == 4
    assert all(line.isprintable() for line in told.stdout.split("\n"))
    assert "'conn-b3\\x1b[2J\\nconn-zz person nobody'  person 'person-bob\\u2028'" in told.stdout


async def test_an_id_is_a_value_and_never_a_piece_of_sql(staging: Any) -> None:
    before = everything(staging.admin_dsn)

    with pytest.raises(BadInput):
        await put_back(staging.admin_dsn, SETTING, "' or true --", "libre")

    assert everything(staging.admin_dsn) == before
