"""What several proofs share: one PostgreSQL 15 beside the embedded server, and the host app's Prisma."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from debian_postgres import debian_cluster
from prisma_host import install_prisma


@pytest.fixture(scope="session")
def debian_url() -> Iterator[str]:
    """The superuser's URL of a throw-away PostgreSQL 15."""
    with debian_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def prisma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which the host app's Prisma runs."""
    return install_prisma(tmp_path_factory.mktemp("prisma"))
