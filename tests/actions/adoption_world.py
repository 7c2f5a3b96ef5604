"""The host app's production database, its tokens sealed with its own key, beside the simulated Dexcom cloud."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.types.json import Jsonb
from sync_world import CALLBACK, CLIENT, World

from evercgm.actions import adopt as action

HOST_KEY = secrets.token_bytes(32)
ALICE = "person-alice"
ROWS = "select id, to_jsonb(c) from public.cgm_connections c order by id"
Series = list[tuple[datetime, int]]


def host_sealed(text: str, key: bytes = HOST_KEY) -> str:
    """As the host app writes it: hex(iv):hex(tag):hex(ciphertext)."""
    iv = secrets.token_bytes(16)
    raw = AESGCM(key).encrypt(iv, text.encode(), None)
    return f"{iv.hex()}:{raw[-16:].hex()}:{raw[:-16].hex()}"


def load_production(make_empty: Callable[[], Any], file: Path) -> Any:
    """The starting shape with its sample rows, not yet migrated."""
    fresh = make_empty()
    with psycopg.connect(fresh.admin_dsn, autocommit=True) as conn:
        conn.execute(file.read_bytes())
    return fresh


@dataclass
class HostApp:
    """What the host app does in its database and at the vendor, as far as the tests need it."""

    world: World

    async def connects(self, connection_id: str, username: str, *, region: str | None = "us") -> tuple[str, str]:
        """The host's own consent for a sample row, sealed with its key; returns the pair in plain text."""
        access, refresh = await self._consent(username)
        self.keeps_tokens(connection_id, host_sealed(access), host_sealed(refresh))
        metadata = Jsonb({"region": region, "hostOnly": 1} if region else {"hostOnly": 1})
        self.world.sql("update public.cgm_connections set metadata = %s where id = %s", metadata, connection_id)
        return access, refresh

    def keeps_tokens(self, connection_id: str, access: str, refresh: str) -> None:
        self.world.sql(
            """update public.cgm_connections
               set access_token = %s, refresh_token = %s, token_expires_at = now() + interval '2 hours'
               where id = %s""",
            access,
            refresh,
            connection_id,
        )

    async def _consent(self, username: str) -> tuple[str, str]:
        http = self.world.http
        base = "http://cloud.test/dexcom/v3/oauth2"
        asked = {"client_id": CLIENT.client_id, "redirect_uri": CALLBACK, "response_type": "code"}
        form = {**asked, "scope": "offline_access", "username": username, "decision": "approve"}
        back = await http.post(f"{base}/login", data=form)
        code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
        exchange = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        secret = {"client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret}
        pair = (await http.post(f"{base}/token", data={**exchange, **secret})).json()
        return pair["access_token"], pair["refresh_token"]

    def reads(self, connection_id: str, person_id: str, some: Series, apart: timedelta) -> list[str]:
        """Readings that the host app made itself, with ids and times of its own."""
        ids = [f"host-{n}" for n in range(len(some))]
        for id_, (at, value) in zip(ids, some, strict=True):
            self.world.sql(
                """insert into public.glucose_readings
                   (id, person_id, "timestamp", value, source, device_id, confidence, cgm_connection_id)
                   values (%s, %s, %s, %s, 'cgm', 'G7-1', 1, %s)""",
                id_,
                person_id,
                (at + apart).replace(tzinfo=None),
                value,
                connection_id,
            )
        return ids

    def rows(self) -> list[Any]:
        """All connections, whole."""
        return self.world.sql(ROWS)

    async def truth(self, username: str) -> Series:
        """Every reading that the vendor has of an account, oldest first."""
        url = f"http://cloud.test/dexcom/control/accounts/{username}/truth"
        found = (await self.world.http.get(url)).json()
        return [(_instant(row["systemTime"]), int(row["value"])) for row in found]

    def series(self, person_id: str) -> list[tuple[str, datetime, int]]:
        """The stored readings of source cgm, oldest first: id, instant, value."""
        query = """select id, "timestamp", value from public.glucose_readings
                   where person_id = %s and source = 'cgm' order by 2"""
        return [(row[0], row[1].replace(tzinfo=UTC), int(row[2])) for row in self.world.sql(query, person_id)]

    def terms(self, region: str | None = None, key: bytes = HOST_KEY) -> action.Terms:
        return action.check_terms(self.world.vendors, "dexcom", region, key)

    async def adopted(self, region: str | None = None, key: bytes = HOST_KEY) -> action.Outcome:
        """Look, then take over, as the command does."""
        terms = self.terms(region, key)
        found = await action.look(self.world.db, self.world.vendors, terms)
        action.require_region(self.world.vendors, terms, found)
        return await action.adopt(self.world.db, self.world.vendors, terms)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
