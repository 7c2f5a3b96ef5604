"""What the simulated Dexcom cloud remembers over a restart: clients, codes, tokens, counts; no HTTP."""

import base64
import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from evercgm.simulator_kit.ledger import Ledger

CODE_LIFE = timedelta(seconds=60)
HOME_REGION = "us"
# Clients read the same weeks over and over.
REMEMBERED_IDS = 500_000
# Dexcom v3, "authentication": a refresh token lives at most one year.
REFRESH_LIFE = timedelta(days=365)

SCHEMA = """
create table if not exists clients (client_id text primary key, client_secret text not null);
create table if not exists redirect_uris (
    client_id text not null references clients, uri text not null, primary key (client_id, uri));
create table if not exists codes (
    code text primary key, client_id text not null, redirect_uri text not null, username text not null,
    expires_at real not null, used integer not null default 0, challenge text not null default '');
create table if not exists tokens (
    token text primary key, kind text not null, client_id text not null, username text not null,
    family text not null, expires_at real not null, used integer not null default 0,
    revoked integer not null default 0);
create index if not exists tokens_family on tokens (family);
"""


@dataclass(frozen=True, slots=True)
class Client:
    """An application registered at the simulated Dexcom; redirect URIs match exactly."""

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may read whose data: what stands behind a code or a token."""

    client_id: str
    username: str
    family: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A new access token with its refresh token."""

    access_token: str
    refresh_token: str
    session_state: str


class State:
    """The data directory; every change is committed before the method returns."""

    def __init__(self, data_dir: Path, now: datetime) -> None:
        """Open or make `dexcom-simulator.sqlite3`; raises OSError or sqlite3.Error."""
        self.ledger = Ledger(data_dir / "dexcom-simulator.sqlite3", now, SCHEMA)
        self.anchor = self.ledger.anchor
        self._db, self._rows = self.ledger.db, self.ledger.rows
        if not self._rows("select 1 from pragma_table_info('codes') where name = 'challenge'"):
            # A directory of before; its codes were given without a challenge.
            self._db.execute("alter table codes add column challenge text not null default ''")
        self.record_id = lru_cache(REMEMBERED_IDS)(self._record_id)

    def close(self) -> None:
        """Release the file."""
        self.ledger.close()

    def hashed(self, *parts: object) -> str:
        """64 hex digits, stable for these parts in this data directory, telling nothing about them."""
        return self.ledger.hashed(*parts)

    def counts(self, name: str) -> dict[str, int]:
        """All keys of a counter."""
        return self.ledger.counts(name)

    def _record_id(self, kind: str, client_id: str, username: str, measured_at: datetime) -> str:
        """A recordId: the same for this record of this account and client for ever."""
        seed = self.hashed(kind, client_id, username, int(measured_at.timestamp()))
        return str(uuid.UUID(seed[:32], version=5))

    def register(self, clients: Sequence[Client]) -> None:
        """Add clients and redirect URIs; those of earlier starts stay, a secret is replaced."""
        with self._db:
            for client in clients:
                self._db.execute(
                    "insert into clients values (?, ?)"
                    " on conflict (client_id) do update set client_secret = excluded.client_secret",
                    (client.client_id, client.client_secret),
                )
                self._db.executemany(
                    "insert or ignore into redirect_uris values (?, ?)",
                    [(client.client_id, uri) for uri in client.redirect_uris],
                )

    def is_registered(self, client_id: str, redirect_uri: str) -> bool:
        """Whether the client is known and has exactly this redirect URI."""
        return bool(
            self._rows("select 1 from redirect_uris where client_id = ? and uri = ?", (client_id, redirect_uri))
        )

    def secret_fits(self, client_id: str, client_secret: str) -> bool:
        """Whether the client is known and this is its secret."""
        rows = self._rows("select client_secret from clients where client_id = ?", (client_id,))
        return bool(rows) and secrets.compare_digest(str(rows[0][0]).encode(), client_secret.encode())

    def new_code(
        self,
        client_id: str,
        redirect_uri: str,
        username: str,
        now: datetime,
        *,
        life: timedelta = CODE_LIFE,
        region: str = HOME_REGION,
        challenge: str = "",
    ) -> str:
        """An authorization code, good for one use within its life; it names its region. `challenge`: PKCE, S256."""
        code = f"{region.upper()}_{uuid.uuid4()}.{uuid.uuid4()}.{uuid.uuid4()}"
        with self._db:
            self._db.execute(
                "insert into codes (code, client_id, redirect_uri, username, expires_at, challenge)"
                " values (?, ?, ?, ?, ?, ?)",
                (code, client_id, redirect_uri, username, (now + life).timestamp(), challenge),
            )
        return code

    def use_code(
        self, code: str, client_id: str, redirect_uri: str, now: datetime, *, verifier: str = ""
    ) -> Grant | None:
        """Spend a code; None if it is unknown, used, too old, or made for another client, address or verifier."""
        with self._db:
            rows = self._rows(
                "update codes set used = 1 where code = ? and client_id = ? and redirect_uri = ?"
                " and used = 0 and expires_at > ? returning username, challenge",
                (code, client_id, redirect_uri, now.timestamp()),
            )
        if not rows or rows[0][1] not in ("", _challenge_of(verifier)):
            return None
        return Grant(client_id, str(rows[0][0]), str(uuid.uuid4()))

    def new_tokens(self, grant: Grant, expires_in_s: int, now: datetime, *, region: str = HOME_REGION) -> TokenPair:
        """A pair for this grant; the access token lives `expires_in_s` seconds."""
        with self._db:
            return self._insert_pair(grant, expires_in_s, now, region)

    def rotate(
        self, refresh_token: str, client_id: str, expires_in_s: int, now: datetime, *, region: str = HOME_REGION
    ) -> tuple[TokenPair | None, Grant | None]:
        """Spend a refresh token for a new pair; (None, grant) if this grant's token was spent before."""
        with self._db:
            rows = self._rows(
                "update tokens set used = 1 where token = ? and kind = 'refresh' and client_id = ?"
                " and used = 0 and revoked = 0 and expires_at > ? returning username, family",
                (refresh_token, client_id, now.timestamp()),
            )
            if rows:
                grant = Grant(client_id, str(rows[0][0]), str(rows[0][1]))
                return self._insert_pair(grant, expires_in_s, now, region), grant
        spent = self._rows(
            "select username, family from tokens where token = ? and kind = 'refresh' and client_id = ? and used = 1",
            (refresh_token, client_id),
        )
        return None, Grant(client_id, str(spent[0][0]), str(spent[0][1])) if spent else None

    def revoke_family(self, family: str) -> None:
        """End every token that grew from one consent."""
        with self._db:
            self._db.execute("update tokens set revoked = 1 where family = ?", (family,))

    def end_tokens(self, username: str | None, kinds: Sequence[str]) -> int:
        """End the tokens of these kinds (access, refresh) that this user, or anybody, has now; how many."""
        with self._db:
            return self._db.execute(
                "update tokens set revoked = 1 where (? is null or username = ?) and revoked = 0 and used = 0"
                " and (kind = ? or kind = ?)",
                (username, username, kinds[0], kinds[-1]),
            ).rowcount

    def owner_of(self, token: str) -> str | None:
        """Whose token or code this is, living or not."""
        rows = self._rows(
            "select username from tokens where token = ? union all select username from codes where code = ?",
            (token, token),
        )
        return str(rows[0][0]) if rows else None

    def grant_of(self, access_token: str, now: datetime) -> Grant | None:
        """Whose data this access token opens; None if unknown, expired or revoked."""
        rows = self._rows(
            "select client_id, username, family from tokens"
            " where token = ? and kind = 'access' and revoked = 0 and expires_at > ?",
            (access_token, now.timestamp()),
        )
        return Grant(str(rows[0][0]), str(rows[0][1]), str(rows[0][2])) if rows else None

    def _insert_pair(self, grant: Grant, expires_in_s: int, now: datetime, region: str) -> TokenPair:
        # "~" is in no token of the home region.
        mark = "" if region == HOME_REGION else f"{region}~"
        pair = TokenPair(mark + secrets.token_urlsafe(48), mark + secrets.token_urlsafe(48), grant.family)
        lives = [
            (pair.access_token, "access", now + timedelta(seconds=expires_in_s)),
            (pair.refresh_token, "refresh", now + REFRESH_LIFE),
        ]
        self._db.executemany(
            "insert into tokens (token, kind, client_id, username, family, expires_at) values (?, ?, ?, ?, ?, ?)",
            [
                (token, kind, grant.client_id, grant.username, grant.family, expires_at.timestamp())
                for token, kind, expires_at in lives
            ],
        )
        return pair


def _challenge_of(verifier: str) -> str:
    """RFC 7636, 4.6."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def region_of(token: str) -> str:
    """The region that a code or token was given in."""
    if token.startswith(("US_", "EU_", "JP_")) and "." in token:
        return token[:2].lower()
    return token.partition("~")[0] if "~" in token else HOME_REGION
