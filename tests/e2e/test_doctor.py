"""``evercgm doctor`` beside a running demo, beside nothing, and with everything that can be wrong."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo_process import Demo, connect, environment, passable_folder, start_demo, until
from series import at_rest, sql, stored


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A demo of its own: what other tests leave in theirs is told by the doctor, too."""
    with passable_folder() as folder:
        started = start_demo(folder / "data")
        yield started
        assert started.stop() == 0


def doctor(data_dir: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", "doctor", *arguments],
        env={**environment(data_dir), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Its one line of JSON, by id."""
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return {check["id"]: check for check in json.loads(done.stdout)["checks"]}


def change(demo: Demo, statement: str) -> None:
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute(statement.encode())


def test_beside_a_good_demo_all_is_well(demo: Demo) -> None:
    done = doctor(demo.data_dir, "--json")

    found = checks(done)
    assert done.returncode == 0, found
    assert {"settings", "keys", "database", "migrations", "clock", "sealed", "vendor/dexcom/us"} <= set(found)
    assert {check["status"] for check in found.values()} == {"ok"}


def test_a_person_reads_a_line_a_check(demo: Demo) -> None:
    done = doctor(demo.data_dir)

    assert done.returncode == 0
    assert all(line.startswith(("ok ", "warn ", "fail ", "   ")) for line in done.stdout.splitlines())
    assert "vendor/dexcom/us" in done.stdout


def test_a_refused_client_secret_is_named_with_its_setting_and_expires_nobody(demo: Demo) -> None:
    person_id = str(demo.line["persons"][1]["id"])
    assert "cgm=connected" in connect(demo, person_id, "User6")
    until(lambda: stored(demo, person_id), "readings are stored")
    # Its end would take the reason away again.
    at_rest(demo, person_id)
    kept = sql(demo, "select connection_id, reason, next_sync_at from cgm_private.sync_state")
    # As when the vendor refuses each refresh: no worker comes to it before the check.
    change(demo, "update cgm_private.sync_state set reason = 'operator_must_act', next_sync_at = now() + interval '1h'")
    try:
        done = doctor(demo.data_dir, "--json")
    finally:
        with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
            for connection_id, reason, next_sync_at in kept:
                conn.execute(
                    "update cgm_private.sync_state set reason = %s, next_sync_at = %s where connection_id = %s",
                    [reason, next_sync_at, connection_id],
                )

    said = checks(done)["connections/dexcom/us"]
    assert (done.returncode, said["status"]) == (1, "fail")
    assert "client secret" in said["found"]
    assert "DEXCOM_CLIENT_SECRET" in said["mend"]


def test_another_key_is_told_by_the_ids_of_the_keys(demo: Demo) -> None:
    done = doctor(demo.data_dir, "--json", env={"ENCRYPTION_KEY": secrets.token_hex(32)})

    said = checks(done)["sealed"]
    assert (done.returncode, said["status"]) == (1, "fail")
    assert "ENCRYPTION_KEYS_PREVIOUS" in said["mend"]


def test_a_superuser_and_a_lost_database_are_told(demo: Demo, tmp_path: Path) -> None:
    key = {"ENCRYPTION_KEY": secrets.token_hex(32)}

    strong = doctor(tmp_path, "--json", env={"DATABASE_URL": demo.line["admin_database_url"], **key})
    lost = doctor(tmp_path, "--json", env={"DATABASE_URL": "postgresql://u:marked-password@127.0.0.1:1/x", **key})

    assert (strong.returncode, lost.returncode) == (1, 1)
    assert "superuser" in checks(strong)["database"]["found"]
    assert "login-role" in checks(strong)["database"]["mend"]
    assert "nothing listens there" in checks(lost)["database"]["found"]
    assert "check the address" in checks(lost)["database"]["mend"]
    assert "marked-password" not in lost.stdout + lost.stderr


def test_a_vendor_that_cannot_be_reached_is_told(demo: Demo) -> None:
    env = {"EVERCGM_VENDOR_BASE_URLS": json.dumps({"dexcom": {"us": "http://127.0.0.1:1/dexcom"}})}

    done = doctor(demo.data_dir, "--json", env={**env, "EVERCGM_ALLOW_SIMULATORS": "1"})

    said = checks(done)["vendor/dexcom/us"]
    assert (done.returncode, said["status"]) == (1, "fail")
    assert "127.0.0.1:1" in said["found"]


def test_where_nothing_runs_it_makes_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    done = doctor(tmp_path / "none", "--json")

    found = checks(done)
    assert done.returncode == 1
    assert found["keys"]["status"] == "fail"
    assert "openssl rand -hex 32" in found["keys"]["mend"]
    assert found["database"]["status"] == "unknown"
    assert found["vendors"]["status"] == "warn"
    assert not (tmp_path / "none").exists()


def test_with_a_key_and_no_database_it_cannot_tell(tmp_path: Path) -> None:
    assert doctor(tmp_path / "none", env={"ENCRYPTION_KEY": secrets.token_hex(32)}).returncode == 2


@pytest.mark.parametrize(
    ("env", "name"),
    [({"EVERCGM_NONSENSE": "1"}, "EVERCGM_NONSENSE"), ({"ENCRYPTION_KEY": "00" * 32}, "ENCRYPTION_KEY")],
)
def test_a_wrong_setting_is_the_only_line(tmp_path: Path, env: dict[str, str], name: str) -> None:
    done = doctor(tmp_path, "--json", env=env)

    found = checks(done)
    assert (done.returncode, set(found)) == (1, {"settings"})
    assert name in found["settings"]["found"]
