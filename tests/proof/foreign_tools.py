"""Other people's programs: found where Debian puts them, or a failure that says what to install. Never a skip."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OLDEST_NODE = 20
# Prisma and the Supabase CLI count their users and look for newer versions, unless told not to.
QUIET = {"CHECKPOINT_DISABLE": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "CI": "1"}


def find_tool(name: str, package: str, *, also: str = "/usr/sbin") -> Path:
    """The program's path; fails the test where it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{also}")
    if found is None:
        pytest.fail(f"{name} is missing; install it with: sudo apt-get install -y {package}")
    return Path(found)


def run(*words: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A foreign program's run of five minutes at most, errors and all."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **QUIET, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Both streams of a run."""
    return done.stdout + done.stderr


def install_from_npm(name: str, folder: Path) -> Path:
    """A copy of tests/proof/NAME with the packages of its lock file; scripts of packages are not run."""
    find_tool("node", "nodejs npm")
    find_tool("npm", "nodejs npm")
    version = run("node", "--version", cwd=folder).stdout
    if int(version.strip().lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.fail(f"node is {version.strip()}: install Node.js {OLDEST_NODE} or newer")
    place = folder / name
    shutil.copytree(HERE / name, place, ignore=shutil.ignore_patterns("node_modules"))
    installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=place)
    if installed.returncode != 0:
        pytest.fail(f"npm ci in tests/proof/{name} failed: {said(installed)[-2000:]}")
    return place
