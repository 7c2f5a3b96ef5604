"""What the simulated LibreLinkUp cloud remembers over a restart: tokens, failed sign-ins; no HTTP."""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evercgm.simulator_kit.ledger import Ledger

SCHEMA = """
create table if not exists tokens (
    token text primary key, username text not null, shard text not null, steps text not null,
    expires_at real not null, ended integer not null default 0);
create table if not exists failures (username text not null, at real not null);
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
        self.ledger = Ledger(data_dir / "libre-simulator.sqlite3", now, SCHEMA)

    def new_ticket(
        self, username: str, user_id: str, shard: str, now: datetime, life: timedelta, steps: Sequence[str] = ()
    ) -> Ticket:
        """A token with the shape of a JWT; its signature means nothing."""
        expires_at = (now + life).replace(microsecond=0)
        claims = {"id": user_id, "iat": int(now.timestamp()), "exp": int(expires_at.timestamp())}
        claims |= {"jti": secrets.token_hex(16), **({"taskType": steps[0]} if steps else {})}
        token = ".".join(_base64url(part) for part in (b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode()))
        ticket = Ticket(f"{token}.{_base64url(b'simulated')}", username, shard, tuple(steps), expires_at)
        self.ledger.change(
            "insert into tokens (token, username, shard, steps, expires_at) values (?, ?, ?, ?, ?)",
            (ticket.token, username, shard, ",".join(steps), expires_at.timestamp()),
        )
        return ticket

    def ticket_of(self, token: str, now: datetime) -> Ticket | None:
        """What stands behind a token; None if it is unknown, too old or ended."""
        rows = self.ledger.rows(
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
        rows = self.ledger.rows("select username from tokens where token = ?", (token,))
        return str(rows[0][0]) if rows else None

    def end_tokens(self, username: str | None) -> int:
        """End all tokens that this account, or any, has now; how many."""
        return self.ledger.change(
            "update tokens set ended = 1 where ended = 0 and (? is null or username = ?)", (username, username)
        )

    def note_failure(self, username: str, now: datetime) -> None:
        """A sign-in with a wrong password."""
        self.ledger.change("insert into failures values (?, ?)", (username, now.timestamp()))

    def failures(self, username: str) -> list[datetime]:
        """When sign-ins of this account failed, oldest first."""
        rows = self.ledger.rows("select at from failures where username = ? order by at", (username,))
        return [datetime.fromtimestamp(float(str(at)), UTC) for (at,) in rows]

    def forget_failures(self, username: str) -> None:
        """A sign-in went well."""
        self.ledger.change("delete from failures where username = ?", (username,))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
