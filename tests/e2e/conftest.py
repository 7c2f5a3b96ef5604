"""One demo for all end-to-end tests that do not need their own."""

from collections.abc import Iterator

import pytest
from demo_process import Demo, start_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = start_demo(tmp_path_factory.mktemp("demo") / "data")
    yield started
    code = started.stop()
    assert code == 0, started.log.read_text()[-4000:]
