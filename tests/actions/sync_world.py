"""A database, the simulated Dexcom cloud behind real HTTP semantics, and a person who consents."""

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg

from evercgm.actions import connect, sign_in
from evercgm.actions.connect import Finished
from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection
from evercgm.core.caller import Caller
from evercgm.core.limits import Place
from evercgm.core.tokens import Secret
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Credentials, VendorApp
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.providers.dexcom.simulator.app import create_app
from evercgm.providers.dexcom.simulator.cloud import SANDBOX_ACCOUNTS, Account
from evercgm.providers.dexcom.simulator.state import Client
from evercgm.simulator_kit.answers import ConnectionCut
from evercgm.storage.database import Database, open_database
from evercgm.storage.runs import Trigger
from evercgm.storage.vault import Vault

CALLBACK = "http://cgm.test/api/metabolic/cgm/dexcom/callback"
CLIENT = Client("client", "client-secret", (CALLBACK,))
Answer = tuple[int, bytes]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Weather:
    """What stands between us and the cloud, by the end of a path.

    ``answers`` replace the cloud; ``lost`` lets it do its work and loses its answer; ``pause`` runs before.
    """

    cloud: Asgi
    answers: dict[str, Answer] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    pause: Callable[[str], Awaitable[None]] | None = None
    calls: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].rpartition("/")[2]
        self.calls.append(path)
        if self.pause is not None:
            await self.pause(path)
        if path in self.lost:
            await self.cloud(scope, receive, _nowhere)
            raise httpx2.ReadError("the line is cut")
        if path not in self.answers:
            try:
                await self.cloud(scope, receive, send)
            except ConnectionCut:
                # In this process a cut connection is an exception of the cloud; over HTTP the client sees this one.
                raise httpx2.RemoteProtocolError("the peer closed the connection") from None
            return
        status, body = self.answers[path]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def _nowhere(_message: Any) -> None:
    """Where a lost answer goes."""


@dataclass
class World:
    """One owner with one person, beside a cloud; ``db`` as the service sees it."""

    db: Database
    vendors: Vendors
    weather: Weather
    cloud: Any
    caller: Caller
    person_id: str
    admin_dsn: str

    @property
    def http(self) -> httpx2.AsyncClient:
        """The client that the service speaks to the cloud by."""
        return self.vendors.client("dexcom", "us")

    async def connect(self, username: str = "User7") -> str:
        """Walk the consent; the connection's id."""
        finished = await self.consent(username)
        assert finished.outcome == "connected", finished
        return str(self.sql("select id from public.cgm_connections where person_id = %s", self.person_id)[0][0])

    async def sign_in(self, place: Place, username: str, password: str, *, keep: bool = True) -> str:
        """By password, at a way in of ``vendors``; the connection's id."""
        return await sign_in.by_password(
            self.db,
            self.vendors,
            self.caller,
            person_id=self.person_id,
            route=place[0],
            region=place[1],
            credentials=Credentials(Secret(username), Secret(password), keep),
        )

    async def consent(self, username: str = "User7", decision: str = "approve") -> Finished:
        """From the hand-over to the callback, as one browser walks it."""
        return await walk_consent(self.db, self.vendors, self.caller, self.person_id, username, decision)

    async def sync(self, connection_id: str, trigger: Trigger = "command", **more: Any) -> Result | None:
        return await sync_connection(self.db, self.vendors, connection_id, trigger=trigger, **more)

    async def truth(self, username: str = "User7") -> list[tuple[datetime, float]]:
        """What the cloud holds of an account up to now, oldest first, as the host's table shows it."""
        answer = await self.http.get(f"http://cloud.test/dexcom/control/accounts/{username}/truth")
        return [(datetime.fromisoformat(row["systemTime"]).replace(tzinfo=None), row["value"]) for row in answer.json()]

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            cursor = conn.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def status(self, connection_id: str) -> tuple[str, str | None]:
        """Status and reason of a connection."""
        row = self.sql(
            """select c.status::text, s.reason from public.cgm_connections c
               join cgm_private.sync_state s on s.connection_id = c.id where c.id = %s""",
            connection_id,
        )
        return row[0][0], row[0][1]

    def token_calls(self, grant: str) -> int:
        """How often the cloud's token endpoint was asked with this grant type."""
        return int(self.cloud.state.cloud.state.counts("token_calls").get(grant, 0))

    def reuses(self) -> int:
        """How often the cloud saw a refresh token a second time."""
        return int(self.cloud.state.cloud.state.counts("refresh_reuse").get("", 0))

    def expire_access_token(self, connection_id: str) -> None:
        """As if the access token's time had come."""
        self.sql("update public.cgm_connections set token_expires_at = now() where id = %s", connection_id)


async def walk_consent(
    db: Database, vendors: Vendors, caller: Caller, person_id: str, username: str, decision: str = "approve"
) -> Finished:
    """Begin, go to the vendor, press a button there, come back."""
    handover = await connect.begin(
        db, vendors, caller, person_id=person_id, route="dexcom", region="us", return_to="http://cgm.test/"
    )
    consent = await connect.go(db, vendors, handover.token)
    query = {name: values[0] for name, values in parse_qs(urlsplit(consent.url).query).items()}
    back = await vendors.client("dexcom", "us").post(
        consent.url.partition("?")[0], data={**query, "username": username, "decision": decision}
    )
    returned = {name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()}
    return await connect.finish(
        db,
        vendors,
        state=returned["state"],
        code=returned.get("code"),
        error=returned.get("error"),
        binding=consent.binding,
        session_owner=None,
        request_id=caller.request_id,
    )


@asynccontextmanager
async def open_world(
    admin_dsn: str,
    service_dsn: str,
    cloud_dir: Path,
    clock: Callable[[], datetime] = utc_now,
    accounts: Sequence[Account] = SANDBOX_ACCOUNTS,
    trace: Path | None = None,
    anchor: datetime | None = None,
) -> AsyncIterator[World]:
    """``clock`` and ``accounts``: the cloud's. ``trace``: what the first account wears, if not a shipped one."""
    cloud = create_app(cloud_dir, clients=[CLIENT], accounts=accounts, clock=clock, trace=trace, anchor=anchor)
    weather = Weather(cloud)
    owner_id, person_id = str(uuid.uuid4()), str(uuid.uuid4())
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        conn.execute('insert into public."Person" (id, "ownerId") values (%s, %s)', (person_id, owner_id))
    app = VendorApp("us", "http://cloud.test/dexcom", CLIENT.client_id, Secret(CLIENT.client_secret), CALLBACK)
    transport = httpx2.ASGITransport(weather)
    async with (
        open_database(service_dsn, Vault(secrets.token_bytes(32)), largest=12) as db,
        httpx2.AsyncClient(transport=transport) as http,
    ):
        vendors = Vendors(PROVIDERS, {("dexcom", "us"): app}, {("dexcom", "us"): http})
        claims = {"sub": owner_id, "role": "authenticated", "aud": "authenticated"}
        yield World(db, vendors, weather, cloud, Caller(owner_id, claims), person_id, admin_dsn)
    cloud.state.cloud.state.close()


def refusal(code: str) -> Answer:
    """A token endpoint's refusal."""
    return 400, json.dumps({"error": code}).encode()


def hours(number: float) -> timedelta:
    return timedelta(hours=number)
