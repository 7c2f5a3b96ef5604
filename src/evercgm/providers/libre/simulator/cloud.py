"""The simulated LibreLinkUp cloud as one value: accounts, curves, switches, clock; no routes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.libre.simulator import faults
from evercgm.providers.libre.simulator.curve import Span, Uploads
from evercgm.providers.libre.simulator.faults import KINDS, Stretch
from evercgm.providers.libre.simulator.people import SHARDS, Account, Patient
from evercgm.providers.libre.simulator.records import Style
from evercgm.providers.libre.simulator.state import State
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.faults import Fault, FaultError, Switchboard, check_limits
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace

FARTHEST_SHIFT = timedelta(days=3660)


@dataclass(slots=True)
class Cloud:
    """Everything a request needs. ``traces`` by patient id; ``recent_calls``: the last minute's of each address."""

    state: State
    accounts: dict[str, Account]
    traces: dict[str, Trace]
    clock: VirtualClock
    faults: Switchboard = field(default_factory=lambda: Switchboard(KINDS))
    recent_calls: dict[str, deque[datetime]] = field(default_factory=dict)

    def recall(self) -> None:
        """Take up the clock's shift and the lasting faults of the last run."""
        self.clock.shift = timedelta(seconds=float(self.state.recall("clock_shift_s") or 0))
        for name, username, value in msgspec.json.decode(
            self.state.recall("lasting_faults") or "[]", type=list[tuple[str, str | None, object]]
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
        if username is not None and username not in self.accounts:
            raise FaultError(f"fault {name}: user {username!r}; right is {', '.join(self.accounts)}")
        if kind is faults.MOVED and read is not False and read not in SHARDS:
            raise FaultError(f"fault {name}: {read!r}; right is {', '.join(SHARDS)}")
        if isinstance(read, Stretch):
            read = _settled(name, read, self.clock())
        fault = Fault(kind, read, count, probability, path, username)
        if kind is faults.TOKENS_ENDED:
            check_limits(fault)
            fault.hits = self.state.end_tokens(username) if read is not False else 0
            return fault
        self.faults.add(fault)
        self._keep_lasting()
        return fault

    def clear_faults(self, name: str | None = None) -> None:
        """Turn off one fault or all; raises FaultError. What acted once stays done."""
        self.faults.clear(name)
        self._keep_lasting()

    def move_clock(self, *, by: timedelta | None = None, now: datetime | None = None) -> datetime:
        """Advance the cloud's clock, or set it (aware), for restarts too; what it says then. Raises OverflowError."""
        moved = VirtualClock(self.clock.base, self.clock.shift)
        if by is not None:
            moved.advance(by)
        if now is not None:
            moved.set_now(now)
        if abs(moved.shift) > FARTHEST_SHIFT:
            raise OverflowError(f"the clock can be {FARTHEST_SHIFT.days} days away from the machine's, not more")
        self.clock.shift = moved.shift
        self.state.remember("clock_shift_s", str(self.clock.shift.total_seconds()))
        return self.clock()

    def home(self, account: Account) -> str:
        """The regional host that an account lives on now."""
        return self.faults.take(faults.MOVED, username=account.username) or account.home

    def uploads(self, username: str | None) -> Uploads:
        """What of the curves that this account sees is in the cloud now."""
        take = self.faults.take
        revised = take(faults.REVISED, username=username)
        return Uploads(
            now=self.clock(),
            delay=timedelta(minutes=take(faults.UPLOAD_DELAY_MIN, username=username) or 0),
            offline=_span(take(faults.PHONE_OFFLINE, username=username)),
            changed_at=_start(take(faults.SENSOR_CHANGE, username=username)),
            revised=_span(revised),
            add_mg_dl=revised.add_mg_dl if revised else 0,
        )

    def style(self, patient: Patient, place: str, username: str) -> Style:
        """How this answer writes this person's values; asks each switch once."""
        take = self.faults.take
        return Style(
            uom=0 if take(faults.MMOL_L, place, username) else patient.uom,
            utc_offset_min=patient.utc_offset_min,
            ahead_from=_start(take(faults.CLOCK_CHANGE, username=username)),
            time_text=take(faults.TIME_TEXT, place, username),
            arrow=take(faults.ARROW, place, username),
        )

    def _keep_lasting(self) -> None:
        # The oldest first: the order in which they are added again.
        kept = [(f.kind.name, f.username, f.value) for f in reversed(self.faults.active) if f.kind.lasting]
        self.state.remember("lasting_faults", msgspec.json.encode(kept).decode())


def _settled(name: str, given: Stretch, now: datetime) -> Stretch:
    """Start and end filled in, seen from ``now``; raises FaultError."""
    try:
        start = given.start or now - timedelta(hours=given.last_hours or 0)
        end = given.end or now + timedelta(hours=given.in_hours or 0)
    except OverflowError as error:
        raise FaultError(f"fault {name}: reaches beyond the calendar; right is a moment of our time") from error
    if end < start:
        raise FaultError(f"fault {name}: ends before it starts; right is start before end")
    return msgspec.structs.replace(given, start=start, end=end, last_hours=None, in_hours=None)


def _span(stretch: Stretch | None) -> Span | None:
    if stretch is None or stretch.start is None or stretch.end is None:
        return None
    return Span(stretch.start, stretch.end)


def _start(stretch: Stretch | None) -> datetime | None:
    return stretch.start if stretch is not None else None


def load_traces(accounts: Sequence[Account], override: Path | None, anchor: datetime) -> dict[str, Trace]:
    """The curve of each person; ``override`` is replayed by the first of the first account. Raises TraceError."""
    traces: dict[str, Trace] = {}
    for patient in (patient for account in accounts for patient in account.patients):
        if patient.patient_id in traces or patient.recording is None:
            continue
        first = override if override is not None and not traces else None
        traces[patient.patient_id] = load_trace(first or builtin_path(patient.recording), anchor)
    return traces


def cloud_of(request: Request) -> Cloud:
    """The cloud that this request came to."""
    cloud = request.app.state.cloud
    assert isinstance(cloud, Cloud)  # noqa: S101 - narrows Starlette's untyped state
    return cloud


def json_response(content: object, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
