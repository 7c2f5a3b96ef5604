"""What the tests of the REST door share: two owners' data, a vendor of three functions, settings."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2

from evercgm.core.ladder import Reread
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Consent, Login, Provider, Region, Survey, VendorApp
from evercgm.provider_kit.vendors import Vendors
from evercgm.runtime import Runtime
from evercgm.settings import Settings, read_settings
from evercgm.storage.database import open_database
from evercgm.storage.identity import issue_jwt, issuer_of, load_keys
from evercgm.storage.vault import Vault

ORIGIN = "http://cgm.test"
VENDOR = "http://vendor.test"
BASE = "/api/metabolic/cgm"
HEX_KEY = secrets.token_hex(32)


@dataclass(frozen=True)
class Owner:
    """An owner with one person, and a Bearer header."""

    owner_id: str
    person_id: str
    bearer: dict[str, str]


def vendor_begin(app: VendorApp, login: Login) -> str:
    return f"{app.base_url}/login?state={login.state}&challenge={login.code_challenge}"


async def vendor_finish(_http: Any, _app: VendorApp, _code: Secret, _verifier: Secret) -> Tokens:
    return Tokens(Secret("access"), Secret("refresh"), datetime.now(UTC) + timedelta(hours=2), 7200)


async def vendor_survey(*_: Any) -> Survey:
    return Survey("account", None, None, None)


async def never(*_: Any) -> Any:
    raise AssertionError("the REST door reads nothing at a vendor")


def make_vendors(http: httpx2.AsyncClient) -> Vendors:
    provider = Provider(
        route="dexcom",
        provider="dexcom",
        title="Dexcom",
        official=True,
        regions={"us": Region("USA", VENDOR, timedelta(hours=1)), "eu": Region("EU", VENDOR, timedelta(hours=3))},
        longest_window=timedelta(days=30),
        rereads=(Reread("each sync", timedelta(hours=24), timedelta(0), timedelta(days=30)),),
        poll_every=timedelta(minutes=5),
        login=Consent(vendor_begin, vendor_finish),
        refresh=never,
        survey=vendor_survey,
        read=never,
        consent_lasts=timedelta(days=365),
    )
    redirect = f"{ORIGIN}{BASE}/dexcom/callback"
    app = VendorApp("us", VENDOR, "client", Secret("secret"), redirect)
    return Vendors({"dexcom": provider}, {("dexcom", "us"): app}, {("dexcom", "us"): http})


def make_settings(**more: str) -> Settings:
    env = {"EVERCGM_PUBLIC_URL": ORIGIN, "ENCRYPTION_KEY": HEX_KEY, **more}
    return read_settings(env)


@asynccontextmanager
async def open_runtime_on(dsn: str) -> AsyncIterator[Runtime]:
    settings = make_settings()
    async with open_database(dsn, Vault(settings.keys[0]), largest=4) as db, httpx2.AsyncClient() as http:
        keys = await load_keys(db, issuer_of(ORIGIN))
        yield Runtime(settings=settings, db=db, vendors=make_vendors(http), keys=keys, key_server=http)


Run = Callable[..., Awaitable[None]]


async def make_owner(runtime: Runtime, admin: Run, label: str) -> Owner:
    owner_id, person_id = str(uuid4()), str(uuid4())
    await add_person(admin, owner_id, person_id, label)
    token = issue_jwt(runtime.keys, owner_id, timedelta(hours=1))
    return Owner(owner_id, person_id, {"Authorization": f"Bearer {token}"})


async def add_person(admin: Run, owner_id: str, person_id: str, label: str) -> None:
    await admin('insert into public."Person" (id, "ownerId") values (%s, %s)', (person_id, owner_id))
    await admin("insert into cgm_private.person_settings (person_id, label) values (%s, %s)", (person_id, label))


async def add_connection(admin: Run, person_id: str, *, adopted: bool = True, status: str = "connected") -> str:
    connection_id = str(uuid4())
    await admin(
        "insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token,"
        " token_expires_at, status, error_message, updated_at) values"
        " (%s, %s, 'dexcom', 'marked-access', 'marked-refresh', now() + interval '2 hours', %s, 'theirs', now())",
        (connection_id, person_id, status),
    )
    if adopted:
        await admin(
            "insert into cgm_private.sync_state (connection_id, person_id, provider, region)"
            " values (%s, %s, 'dexcom', 'us')",
            (connection_id, person_id),
        )
    return connection_id


async def add_readings(admin: Run, person_id: str, connection_id: str | None, times: Sequence[datetime]) -> None:
    for place, measured_at in enumerate(times):
        await admin(
            'insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)'
            " values (%s, %s, %s::timestamptz at time zone 'UTC', %s, 'cgm', %s)",
            (str(uuid4()), person_id, measured_at, 100.0 + place, connection_id),
        )


async def add_odd_reading(
    admin: Run, person_id: str, connection_id: str | None, measured_at: object, value: str = "100"
) -> None:
    """A row as only another writer of the host's table makes it."""
    await admin(
        'insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)'
        " values (%s, %s, %s::text::timestamp, %s::float8, 'cgm', %s)",
        (str(uuid4()), person_id, str(measured_at), value, connection_id),
    )
