"""A world for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sync_world import World, open_world


@pytest.fixture
async def world(database: Any, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database.admin_dsn, database.service_dsn, tmp_path / "cloud") as opened:
        yield opened
