"""The REST door on a real database: one app, two owners, and clients that act for them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import psycopg
import pytest
from api_world import ORIGIN, Owner, Run, make_owner, open_runtime_on

from evercgm.api.app import create_app
from evercgm.runtime import Runtime


@pytest.fixture
async def runtime(database: Any) -> AsyncIterator[Runtime]:
    async with open_runtime_on(database.service_dsn) as runtime:
        yield runtime


@pytest.fixture
async def browser(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a cookie jar that follows nothing by itself."""
    transport = httpx2.ASGITransport(app=create_app(runtime))
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for calls with a Bearer header."""
    transport = httpx2.ASGITransport(app=create_app(runtime))
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


@pytest.fixture
async def admin(database: Any) -> AsyncIterator[Run]:
    """Runs statements as the owner of the database: what the host app and the worker would have written."""
    async with await psycopg.AsyncConnection.connect(database.admin_dsn, autocommit=True) as conn:

        async def run(statement: str, values: Sequence[Any] = ()) -> None:
            await conn.execute("set time zone 'UTC'")
            await conn.execute(statement.encode(), values)

        yield run


@pytest.fixture
async def ada(runtime: Runtime, admin: Run) -> Owner:
    return await make_owner(runtime, admin, "Ada")


@pytest.fixture
async def bob(runtime: Runtime, admin: Run) -> Owner:
    return await make_owner(runtime, admin, "Bob <b>")
