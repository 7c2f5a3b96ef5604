"""The desk from which one simulated cloud is steered: switches and clock, kept over a restart; no HTTP."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.faults import Fault, FaultError, FaultKind, Switchboard
from evercgm.simulator_kit.spans import Span, settle

FARTHEST_SHIFT = timedelta(days=3660)


class Memory(Protocol):
    """Where texts outlive the process."""

    def recall(self, name: str) -> str | None: ...
    def remember(self, name: str, value: str) -> None: ...


@dataclass(slots=True)
class Desk:
    """`usernames`: for whom alone a fault may be meant."""

    faults: Switchboard
    clock: VirtualClock
    memory: Memory
    usernames: Collection[str]

    def recall(self) -> None:
        """Take up the clock's shift and the lasting faults of the last run."""
        self.clock.shift = timedelta(seconds=float(self.memory.recall("clock_shift_s") or 0))
        for name, username, value in msgspec.json.decode(
            self.memory.recall("lasting_faults") or "[]", type=list[tuple[str, str | None, object]]
        ):
            kind = self.faults.kind(name)
            self.faults.add(Fault(kind, kind.read(value), username=username))

    def set_fault(
        self,
        name: str,
        value: object,
        *,
        count: int | None = None,
        probability: float = 1.0,
        path: str | None = None,
        username: str | None = None,
    ) -> Fault:
        """Turn a fault on from now; raises FaultError. The value as in JSON; None or False turns it off."""
        kind = self.faults.kind(name)
        read = False if value is None or value is False else kind.read(value)
        if username is not None and username not in self.usernames:
            raise FaultError(f"fault {name}: user {username!r}; right is {', '.join(self.usernames)}")
        if isinstance(read, Span):
            read = settle(name, read, self.clock())
        fault = self.faults.add(Fault(kind, read, count, probability, path, username))
        self._keep_lasting()
        return fault

    def clear_faults(self, name: str | None = None) -> None:
        """Turn off one fault or all; raises FaultError."""
        self.faults.clear(name)
        self._keep_lasting()

    def move_clock(self, *, by: timedelta | None = None, now: datetime | None = None) -> datetime:
        """Advance the cloud's clock, or set it (aware), for restarts too; what it says then. Raises OverflowError."""
        moved = VirtualClock(self.clock.base, self.clock.shift)
        if by is not None:
            moved.advance(by)
        if now is not None:
            moved.set_now(now)
        # Readings are made as they are asked for: a thousand years of them would never be done.
        if abs(moved.shift) > FARTHEST_SHIFT:
            raise OverflowError(f"the clock can be {FARTHEST_SHIFT.days} days away from the machine's, not more")
        self.clock.shift = moved.shift
        self.memory.remember("clock_shift_s", str(self.clock.shift.total_seconds()))
        return self.clock()

    def _keep_lasting(self) -> None:
        # The oldest first: the order in which they are added again.
        kept = [(f.kind.name, f.username, f.value) for f in reversed(self.faults.active) if f.kind.lasting]
        self.memory.remember("lasting_faults", msgspec.json.encode(kept).decode())


class AtDesk:
    """A cloud that is steered at its `desk`, and may add what a fault of its own wants."""

    __slots__ = ()
    desk: Desk

    @property
    def faults(self) -> Switchboard:
        """What is on."""
        return self.desk.faults

    @property
    def clock(self) -> VirtualClock:
        """The cloud's time."""
        return self.desk.clock

    def set_fault(
        self,
        name: str,
        value: object,
        *,
        count: int | None = None,
        probability: float = 1.0,
        path: str | None = None,
        username: str | None = None,
    ) -> Fault:
        """As `Desk.set_fault`; what acts once has acted then, and is off."""
        ready = self.readied(self.faults.kind(name), value)
        fault = self.desk.set_fault(name, ready, count=count, probability=probability, path=path, username=username)
        hits = None if fault.value is False else self.act_once(fault)
        if hits is not None:
            fault.hits = hits
            self.faults.active.remove(fault)
        return fault

    def readied(self, kind: FaultKind[Any], value: object) -> object:  # noqa: ARG002 - for a cloud's own
        """The value as the desk is to have it; raises FaultError where only this cloud can tell that it is wrong."""
        return value

    def act_once(self, fault: Fault) -> int | None:  # noqa: ARG002 - for a cloud's own
        """Do what a fault does only when it is turned on: to how many; None where it goes on to act."""
        return None

    def clear_faults(self, name: str | None = None) -> None:
        """Turn off one fault or all; raises FaultError. What acted once stays done."""
        self.desk.clear_faults(name)

    def move_clock(self, *, by: timedelta | None = None, now: datetime | None = None) -> datetime:
        """As `Desk.move_clock`."""
        return self.desk.move_clock(by=by, now=now)
