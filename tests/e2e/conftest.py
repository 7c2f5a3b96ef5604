"""One demo for all end-to-end tests that do not need their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_process import Demo, passable_folder, start_demo


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that the server's own account may pass through; pytest's is closed to it."""
    with passable_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    with passable_folder() as folder:
        started = start_demo(folder / "data")
        yield started
        code = started.stop()
        assert code == 0, started.log.read_text()[-4000:]
