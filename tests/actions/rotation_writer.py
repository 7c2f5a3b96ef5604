"""A process that does to connections what workers and callbacks do, as fast as it can, while keys are rotated.

As a program it reads one line of settings, writes until its standard input ends, then prints what it committed.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret, Tokens
from evercgm.storage import connections
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault


class Writer:
    """``committed``: of each connection the access token of every generation that this process stored.

    ``read``: the access tokens that it found, by connection and generation.
    """

    def __init__(self, db: Database, name: str, persons: dict[str, str]):
        self._db = db
        self._name = name
        self._persons = persons
        self._count = 0
        self.committed: dict[str, dict[int, str]] = {connection_id: {} for connection_id in persons}
        self.read: set[tuple[str, int, str]] = set()
        self.sealed_off = 0

    def _pair(self) -> Tokens:
        self._count += 1
        access, refresh = (Secret(f"{what}-{self._name}-{self._count}") for what in ("access", "refresh"))
        return Tokens(access, refresh, datetime.now(UTC) + timedelta(hours=2), 7200)

    async def step(self) -> None:
        """One of what happens to connections. Refreshes are the most frequent."""
        connection_id = random.choice(list(self._persons))
        try:
            await random.choice([self._refresh, self._refresh, self._succeed, self._reconnect])(connection_id)
        except SealBroken:
            self.sealed_off += 1

    async def _load(self, connection_id: str) -> Loaded:
        loaded = await connections.load_for_sync(self._db, connection_id)
        assert loaded is not None
        self.read.add((connection_id, loaded.generation, loaded.tokens.access.reveal()))
        return loaded

    async def _refresh(self, connection_id: str) -> None:
        loaded = await self._load(connection_id)
        if not await connections.take_refresh_lease(self._db, loaded):
            return
        # Here a worker waits for the vendor.
        await asyncio.sleep(random.random() / 100)
        tokens = self._pair()
        if await connections.save_refreshed(self._db, loaded, tokens, loaded.tokens.refresh):
            self.committed[connection_id][loaded.generation + 1] = tokens.access.reveal()

    async def _succeed(self, connection_id: str) -> None:
        loaded = await self._load(connection_id)
        async with self._db.as_worker() as conn:
            await connections.note_success(conn, loaded, datetime.now(UTC), 0)

    async def _reconnect(self, connection_id: str) -> None:
        tokens = self._pair()
        async with self._db.as_worker() as conn:
            await connections.store_connected(
                conn,
                self._db.vault,
                person_id=self._persons[connection_id],
                provider="dexcom",
                region="us",
                account_id=None,
                tokens=tokens,
            )
            loaded = await connections.load(conn, self._db.vault, connection_id)
        assert loaded is not None
        self.committed[connection_id][loaded.generation] = tokens.access.reveal()


async def write(settings: dict[str, Any], tell: Callable[[str], object]) -> Writer:
    """Until the standard input ends, four at a time."""
    primary, *previous = [bytes.fromhex(key) for key in settings["keys"]]
    async with open_database(settings["dsn"], Vault(primary, tuple(previous)), largest=4) as db:
        writer = Writer(db, settings["name"], settings["persons"])
        tell("ready\n")
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))

        async def go_on() -> None:
            while not ended.done():
                await writer.step()

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(go_on())
    return writer


@dataclass
class Told:
    """What the writers said at their end."""

    committed: dict[str, dict[int, str]]
    read: set[tuple[str, int, str]]
    sealed_off: int


@contextmanager
def writers(dsn: str, rings: Sequence[Sequence[bytes]], persons: dict[str, str]) -> Iterator[Told]:
    """A process for each ring, while the block runs; afterwards the answer holds what they committed."""
    told = Told({connection_id: {} for connection_id in persons}, set(), 0)
    running = []
    for n, ring in enumerate(rings):
        settings = {"dsn": dsn, "name": str(n), "keys": [key.hex() for key in ring], "persons": persons}
        process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        running.append(process)
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    try:
        yield told
    finally:
        ends = [(process.communicate(timeout=60), process.returncode) for process in running]
    for (answer, errors), code in ends:
        assert code == 0, errors
        said = json.loads(answer)
        told.sealed_off += said["sealed_off"]
        told.read |= {(connection_id, generation, token) for connection_id, generation, token in said["read"]}
        for connection_id, generations in said["committed"].items():
            told.committed[connection_id] |= {int(name): token for name, token in generations.items()}


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        # What the program logs goes elsewhere than its answer.
        sys.stdout = sys.stderr
        done = asyncio.run(write(json.loads(sys.stdin.readline()), answers.write))
        answers.write(json.dumps({"committed": done.committed, "read": list(done.read), "sealed_off": done.sealed_off}))
