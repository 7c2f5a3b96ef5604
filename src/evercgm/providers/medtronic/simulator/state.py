"""What the simulated CareLink remembers over a restart: codes, tokens with their families, counts; no HTTP."""

import base64
import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evercgm.simulator_kit.trace import anchor_for

CODE_LIFE = timedelta(seconds=60)
# Without use; each use gives a new one.
REFRESH_LIFE = timedelta(days=7)

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists codes (
    code text primary key, client_id text not null, redirect_uri text not null, username text not null,
    expires_at real not null, used integer not null default 0, challenge text not null);
create table if not exists tokens (
    token text primary key, kind text not null, client_id text not null, username text not null,
    family text not null, expires_at real not null, used integer not null default 0,
    revoked integer not null default 0);
create table if not exists counts (name text, key text, n integer not null, primary key (name, key));
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """What stands behind a code or a token."""

    client_id: str
    username: str
    family: str


class State:
    """The data directory; every change is committed before the method returns."""

    def __init__(self, data_dir: Path, now: datetime) -> None:
        """Open or make `medtronic-simulator.sqlite3`; raises OSError or sqlite3.Error."""
        data_dir.mkdir(parents=True, exist_ok=True)
        # Starlette runs async routes on one thread; tests may open the app on another than they made it.
        self._db = sqlite3.connect(data_dir / "medtronic-simulator.sqlite3", check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(SCHEMA)
        with self._db:
            self._db.execute("insert or ignore into facts values ('anchor', ?)", (anchor_for(now).isoformat(),))
        self.anchor = datetime.fromisoformat(self.recall("anchor") or "").astimezone(UTC)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def new_code(self, grant: Grant, redirect_uri: str, challenge: str, expires_at: datetime) -> str:
        """An authorization code, good for one use."""
        code = secrets.token_urlsafe(32)
        with self._db:
            self._db.execute(
                "insert into codes values (?, ?, ?, ?, ?, 0, ?)",
                (code, grant.client_id, redirect_uri, grant.username, expires_at.timestamp(), challenge),
            )
        return code

    def use_code(self, code: str, client_id: str, redirect_uri: str, verifier: str, now: datetime) -> Grant | None:
        """Spend a code; None if it is unknown, used, too old, or made for another client, address or verifier."""
        with self._db:
            rows = self._rows(
                "update codes set used = 1 where code = ? and client_id = ? and redirect_uri = ?"
                " and used = 0 and expires_at > ? returning username, challenge",
                (code, client_id, redirect_uri, now.timestamp()),
            )
        # A login without PKCE gets tokens all the same.
        if not rows or rows[0][1] not in ("", _challenge_of(verifier)):
            return None
        return Grant(client_id, str(rows[0][0]), secrets.token_hex(8))

    def keep(self, token: str, kind: str, grant: Grant, expires_at: datetime) -> None:
        """A token that was given out."""
        with self._db:
            self._db.execute(
                "insert into tokens (token, kind, client_id, username, family, expires_at) values (?, ?, ?, ?, ?, ?)",
                (token, kind, grant.client_id, grant.username, grant.family, expires_at.timestamp()),
            )

    def spend_refresh(self, token: str, client_id: str, now: datetime, *, rotates: bool) -> tuple[Grant | None, bool]:
        """The grant of a living refresh token, which is used up where tokens rotate; (its grant, True) on reuse."""
        with self._db:
            rows = self._rows(
                "update tokens set used = ?, expires_at = case when ? then expires_at else ? end"
                " where token = ? and kind = 'refresh' and client_id = ? and used = 0 and revoked = 0"
                " and expires_at > ? returning client_id, username, family",
                (rotates, rotates, (now + REFRESH_LIFE).timestamp(), token, client_id, now.timestamp()),
            )
        if rows:
            return _grant(rows[0]), False
        spent = self._rows(
            "select client_id, username, family from tokens where token = ? and kind = 'refresh' and used = 1", (token,)
        )
        return (_grant(spent[0]), True) if spent else (None, False)

    def end_family(self, family: str) -> None:
        """End every token that grew from one login."""
        with self._db:
            self._db.execute("update tokens set revoked = 1 where family = ?", (family,))

    def end_tokens(self, username: str | None, kinds: Sequence[str]) -> int:
        """End the living tokens of these kinds of this account, or of all; how many."""
        with self._db:
            return self._db.execute(
                "update tokens set revoked = 1 where (? is null or username = ?) and revoked = 0 and used = 0"
                " and (kind = ? or kind = ?)",
                (username, username, kinds[0], kinds[-1]),
            ).rowcount

    def grant_of(self, access_token: str, now: datetime) -> Grant | None:
        """Who stands behind a living access token."""
        rows = self._rows(
            "select client_id, username, family from tokens"
            " where token = ? and kind = 'access' and revoked = 0 and expires_at > ?",
            (access_token, now.timestamp()),
        )
        return _grant(rows[0]) if rows else None

    def owner_of(self, token: str) -> str | None:
        """Whose token or code this is, living or not."""
        rows = self._rows(
            "select username from tokens where token = ? union all select username from codes where code = ?",
            (token, token),
        )
        return str(rows[0][0]) if rows else None

    def count(self, name: str, key: str = "") -> None:
        """One more of this kind."""
        with self._db:
            self._db.execute(
                "insert into counts values (?, ?, 1) on conflict (name, key) do update set n = n + 1", (name, key)
            )

    def counts(self, name: str) -> dict[str, int]:
        """All keys of a counter."""
        rows = self._rows("select key, n from counts where name = ? order by key", (name,))
        return {str(key): int(str(n)) for key, n in rows}

    def recall(self, name: str) -> str | None:
        """A text kept by `remember`."""
        rows = self._rows("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str) -> None:
        """Keep a text over restarts."""
        with self._db:
            self._db.execute(
                "insert into facts values (?, ?) on conflict (name) do update set value = excluded.value", (name, value)
            )

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with closing(self._db.execute(query, values)) as cursor:
            return cursor.fetchall()


def _grant(row: tuple[object, ...]) -> Grant:
    return Grant(str(row[0]), str(row[1]), str(row[2]))


def _challenge_of(verifier: str) -> str:
    """RFC 7636, 4.6."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
