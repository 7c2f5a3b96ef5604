"""House rules that no library checks."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "evercgm"
LONGEST_FILE = 400


def test_nothing_under_api_acts_as_the_worker() -> None:
    calls = [
        f"{path.name}:{node.lineno}"
        for path in (SOURCE / "api").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and getattr(node, "attr", getattr(node, "id", "")) in ("as_worker", "become_worker")
    ]

    assert calls == []


def test_no_file_grows_beyond_what_a_reader_holds() -> None:
    long = [path.name for path in SOURCE.rglob("*.py") if len(path.read_text().splitlines()) > LONGEST_FILE]

    assert long == []
