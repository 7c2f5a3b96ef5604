"""House rules that no library checks, and that those which one checks can be broken."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "evercgm"
LONGEST_FILE = 400


def test_nothing_under_api_acts_as_the_worker() -> None:
    calls = [
        f"{path.name}:{node.lineno}"
        for path in (SOURCE / "api").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and getattr(node, "attr", getattr(node, "id", "")) in ("as_worker", "become_worker")
    ]

    assert calls == []


def test_only_one_file_of_queries_writes_to_the_record_of_deeds() -> None:
    writes = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.suffix in (".py", ".sql")
        and re.search(r"(?i)(into|update)\s+cgm_private\.audit_events", path.read_text())
    ]

    assert writes == ["storage/audit.sql"]


def test_no_file_grows_beyond_what_a_reader_holds() -> None:
    long = [path.name for path in SOURCE.rglob("*.py") if len(path.read_text().splitlines()) > LONGEST_FILE]

    assert long == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("api/app.py", "import evercgm.worker.run"),
        ("cli/serve.py", "import evercgm.api.jwks"),
        ("providers/dexcom/client.py", "import evercgm.storage.views"),
        ("storage/views.py", "import evercgm.provider_kit.send"),
        ("storage/jobs.py", "import httpx2"),
        ("core/reading.py", "import urllib.request"),
        ("core/sync.py", "import evercgm.settings"),
        ("actions/sync.py", "import psycopg"),
        ("settings.py", "import psycopg"),
        ("providers/dexcom/simulator/cloud.py", "import evercgm.core.reading"),
        ("actions/connect.py", "import evercgm.providers.dexcom.simulator.app"),
        ("provider_kit/oauth.py", "import evercgm.providers.dexcom.auth"),
        ("newcomer/__init__.py", ""),
    ],
)
def test_an_import_against_the_contracts_is_found(tmp_path: Path, file: str, line: str) -> None:
    shutil.copytree(SOURCE, tmp_path / "evercgm", ignore=shutil.ignore_patterns("__pycache__", "web", "traces"))
    shutil.copy(SOURCE.parents[1] / "pyproject.toml", tmp_path)
    broken = tmp_path / "evercgm" / file
    broken.parent.mkdir(exist_ok=True)
    broken.write_text((broken.read_text() if broken.exists() else '"""A room."""\n') + f"\n{line}\n")

    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert found.returncode == 1, found.stdout + found.stderr
    assert "BROKEN" in found.stdout or "exhaustive" in found.stdout + found.stderr
