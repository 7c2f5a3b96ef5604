"""What a command finds around it: the key of the data directory belongs to the database there, and to no other."""

import json
import secrets
from pathlib import Path

import pytest

from evercgm.cli.surroundings import DEMO_ENVIRONMENT, KEY_FILE, find_settings
from evercgm.core.errors import SettingsError
from evercgm.settings import require_key

STORED, GIVEN = secrets.token_hex(32), secrets.token_hex(32)
ELSEWHERE = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """As a demo leaves it."""
    (tmp_path / KEY_FILE).write_text(STORED + "\n")
    return tmp_path


@pytest.mark.parametrize("running", [True, False])
def test_without_a_database_of_its_own_a_command_takes_the_key_of_the_data_directory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    if running:
        (data_dir / DEMO_ENVIRONMENT).write_text(json.dumps({"EVERCGM_PUBLIC_URL": "http://127.0.0.1:8499"}))
    for name in ("DATABASE_URL", "ENCRYPTION_KEY", "EVERCGM_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVERCGM_DATA_DIR", str(data_dir))

    settings = find_settings()

    assert require_key(settings) == (bytes.fromhex(STORED),)
    assert settings.public_url.endswith("8499") == running


@pytest.mark.parametrize("value", [STORED, "no key", "\udcff"], ids=["a key", "no key", "no text"])
def test_beside_a_database_url_that_key_is_not_even_read(data_dir: Path, value: str) -> None:
    (data_dir / KEY_FILE).write_bytes(value.encode(errors="surrogateescape"))

    settings = find_settings({**ELSEWHERE, "EVERCGM_DATA_DIR": str(data_dir)})

    assert settings.keys == ()
    with pytest.raises(SettingsError, match=r"^ENCRYPTION_KEY is not set.*data directory"):
        require_key(settings)


def test_a_key_that_is_given_counts_wherever_the_database_is(data_dir: Path) -> None:
    env = {"EVERCGM_DATA_DIR": str(data_dir), "ENCRYPTION_KEY": GIVEN}

    for more in ({}, ELSEWHERE):
        assert find_settings({**env, **more}).keys == (bytes.fromhex(GIVEN),)
