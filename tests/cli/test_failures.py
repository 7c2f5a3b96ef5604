"""What goes wrong at the command line is one line and an exit code; the text of a bug is shown to nobody."""

import subprocess
import sys

import pytest

PROGRAM = """
import json, psycopg
from evercgm.cli import main
from evercgm.core.errors import NotYours, SettingsError
from evercgm.storage.database import load_queries

@main.app.command()
def broken() -> None:
    {}

main.main()
"""


def told(line: str) -> tuple[int, str]:
    """How a command ends that does just this: exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(line), "broken"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
    assert "marked" not in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("line", "kind", "place"),
    [
        ("raise KeyError('marked-secret')", "KeyError", "cli/main.py:"),
        # Raised in a library that our code called.
        ("load_queries('marked-secret.sql')", "FileNotFoundError", "storage/database.py:"),
        ("raise ValueError('marked-one') from KeyError('marked-other')", "ValueError", "cli/main.py:"),
        (
            "raise ExceptionGroup('marked', [ExceptionGroup('marked', [KeyError('marked')])])",
            "KeyError",
            "cli/main.py:",
        ),
        ("raise psycopg.ProgrammingError('marked')", "ProgrammingError", "cli/main.py:"),
        ("raise RecursionError('marked')", "RecursionError", "cli/main.py:"),
    ],
)
def test_a_bug_is_told_by_class_and_place_alone(line: str, kind: str, place: str) -> None:
    code, said = told(line)

    assert code == 1
    assert kind in said
    assert f"evercgm/{place}" in said
    assert said.partition(place)[2].partition(" ")[0].rstrip(";,.").isdigit()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("raise SettingsError('X is not set')", 2, "evercgm: X is not set"),
        ("raise NotYours('person')", 1, "evercgm: person"),
        ("raise ExceptionGroup('marked', [SettingsError('X is not set')])", 2, "evercgm: X is not set"),
        (
            "raise psycopg.OperationalError('marked')",
            1,
            "evercgm: the database does not answer or refuses (OperationalError)",
        ),
    ],
)
def test_what_is_no_bug_is_told_in_its_own_words(line: str, code: int, said: str) -> None:
    assert told(line) == (code, said)
