"""PostgreSQL 15 beside the embedded 17, in another time zone and with dates in another style: one shape, same rows."""

import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from debian_postgres import fresh_places
from foreign_tools import ROOT
from starts import ROWS, STARTS, lay, snapshot_of

from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import finished, same

# What else is worth its time on the other server: each file, rights, merging by time, syncs, times in answers.
ON_FIFTEEN = [
    "tests/storage/schema/test_migrate.py",
    "tests/storage/schema/test_target.py",
    "tests/storage/test_row_security.py",
    "tests/storage/test_merge.py",
    "tests/actions/test_bad_days.py",
    "tests/api/test_readings.py",
]


def rows(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(ROWS.encode()).fetchall()


def away_from_target(snapshot: Snapshot) -> dict[Key, str | None]:
    """Objects of ours that are not as the last migration leaves them."""
    found = {key: snapshot.entries.get(key) for key in finished()}
    return {key: text for key, text in found.items() if text is None or not same(text, finished()[key])}


@pytest.mark.parametrize("auto_grants", ["on", "off"])
@pytest.mark.parametrize("host_rls", ["on", "off"])
async def test_every_start_ends_in_one_shape_on_both_servers(
    postgres: Any, debian_url: str, host_rls: str, auto_grants: str
) -> None:
    ends: dict[tuple[str, str], Snapshot] = {}
    kept: dict[tuple[str, str], list[Any]] = {}
    for start in STARTS:
        with fresh_places(debian_url, postgres.admin_dsn) as places:
            for server, place in zip(("15", "17"), places, strict=True):
                await lay(place, start, host_rls=host_rls, auto_grants=auto_grants)
                await migrate(place.owner_dsn, unknown="quarantine")
                ends[start, server] = await snapshot_of(place.owner_dsn)
                kept[start, server] = rows(place.owner_dsn)
                assert await migrate(place.owner_dsn) == []

    versions = {server: {ends[start, server].server_version[:2] for start in STARTS} for server in ("15", "17")}
    assert versions == {"15": {"15"}, "17": {"17"}}
    for start in STARTS:
        assert differences(ends[start, "15"], ends[start, "17"]) == [], start
        assert away_from_target(ends[start, "15"]) == {}, start
        assert kept[start, "15"] == kept[start, "17"], start
    assert ends["staging", "17"].entries == ends["production", "17"].entries == ends["host-only", "17"].entries


def test_the_tests_of_storage_and_syncs_pass_on_fifteen_in_another_time_zone(debian_url: str) -> None:
    # What a test itself writes and reads as administrator is meant in UTC; the service and the owner get no such help.
    with psycopg.connect(debian_url, autocommit=True) as admin:
        admin.execute("create role tester superuser login password 'tester'")
        admin.execute("alter role tester set timezone = 'UTC'")
        admin.execute("alter role tester set datestyle = 'ISO'")
    place = urlsplit(debian_url).netloc.rpartition("@")[2]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ON_FIFTEEN],
        cwd=ROOT,
        env={**os.environ, "TEST_ADMIN_DATABASE_URL": f"postgresql://tester:tester@{place}/postgres"},
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stdout[-6000:]
