"""A Supabase project for tests: its keys, a key server that can misbehave, and a service beside it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import jwt
import uvicorn
from api_world import BASE, ORIGIN, make_settings, open_runtime_on
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.api.app import create_app
from evercgm.runtime import Runtime
from evercgm.storage.database import Database

PROJECT = "https://abc.supabase.co"
KEYS_PATH = "/auth/v1/.well-known/jwks.json"
SECRET = "a-legacy-secret-of-the-project-0123456789"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def jwk(kid: str, key: PrivateKey, **more: Any) -> dict[str, Any]:
    """The public half as a member of a key set, as Supabase prints it."""
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


def claims_of(owner_id: str, **changes: Any) -> dict[str, Any]:
    """A user's claims; None leaves one out."""
    now = datetime.now(UTC)
    claims = {
        "iss": f"{PROJECT}/auth/v1",
        "aud": "authenticated",
        "role": "authenticated",
        "sub": owner_id,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
        "email": "ada@example.org",
        "is_anonymous": False,
        "aal": "aal1",
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def signed(
    claims: dict[str, Any], key: Any = EC_KEY, *, kid: str | None = "ec", alg: str = "ES256", **more: Any
) -> str:
    headers = {**({"kid": kid} if kid is not None else {}), **more}
    return jwt.encode(claims, key, algorithm=alg, headers=headers)


@dataclass
class KeyServer:
    """Answers with ``keys``, or with ``body`` and ``status``; counts calls; ``down`` breaks the connection."""

    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk("ec", EC_KEY), jwk("rsa", RSA_KEY, alg="RS256")])
    body: bytes | None = None
    status: int = 200
    down: bool = False
    delay_s: float = 0
    calls: int = 0
    addresses: set[str] = field(default_factory=set)

    def app(self) -> Starlette:
        return Starlette(routes=[Route(KEYS_PATH, self._answer)])

    async def _answer(self, request: Request) -> Response:
        self.calls += 1
        self.addresses.add(str(request.url))
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise httpx2.ConnectError("marked: no route to host")
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        return Response(body, self.status, media_type="application/json")


@asynccontextmanager
async def on_a_socket(server: KeyServer) -> AsyncIterator[str]:
    """The key server on this machine's network; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        await task
        listener.close()


class CountingDatabase(Database):
    """Counts the connections that were taken: without one, nobody has asked anything."""

    def __init__(self, original: Database):
        super().__init__(original._pool, original.vault)
        self.counted: AsyncConnectionPool[Any] = original._pool

    @property
    def taken(self) -> int:
        return self.counted.get_stats().get("requests_num", 0)


@dataclass
class Clock:
    """Seconds that only a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Beside:
    """A service beside a project."""

    client: httpx2.AsyncClient
    server: KeyServer
    clock: Clock
    db: CountingDatabase
    runtime: Runtime

    async def ask(self, token: str, path: str = "session") -> httpx2.Response:
        return await self.client.get(f"{BASE}/{path}", headers={"Authorization": f"Bearer {token}"})

    async def status(self, token: str) -> int:
        return (await self.ask(token)).status_code


@asynccontextmanager
async def beside_project(dsn: str, **env: str) -> AsyncIterator[Beside]:
    server, clock = KeyServer(), Clock()
    settings = make_settings(SUPABASE_URL=PROJECT, **env)
    async with (
        open_runtime_on(dsn) as runtime,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=server.app())) as http,
    ):
        db = CountingDatabase(runtime.db)
        own = replace(runtime, settings=settings, db=db, key_server=http)
        transport = httpx2.ASGITransport(app=create_app(own, clock))
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            yield Beside(client, server, clock, db, own)
