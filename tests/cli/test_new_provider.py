"""`evercgm new-provider`: what it makes passes every check of the house and the suite of all ways in, as it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evercgm.cli.main import app

HOUSE = Path(__file__).resolve().parents[2]
LONGEST_NAME = "a_twenty_letter_name"
MAKE_NOTHING_OF = shutil.ignore_patterns("__pycache__", "node_modules")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the checks need of one."""
    for folder in ("src", "tests/providers", "tests/cli"):
        shutil.copytree(HOUSE / folder, tmp_path / folder, ignore=MAKE_NOTHING_OF)
    for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(HOUSE / file, tmp_path)
    return tmp_path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """As little of a checkout as the command looks at."""
    register = tmp_path / "src/evercgm/providers/__init__.py"
    register.parent.mkdir(parents=True)
    shutil.copy(HOUSE / "src/evercgm/providers/__init__.py", register)
    for folder in (register.parent / "dexcom", tmp_path / "tests/providers"):
        folder.mkdir(parents=True)
    return tmp_path


def make(name: str, root: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["new-provider", name, "--root", str(root)])
    return result.exit_code, result.output


def passes(checkout: Path, tool: str, *options: str) -> None:
    there = [str(checkout / "src"), str(checkout / "tests"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *options],
        cwd=checkout, env={**os.environ, "PYTHONPATH": os.pathsep.join(there)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", ["zz", LONGEST_NAME])
def test_what_it_makes_is_written_as_the_house_writes(checkout: Path, name: str) -> None:
    assert make(name, checkout)[0] == 0

    passes(checkout, "ruff", "format", "--check", "src", "tests")
    passes(checkout, "ruff", "check", "src", "tests")


def test_what_it_makes_passes_types_contracts_and_the_suite_of_every_way_in(checkout: Path) -> None:
    assert make("newcomer", checkout)[0] == 0

    suite = ("tests/providers/test_every_provider.py", "tests/providers/newcomer")
    passes(checkout, "pytest", *suite, "-k", "newcomer", "-q", "-p", "no:cacheprovider")
    passes(checkout, "lint-imports", "--no-cache")
    passes(checkout, "mypy", "src/evercgm/providers/newcomer", "src/evercgm/providers/__init__.py")


def test_a_way_in_that_the_suite_does_not_like_fails_it(checkout: Path) -> None:
    assert make("newcomer", checkout)[0] == 0
    mapping = checkout / "src/evercgm/providers/newcomer/mapping.py"
    mapping.write_text(mapping.read_text().replace("+ 0.5", "+ 1.5"))

    suite = ("tests/providers/test_every_provider.py", "-k", "newcomer and measured", "-q", "-p", "no:cacheprovider")
    with pytest.raises(AssertionError, match="test_readings_are_what_was_measured"):
        passes(checkout, "pytest", *suite)


@pytest.mark.parametrize("name", ["Upper", "with-dash", "a", "class", "x" * 21, "../up", "acme", "dexcom"])
def test_a_name_that_cannot_be_is_refused_and_nothing_is_made(bare: Path, name: str) -> None:
    before = sorted(bare.rglob("*"))

    code, said = make(name, bare)

    assert code == 2
    assert said.count("\n") == 1
    assert sorted(bare.rglob("*")) == before


def test_outside_a_checkout_it_says_where_to_run_it(tmp_path: Path) -> None:
    code, said = make("newcomer", tmp_path)

    assert (code, "source checkout" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []
