"""What a simulated cloud remembers over a restart, in one file: its anchor, facts, counts, and its own tables."""

import hashlib
import hmac
import secrets
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from evercgm.simulator_kit.trace import anchor_for

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists counts (name text, key text, n integer not null, primary key (name, key));
"""


class Ledger:
    """Every change is committed before the method returns."""

    def __init__(self, file: Path, now: datetime, schema: str = "") -> None:
        """Open or make the file; `schema`: SQL of further tables, each `if not exists`.

        The anchor is the `now` of the first start. Raises OSError or sqlite3.Error.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        # Starlette runs async routes on one thread; tests may open the app on another than they made it.
        self.db = sqlite3.connect(file, check_same_thread=False)
        self.db.execute("pragma journal_mode = wal")
        # Outlives a kill of the process, though not of the machine: a disk's pace is none of a simulator's business.
        self.db.execute("pragma synchronous = normal")
        self.db.executescript(SCHEMA + schema)
        anchor = self._fact("anchor", anchor_for(now).isoformat())
        self.anchor = datetime.fromisoformat(anchor).astimezone(UTC)
        self._salt = bytes.fromhex(self._fact("salt", secrets.token_hex(32)))

    def close(self) -> None:
        """Release the file."""
        self.db.close()

    def hashed(self, *parts: object) -> str:
        """64 hex digits, stable for these parts in this file, telling nothing about them."""
        text = "\x1f".join(str(part) for part in parts)
        return hmac.digest(self._salt, text.encode(), hashlib.sha256).hex()

    def count(self, name: str, key: str = "") -> None:
        """One more of this kind."""
        self.change("insert into counts values (?, ?, 1) on conflict (name, key) do update set n = n + 1", (name, key))

    def counts(self, name: str) -> dict[str, int]:
        """All keys of a counter."""
        rows = self.rows("select key, n from counts where name = ? order by key", (name,))
        return {str(key): int(str(n)) for key, n in rows}

    def recall(self, name: str) -> str | None:
        """A text kept by `remember`."""
        rows = self.rows("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def remember(self, name: str, value: str) -> None:
        """Keep a text over restarts."""
        self.change(
            "insert into facts values (?, ?) on conflict (name) do update set value = excluded.value", (name, value)
        )

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """What a query finds."""
        with closing(self.db.execute(query, values)) as cursor:
            return cursor.fetchall()

    def change(self, statement: str, values: tuple[object, ...] = ()) -> int:
        """Carry out a statement; how many rows it met."""
        with self.db:
            return self.db.execute(statement, values).rowcount

    def _fact(self, name: str, first_value: str) -> str:
        self.change("insert or ignore into facts values (?, ?)", (name, first_value))
        return str(self.rows("select value from facts where name = ?", (name,))[0][0])
