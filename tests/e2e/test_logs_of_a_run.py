"""What the processes of a demo write at DEBUG while a person connects: no code, token, secret or query among it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import psycopg
from demo_process import connect, start_demo, until
from series import sql, stored


def given_by_the_vendor(data_dir: Path) -> set[str]:
    """Every code and token that the simulated vendor ever gave."""
    with closing(sqlite3.connect(data_dir / "simulators" / "dexcom" / "dexcom-simulator.sqlite3")) as db:
        return {row[0] for row in db.execute("select code from codes union select token from tokens")}


def test_a_run_at_debug_writes_no_secret_and_no_query(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "data", env={"EVERCGM_LOG_LEVEL": "DEBUG"})
    person_id = str(demo.line["persons"][0]["id"])
    assert "cgm=connected" in connect(demo, person_id)
    until(lambda: stored(demo, person_id), "readings are stored")
    with httpx2.Client(trust_env=False) as browser:
        browser.get(f"{demo.url}/api/metabolic/cgm/dexcom/callback?code=marked-code&state=marked-state")
        browser.get(demo.line["sign_in_url"])
    sealed = sql(demo, "select access_token, refresh_token from public.cgm_connections")[0]
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'evercgm%'")
    demo.stop()

    said = demo.log.read_text()
    registration = json.loads((demo.data_dir / "simulated-registration.json").read_text())
    key = (demo.data_dir / "encryption.key").read_text().strip()
    marks = {
        *given_by_the_vendor(demo.data_dir),
        *sealed,
        registration["client_secret"],
        key,
        demo.line["owner_jwt"],
        demo.line["sign_in_url"].rpartition("/")[2],
        "marked-",
        "callback",
    }
    assert "sync_done" in said
    assert [mark for mark in marks if mark in said] == []
