"""An address that the driver cannot read is told by its setting at every command; no part of it is repeated."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from demo_process import environment

# libpq wants two hex digits behind a percent sign; its own message repeats the whole address.
BROKEN = "postgresql://marked-user:marked%zzpassword@marked-host/marked-database"
GOOD = "postgresql://u:p@127.0.0.1:1/d"
NOBODY = "00000000-0000-4000-8000-000000000000"


def run(folder: Path, command: str, **env: str) -> subprocess.CompletedProcess[str]:
    keys = {name: secrets.token_hex(32) for name in ("ENCRYPTION_KEY", "EVERCGM_HOST_ENCRYPTION_KEY")}
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", *command.split()],
        env={**environment(folder), **keys, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("MIGRATION_DATABASE_URL", "person list"),
        ("MIGRATION_DATABASE_URL", "person add Alex"),
        ("MIGRATION_DATABASE_URL", f"person add Alex --owner {NOBODY}"),
        ("MIGRATION_DATABASE_URL", "sign-in"),
        ("MIGRATION_DATABASE_URL", "db bootstrap --standalone"),
        ("MIGRATION_DATABASE_URL", "db migrate"),
        ("MIGRATION_DATABASE_URL", "db verify"),
        ("DATABASE_URL", "db verify"),
        ("DATABASE_URL", "db drift env:DATABASE_URL env:DATABASE_URL"),
        ("DATABASE_URL", f"sign-in --owner {NOBODY}"),
        ("DATABASE_URL", "serve --port 0"),
        ("DATABASE_URL", "serve --port 0 --no-worker"),
        ("DATABASE_URL", "work"),
        ("WORKER_DATABASE_URL", "work"),
        ("DATABASE_URL", "sync none"),
        ("DATABASE_URL", "adopt --yes"),
        ("DATABASE_URL", "erase --list"),
        ("DATABASE_URL", "keys status"),
        ("DATABASE_URL", "keys rotate"),
        ("DATABASE_URL", "keys rekey-leaked --yes"),
    ],
)
def test_a_broken_escape_in_an_address_is_told_by_its_setting_alone(tmp_path: Path, name: str, command: str) -> None:
    done = run(tmp_path, command, **{"DATABASE_URL": GOOD, name: BROKEN})

    # A progress bar may stand before it.
    *before, said = done.stderr.splitlines()
    assert said == f"evercgm: {name}: this is no PostgreSQL URL, expected postgresql://…"
    assert "marked" not in done.stdout + "".join(before)
    assert done.returncode == 2


def test_the_doctor_names_the_setting_too(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", DATABASE_URL=BROKEN)

    assert "DATABASE_URL: this is no PostgreSQL URL" in done.stdout
    assert "marked" not in done.stdout + done.stderr
    assert done.returncode == 1
