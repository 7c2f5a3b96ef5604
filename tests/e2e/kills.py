"""Kills processes of a running demo at random moments, as ``kill -9`` does, and lets everything come to rest again."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
from demo_process import Demo, connect, passable_folder, start_demo, until
from series import sql, stored, truth
from test_thread import child_of

VICTIMS = ("worker", "api", "postgres")
USERS = ("User7", "User6")
# The demo gives a child up that dies more often than that; then it is started anew, as a person would.
PATIENCE_S = 120


@dataclass
class Siege:
    """A demo under fire; ``persons`` by id, each with the account they wear; ``deaths`` by victim."""

    folder: Path
    demo: Demo
    chance: random.Random
    persons: dict[str, str] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VICTIMS, 0))
    slow_s: float | None = None
    calls_before: int = 0

    def people(self, count: int) -> None:
        """Persons of the demo's owner, all connected."""
        for number in range(count):
            person_id = str(uuid4())
            sql(
                self.demo,
                'insert into public."Person" (id, "ownerId") values (%s, %s) returning id',
                person_id,
                self.demo.line["owner_id"],
            )
            self.persons[person_id] = USERS[number % len(USERS)]
            assert "cgm=connected" in connect(self.demo, person_id, self.persons[person_id])

    def kill(self) -> None:
        """One of them: half of the time while it is at work, else at whatever moment, that of its own start too."""
        self._make_due()
        victim = self.chance.choice(VICTIMS)
        if self.chance.random() < 0.5:
            until(lambda: self._is_at_work(victim), f"{victim} is at work", PATIENCE_S)
        time.sleep(self.chance.uniform(0.05, 0.8))
        if self._strike(victim):
            self.deaths[victim] += 1
        self._raise_the_dead()
        if victim == "worker":
            self.calls_before = max(self.calls_before, self._calls())

    def _strike(self, victim: str) -> bool:
        """Whether it lived until now."""
        try:
            os.kill(self._pid(victim), signal.SIGKILL)
        except (AssertionError, FileNotFoundError, ProcessLookupError, IndexError):
            return False
        return True

    def come_to_rest(self) -> None:
        """Whoever lost their access to a lost answer signs in again; then everybody is synced once more."""
        self._raise_the_dead()
        self.make_slow(None)
        until(self._is_ready, "the service answers", PATIENCE_S)
        # As if their minutes had passed: once the last worker is dead, too, all leases that are left are dead ones'.
        until(lambda: self._strike("worker"), "a worker runs", PATIENCE_S)
        sql(self.demo, "update cgm_private.sync_state set refresh_until = null returning 1")
        until(self._is_complete, "every series is the vendor's", PATIENCE_S)

    def make_slow(self, seconds: float | None = 0.2) -> None:
        """So that calls are under way when somebody dies, and tokens are refreshed all the time."""
        self.slow_s = seconds
        order = {"set": {"slow": seconds}}
        httpx2.post(f"{self.demo.control}/faults", json=order, timeout=30, trust_env=False).raise_for_status()

    def doubled(self) -> list[str]:
        """Persons with two readings at one time."""
        return [person_id for person_id in self.persons if _has_doubles(self.demo, person_id)]

    def resumed(self) -> int:
        """How many syncs a worker has taken over from a dead one."""
        return self.demo.log.read_text().count("sync_resumed")

    def _is_at_work(self, victim: str) -> bool:
        """A worker: the vendor was called since one died last. The others: they answer."""
        self._raise_the_dead()
        self._make_due(expire=False)
        try:
            if victim == "postgres":
                return bool(sql(self.demo, "select 1"))
            if victim == "api":
                return httpx2.get(f"{self.demo.url}/healthz", timeout=5, trust_env=False).is_success
            return self._calls() > self.calls_before
        except (httpx2.HTTPError, psycopg.OperationalError):
            return False

    def _calls(self) -> int:
        """How often the vendor's cloud was called so far; 0 while the whole demo is being started anew."""
        try:
            told = httpx2.get(f"{self.demo.control}/stats", timeout=30, trust_env=False).json()
        except httpx2.HTTPError:
            return 0
        return sum(told["calls"].values())

    def _is_complete(self) -> bool:
        self._raise_the_dead()
        try:
            for (person_id,) in sql(self.demo, "select person_id from cgm_connections where status <> 'connected'"):
                assert "cgm=" in connect(self.demo, person_id, self.persons[person_id])
            self._make_due(expire=False)
            return all(stored(self.demo, one) == truth(self.demo, name) for one, name in self.persons.items())
        except (httpx2.HTTPError, psycopg.OperationalError):
            return False

    def _make_due(self, *, expire: bool = True) -> None:
        """All of them, a part with a token that has ended; while the database is away, nothing."""
        try:
            sql(self.demo, "update cgm_private.sync_state set next_sync_at = now() where reason is null returning 1")
            if expire:
                sql(
                    self.demo,
                    "update cgm_connections set token_expires_at = now() where status = 'connected' and random() < 0.1"
                    " returning 1",
                )
        except psycopg.OperationalError:
            return

    def _raise_the_dead(self) -> None:
        if self.demo.process.poll() is not None:
            self.demo = start_demo(self.folder / "data")
            self.make_slow(self.slow_s)

    def _pid(self, victim: str) -> int:
        if victim == "postgres":
            note = next((self.folder / "data").rglob("postmaster.pid"), None)
            assert note is not None, "it is being started"
            return int(note.read_text().split()[0])
        return child_of(self.demo, {"worker": "work", "api": "serve"}[victim])

    def _is_ready(self) -> bool:
        self._raise_the_dead()
        try:
            return httpx2.get(f"{self.demo.url}/readyz", timeout=5, trust_env=False).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False


def _has_doubles(demo: Demo, person_id: str) -> bool:
    times = [at for at, _ in stored(demo, person_id)]
    return len(times) != len(set(times))


@contextmanager
def besieged(*, persons: int, kills: int, seed: int) -> Iterator[Siege]:
    """The whole of it: everything is at rest again and the demo still runs."""
    with passable_folder() as folder:
        siege = Siege(folder, start_demo(folder / "data"), random.Random(seed))
        try:
            siege.people(persons)
            siege.make_slow()
            for _ in range(10 * kills):
                if sum(siege.deaths.values()) >= kills:
                    break
                siege.kill()
            siege.come_to_rest()
            yield siege
        finally:
            siege.demo.stop()
