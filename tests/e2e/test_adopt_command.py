"""``evercgm adopt`` as an operator types it, beside a running demo whose database holds a row of the host app."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from demo_process import Demo, environment, start_demo, until
from series import differing, sql

HOST_KEY = secrets.token_bytes(32)


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = start_demo(tmp_path_factory.mktemp("adopt") / "data")
    yield started
    assert started.stop() == 0


def adopt(demo: Demo, *arguments: str, key: bytes | str | None = HOST_KEY) -> subprocess.CompletedProcess[str]:
    text = key.hex() if isinstance(key, bytes) else key
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", "adopt", *arguments],
        env={**environment(demo.data_dir), **({"EVERCGM_HOST_ENCRYPTION_KEY": text} if text else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def host_sealed(text: str) -> str:
    iv = secrets.token_bytes(16)
    raw = AESGCM(HOST_KEY).encrypt(iv, text.encode(), None)
    return f"{iv.hex()}:{raw[-16:].hex()}:{raw[:-16].hex()}"


def keep(demo: Demo, connection_id: str, person_id: str, access: str, refresh: str) -> None:
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute(
            """insert into public.cgm_connections
               (id, person_id, provider, access_token, refresh_token, token_expires_at, sync_cursor, updated_at)
               values (%s, %s, 'dexcom', %s, %s, now() + interval '2 hours', 'the host''s own', now())""",
            [connection_id, person_id, access, refresh],
        )


def rows(demo: Demo) -> list[Any]:
    return sql(demo, "select to_jsonb(c) from public.cgm_connections c order by id")


def vendor_pair(demo: Demo) -> tuple[str, str]:
    """Tokens that the simulated vendor knows, as if the host app had got them."""
    registration = json.loads((demo.data_dir / "simulated-registration.json").read_text())
    base = f"{demo.line['simulators']['dexcom']}/v3/oauth2"
    redirect = f"{demo.url}/api/metabolic/cgm/dexcom/callback"
    asked = {"client_id": registration["client_id"], "redirect_uri": redirect, "response_type": "code"}
    with httpx2.Client(trust_env=False) as http:
        form = {**asked, "scope": "offline_access", "username": "User7", "decision": "approve"}
        back = http.post(f"{base}/login", data=form)
        code = httpx2.URL(back.headers["location"]).params["code"]
        exchange = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
        pair = http.post(f"{base}/token", data={**exchange, **registration}).json()
    return pair["access_token"], pair["refresh_token"]


def test_counted_first_then_taken_over_and_synced_by_the_worker(own_demo: Demo) -> None:
    person, other = (str(person["id"]) for person in own_demo.line["persons"])
    access, refresh = vendor_pair(own_demo)
    keep(own_demo, "host-1", person, host_sealed(access), host_sealed(refresh))
    keep(own_demo, "host-2", other, "enc:placeholder", "enc:placeholder")
    before = rows(own_demo)

    nobody = adopt(own_demo, "--region", "us")
    counted = adopt(own_demo, "--region", "us", "--dry-run", "--json")
    nameless = adopt(own_demo, "--yes")
    wrong_key = adopt(own_demo, "--region", "us", "--yes", "--json", key=secrets.token_bytes(32))

    assert (nobody.returncode, nameless.returncode, wrong_key.returncode) == (2, 2, 1)
    assert "--yes" in nobody.stderr
    assert "--region" in nameless.stderr
    assert json.loads(wrong_key.stdout)["left"] == {"unreadable": 2}
    assert counted.returncode == 0
    assert json.loads(counted.stdout) == {
        "dry_run": True,
        "found": {"dexcom": {"host": 1, "unreadable": 1}},
        "ready": 1,
        "adopted": 0,
        "left": {"unreadable": 1},
    }
    assert before == rows(own_demo)

    began = datetime.now(UTC)
    done = adopt(own_demo, "--region", "us", "--yes")

    # One of the two could not be opened: it is left alone, and the exit code says so.
    assert done.returncode == 1, done.stderr
    assert "1 taken over" in done.stdout
    assert "1 left alone: they cannot be opened" in done.stdout
    until(lambda: not differing(own_demo, person, "User7", began), "the series is the vendor's")
    assert access not in done.stdout + done.stderr + str(rows(own_demo))
    assert before[1] == rows(own_demo)[1]
    again = json.loads(adopt(own_demo, "--region", "us", "--yes", "--json").stdout)
    assert (again["ready"], again["adopted"]) == (0, 0)


@pytest.mark.parametrize("key", [None, "00" * 32, "no key"])
def test_without_a_usable_key_of_the_host_nothing_starts(own_demo: Demo, key: str | None) -> None:
    refused = adopt(own_demo, "--region", "us", "--yes", key=key)

    assert refused.returncode == 2
    assert "EVERCGM_HOST_ENCRYPTION_KEY" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(("option", "value"), [("--provider", "libre"), ("--region", "mars")])
def test_what_cannot_be_synced_here_is_refused_by_its_option(own_demo: Demo, option: str, value: str) -> None:
    refused = adopt(own_demo, option, value, "--yes")

    assert refused.returncode == 2
    assert option in refused.stderr
