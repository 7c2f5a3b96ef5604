"""A simulated Share for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dexcom_share.share_world import ShareWorld, open_share


@pytest.fixture
async def share(tmp_path: Path) -> AsyncIterator[ShareWorld]:
    async with open_share(tmp_path / "share") as world:
        yield world
