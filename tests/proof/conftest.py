"""One PostgreSQL 15 for all proofs that want another server than the embedded one."""

from collections.abc import Iterator

import pytest
from debian_postgres import debian_cluster


@pytest.fixture(scope="session")
def debian_url() -> Iterator[str]:
    """The superuser's URL of a throw-away PostgreSQL 15."""
    with debian_cluster() as url:
        yield url
