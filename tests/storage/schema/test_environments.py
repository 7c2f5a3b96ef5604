"""The file of environments: names of variables only; what is wrong is named by its key, never by its value."""

from pathlib import Path

import pytest

from evercgm.core.errors import SettingsError
from evercgm.storage.schema.environments import (
    Environment,
    dsn_of_variable,
    find_environment,
    read_environments,
)

GOOD = """
host_migrations = "."

[environments.staging]
database = "STAGING_DATABASE_URL"

[environments.old-development]
decommissioned = "2025-10-14: consolidated into staging"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "evercgm.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_environments_keep_the_order_of_the_file(tmp_path: Path) -> None:
    found = read_environments(written(tmp_path, GOOD))

    assert found.named == (
        Environment("staging", variable="STAGING_DATABASE_URL"),
        Environment("old-development", decommissioned="2025-10-14: consolidated into staging"),
    )
    assert found.host_migrations == tmp_path


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[environments.a]\ndatabase = "postgresql://u:hidden@h/d"', "environments.a.database"),
        ('[environments.a]\ndatabase = "host=h password=hidden"', "environments.a.database"),
        ('[environments.a]\ndatabase = "hidden"', "environments.a.database"),
        ('[environments.a]\npassword = "hidden"', "environments.a.password"),
        ('[environments.a]\ndatabase = "A"\nurl = "postgres://u:hidden@h/d"', "environments.a.url"),
        ('[environments.a]\ndecommissioned = "see postgres://u:hidden@h/d"', "environments.a.decommissioned"),
        ('[environments."postgres://u:hidden@h/d"]\ndatabase = "A"', "the name of an environment"),
        ('[environments.a]\n"postgres://u:hidden@h/d" = "A"', "environments.a.(a key)"),
        ('host_migrations = "postgres://u:hidden@h/d"\n[environments.a]\ndatabase = "A"', "host_migrations"),
        ('host_migrations = "hidden"\n[environments.a]\ndatabase = "A"', "host_migrations is no folder"),
        ("[environments.a]\ndatabase = 7", "environments.a.database must be one line of text"),
        ('[environments.a]\ndatabase = "A"\ndecommissioned = "b"', "environments.a needs either"),
        ("[environments.a]", "environments.a needs either"),
        ("environments = 5", "names no environment"),
        ('a = "hidden"', "a is not known here"),
        ("", "names no environment"),
        ('[environments.a]\nx = "hidden" hidden', "is no TOML (at line 2"),
    ],
)
def test_a_wrong_file_is_told_by_its_key_and_never_by_its_value(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError) as told:
        read_environments(written(tmp_path, text))

    assert named in str(told.value)
    assert "hidden" not in str(told.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read"):
        read_environments(tmp_path / "none.toml")


def test_a_decommissioned_environment_is_refused_with_its_reason(tmp_path: Path) -> None:
    found = read_environments(written(tmp_path, GOOD))

    assert find_environment(found, "staging").variable == "STAGING_DATABASE_URL"
    with pytest.raises(SettingsError, match=r"old-development is decommissioned .*consolidated into staging"):
        find_environment(found, "old-development")
    with pytest.raises(SettingsError, match="no environment prod; it names: staging, old-development"):
        find_environment(found, "prod")


@pytest.mark.parametrize("given", ["postgresql://u:hidden@h/db", "u:hidden@h/db", "host=h password=hidden"])
def test_an_address_in_the_place_of_a_name_is_never_repeated(tmp_path: Path, given: str) -> None:
    found = read_environments(written(tmp_path, GOOD))

    for ask in (
        lambda: find_environment(found, given),
        lambda: dsn_of_variable(given, {}),
        lambda: read_environments(Path(given)),
    ):
        with pytest.raises(SettingsError) as told:
            ask()
        assert "hidden" not in str(told.value)


def test_a_variable_that_is_not_set_is_named() -> None:
    assert dsn_of_variable("A_URL", {"A_URL": "postgresql://h/d"}).reveal() == "postgresql://h/d"
    with pytest.raises(SettingsError, match="A_URL is not set"):
        dsn_of_variable("A_URL", {})
