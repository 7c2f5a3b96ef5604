"""The two servers of bar 4, each its own process. ``bench.serve_readings ours|plain TOLD.json TOKEN_FILE``."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.api.app import create_app
from evercgm.cli.serve import listen
from evercgm.core.tokens import Secret
from evercgm.runtime import open_runtime
from evercgm.settings import read_settings
from evercgm.storage.identity import issue_jwt
from evercgm.storage.views import QUERIES

Told = dict[str, Any]


@asynccontextmanager
async def ours(told: Told, token_file: Path) -> AsyncIterator[Any]:
    """The API as it is, standalone; a Bearer token of the owner, or of each of many, goes into ``token_file``."""
    settings = read_settings({"EVERCGM_PUBLIC_URL": "http://127.0.0.1", "ENCRYPTION_KEY": told["key"]})
    async with open_runtime(settings, Secret(told["service_dsn"])) as runtime:
        owners = told.get("owner_ids") or [told["owner_id"]]
        _write(token_file, "\n".join(issue_jwt(runtime.keys, owner, timedelta(hours=12)) for owner in owners))
        yield create_app(runtime)


def _write(path: Path, text: str) -> None:
    path.write_text(text)


@asynccontextmanager
async def plain(told: Told, _token_file: Path) -> AsyncIterator[Any]:
    """One route: the same statement as the tables' owner, who row-level security does not touch; nobody is checked."""
    # The statement names auth.uid() itself: the connection says once who that is.
    who = json.dumps({"sub": told["owner_id"]}).replace(" ", "")
    span = told["span"]
    values = {
        **{"person_id": span["person_id"], "after_time": None, "after_id": None, "limit": 1001},
        **{"start": datetime.fromisoformat(span["from"]), "end": datetime.fromisoformat(span["to"])},
    }
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        told["owner_dsn"],
        min_size=10,
        max_size=10,
        open=False,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": dict_row,
            "options": f"-c request.jwt.claims={who} -c TimeZone=UTC",
        },
    )

    async def route(_request: Request) -> Response:
        async with pool.connection() as conn:
            rows = await (await conn.execute(QUERIES["readings"], values)).fetchall()
        return Response(msgspec.json.encode({"readings": rows, "next": None}), media_type="application/json")

    await pool.open(wait=True)
    yield Starlette(routes=[Route("/readings", route)])
    await pool.close()


async def serve(way: str, told: Told, token_file: Path) -> None:
    """Serve on a free port, which is printed, until we are ended."""
    listener = listen("127.0.0.1", 0)
    async with (ours if way == "ours" else plain)(told, token_file) as app:
        print(listener.getsockname()[1], flush=True)
        await uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])))
