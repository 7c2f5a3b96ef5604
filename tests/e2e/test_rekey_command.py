"""``evercgm keys rekey-leaked`` as an operator types it, and every other command in front of a denied key."""

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from demo_process import Demo, environment, start_demo, until
from series import differing, sql
from test_adopt_command import HOST_KEY as LEAKED
from test_adopt_command import host_sealed, keep, rows, vendor_pair

FINGERPRINT = hashlib.sha256(LEAKED).hexdigest()


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = start_demo(tmp_path_factory.mktemp("rekey") / "data")
    yield started
    assert started.stop() == 0


def command(data_dir: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", *arguments],
        env={**environment(data_dir), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def rekey(demo: Demo, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    denied = {"EVERCGM_HOST_ENCRYPTION_KEY": LEAKED.hex(), "EVERCGM_DENIED_KEYS": FINGERPRINT}
    return command(demo.data_dir, "keys", "rekey-leaked", "--region", "us", *arguments, **{**denied, **env})


def test_counted_then_sealed_anew_renewed_by_the_worker_and_told(own_demo: Demo) -> None:
    person, other = (str(person["id"]) for person in own_demo.line["persons"])
    access, refresh = vendor_pair(own_demo)
    keep(own_demo, "host-1", person, host_sealed(access), host_sealed(refresh))
    keep(own_demo, "host-2", other, "enc:placeholder", "enc:placeholder")
    before = rows(own_demo)

    nobody = rekey(own_demo)
    counted = rekey(own_demo, "--dry-run", "--json")

    assert nobody.returncode == 2
    assert "--yes" in nobody.stderr
    assert (counted.returncode, json.loads(counted.stdout)["ready"]) == (0, 1)
    assert before == rows(own_demo)

    began = datetime.now(UTC)
    done = rekey(own_demo, "--yes", EVERCGM_DENIED_KEYS="")

    assert done.returncode == 1, done.stderr  # one could not be opened
    assert "1 taken over" in done.stdout
    assert "1 connections of dexcom were left alone: they cannot be opened with this key." in done.stdout
    assert f"EVERCGM_DENIED_KEYS={FINGERPRINT}" in done.stdout.splitlines()
    assert not any(secret in done.stdout + done.stderr for secret in (LEAKED.hex(), access, refresh))
    until(lambda: not differing(own_demo, person, "User7", began), "the series is the vendor's")
    generation = sql(own_demo, "select generation from cgm_private.sync_state where connection_id = 'host-1'")
    assert generation == [(1,)]
    until(lambda: json.loads(rekey(own_demo, "--yes", "--json").stdout)["exposed"]["waiting"] == {}, "none waits")
    again = json.loads(rekey(own_demo, "--yes", "--json").stdout)
    assert (again["rekeyed"], again["left"], again["denied"]) == (0, {"unreadable": 1}, True)


def test_our_own_key_is_no_leaked_key_of_the_host(own_demo: Demo) -> None:
    refused = rekey(own_demo, "--yes", ENCRYPTION_KEY=LEAKED.hex(), EVERCGM_DENIED_KEYS="")

    assert refused.returncode == 2
    assert "ENCRYPTION_KEY" in refused.stderr


@pytest.mark.parametrize("key", [None, "00" * 32, "no key"])
def test_without_a_usable_key_of_the_host_nothing_starts(own_demo: Demo, key: str | None) -> None:
    refused = rekey(own_demo, "--yes", EVERCGM_HOST_ENCRYPTION_KEY=key or "")

    assert refused.returncode == 2
    assert "EVERCGM_HOST_ENCRYPTION_KEY" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


OTHERS = (("serve", "--port", "0"), ("work",), ("adopt", "--yes"), ("sync", "none"), ("demo", "--port", "0", "--json"))
GOOD = secrets.token_hex(32)


@pytest.mark.parametrize("arguments", OTHERS, ids=[arguments[0] for arguments in OTHERS])
@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("ENCRYPTION_KEY", {"ENCRYPTION_KEY": LEAKED.hex()}),
        ("ENCRYPTION_KEYS_PREVIOUS", {"ENCRYPTION_KEY": GOOD, "ENCRYPTION_KEYS_PREVIOUS": LEAKED.hex()}),
        ("EVERCGM_HOST_ENCRYPTION_KEY", {"ENCRYPTION_KEY": GOOD, "EVERCGM_HOST_ENCRYPTION_KEY": LEAKED.hex()}),
    ],
)
def test_everywhere_else_a_denied_key_stops_the_start(
    tmp_path: Path, arguments: tuple[str, ...], name: str, env: dict[str, str]
) -> None:
    refused = command(tmp_path / "none", *arguments, EVERCGM_DENIED_KEYS=FINGERPRINT, **env)

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"evercgm: {name} is a key that has been published")
    assert LEAKED.hex() not in refused.stderr
    assert not (tmp_path / "none").exists()


def test_a_denied_key_in_the_data_directory_stops_the_start_too(own_demo: Demo) -> None:
    stored_key = bytes.fromhex((own_demo.data_dir / "encryption.key").read_text().strip())

    refused = command(own_demo.data_dir, "sync", "none", EVERCGM_DENIED_KEYS=hashlib.sha256(stored_key).hexdigest())

    assert refused.returncode == 2
    assert "encryption.key is a key that has been published" in refused.stderr


def test_the_key_of_the_data_directory_on_the_deny_list_itself_stops_the_start(own_demo: Demo) -> None:
    stored_key = (own_demo.data_dir / "encryption.key").read_text().strip()

    refused = command(own_demo.data_dir, "sync", "none", EVERCGM_DENIED_KEYS=stored_key)

    assert refused.returncode == 2
    assert "EVERCGM_DENIED_KEYS holds a key itself" in refused.stderr
    assert stored_key not in refused.stderr


def test_doctor_tells_of_a_denied_key(tmp_path: Path) -> None:
    told = command(tmp_path, "doctor", "--json", EVERCGM_DENIED_KEYS=FINGERPRINT, ENCRYPTION_KEY=LEAKED.hex())

    check = json.loads(told.stdout)["checks"][0]
    assert (told.returncode, check["id"], check["status"]) == (1, "settings", "fail")
    assert check["found"].startswith("ENCRYPTION_KEY is a key that has been published")
