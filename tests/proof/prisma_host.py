"""The host app's Prisma 7.10.0: a folder with its packages and a client made from our models, and its scripts."""

import json
import shutil
from pathlib import Path
from typing import Any

from foreign_tools import ROOT, install_from_npm, run, said

MODELS = ROOT / "prisma" / "schema.prisma"
NOTHING_TO_DO = "-- This is an empty migration."


def install_prisma(place: Path) -> Path:
    """A folder with the pinned packages, the repository's models and a client generated from them."""
    folder = install_from_npm("prisma", place)
    shutil.copy(MODELS, folder)
    # Prisma looks for a binary that these commands never start; any program of that name will do.
    engine = folder / "engine"
    engine.write_text("#!/bin/sh\nexit 0\n")
    engine.chmod(0o755)
    done = prisma_command(folder, "generate")
    assert done.returncode == 0, said(done)
    return folder


def prisma_command(folder: Path, verb: str) -> Any:
    env = {"PRISMA_SCHEMA_ENGINE_BINARY": str(folder / "engine")}
    return run("node_modules/.bin/prisma", verb, "--config", "prisma.config.cjs", cwd=folder, env=env)


def script(folder: Path, name: str, dsn: str, **env: str) -> Any:
    """What one of tests/proof/prisma/*.mjs prints."""
    done = run("node", name, cwd=folder, env={"DATABASE_URL": dsn, **env})
    assert done.returncode == 0, said(done)
    return json.loads(done.stdout)
