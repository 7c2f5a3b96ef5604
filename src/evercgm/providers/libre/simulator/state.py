"""What the simulated LibreLinkUp cloud remembers over a restart: tokens, failed sign-ins, counts; no HTTP."""

import base64
import json
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evercgm.simulator_kit.trace import anchor_for

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists tokens (
    token text primary key, username text not null, shard text not null, steps text not null,
    expires_at real not null, ended integer not null default 0);
create table if not exists failures (username text not null, at real not null);
create table if not exists counts (name text, key text, n integer not null, primary key (name, key));
"""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token and what stands behind it. ``steps``: what must be accepted first; such a token reads nothing."""

    token: str
    username: str
    shard: str
    steps: tuple[str, ...]
    expires_at: datetime


class State:
    """The data directory; every change is committed before the method returns."""

    def __init__(self, data_dir: Path, now: datetime) -> None:
        """Open or make ``libre-simulator.sqlite3``; raises OSError or sqlite3.Error."""
        data_dir.mkdir(parents=True, exist_ok=True)
        # Starlette runs async routes on one thread; tests may open the app on another than they made it.
        self._db = sqlite3.connect(data_dir / "libre-simulator.sqlite3", check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(SCHEMA)
        if self.recall("anchor") is None:
            self.remember("anchor", anchor_for(now).isoformat())
        self.anchor = datetime.fromisoformat(str(self.recall("anchor"))).astimezone(UTC)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def new_ticket(
        self, username: str, user_id: str, shard: str, now: datetime, life: timedelta, steps: Sequence[str] = ()
    ) -> Ticket:
        """A token with the shape of a JWT; its signature means nothing."""
        expires_at = (now + life).replace(microsecond=0)
        claims = {"id": user_id, "iat": int(now.timestamp()), "exp": int(expires_at.timestamp())}
        claims |= {"jti": secrets.token_hex(16), **({"taskType": steps[0]} if steps else {})}
        token = ".".join(_base64url(part) for part in (b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode()))
        ticket = Ticket(f"{token}.{_base64url(b'simulated')}", username, shard, tuple(steps), expires_at)
        with self._db:
            self._db.execute(
                "insert into tokens (token, username, shard, steps, expires_at) values (?, ?, ?, ?, ?)",
                (ticket.token, username, shard, ",".join(steps), expires_at.timestamp()),
            )
        return ticket

    def ticket_of(self, token: str, now: datetime) -> Ticket | None:
        """What stands behind a token; None if it is unknown, too old or ended."""
        rows = self._rows(
            "select username, shard, steps, expires_at from tokens where token = ? and ended = 0 and expires_at > ?",
            (token, now.timestamp()),
        )
        if not rows:
            return None
        username, shard, steps, expires_at = rows[0]
        at = datetime.fromtimestamp(float(str(expires_at)), UTC)
        return Ticket(token, str(username), str(shard), tuple(filter(None, str(steps).split(","))), at)

    def owner_of(self, token: str) -> str | None:
        """Whose token this is, living or not."""
        rows = self._rows("select username from tokens where token = ?", (token,))
        return str(rows[0][0]) if rows else None

    def end_tokens(self, username: str | None) -> int:
        """End all tokens that this account, or any, has now; how many."""
        with self._db:
            return self._db.execute(
                "update tokens set ended = 1 where ended = 0 and (? is null or username = ?)", (username, username)
            ).rowcount

    def note_failure(self, username: str, now: datetime) -> None:
        """A sign-in with a wrong password."""
        with self._db:
            self._db.execute("insert into failures values (?, ?)", (username, now.timestamp()))

    def failures(self, username: str) -> list[datetime]:
        """When sign-ins of this account failed, oldest first."""
        rows = self._rows("select at from failures where username = ? order by at", (username,))
        return [datetime.fromtimestamp(float(str(at)), UTC) for (at,) in rows]

    def forget_failures(self, username: str) -> None:
        """A sign-in went well."""
        with self._db:
            self._db.execute("delete from failures where username = ?", (username,))

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
        """A text kept by ``remember``."""
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


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
