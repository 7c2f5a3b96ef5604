"""The simulated CareLink as one value: accounts, patients with their curves, switches, clock; no HTTP of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.medtronic.simulator.faults import (
    ACTS_ONCE,
    BACKFILL,
    CLOCK_CHANGE,
    KINDS,
    LOGIN_ELSEWHERE,
    Backfill,
    ClockChange,
)
from evercgm.providers.medtronic.simulator.state import State
from evercgm.simulator_kit.clock import VirtualClock
from evercgm.simulator_kit.faults import Fault, FaultError, Switchboard, check_limits
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace

FARTHEST_SHIFT = timedelta(days=3660)
# Life of an access token, measured 2026.
EXPIRES_IN_S = 10_800


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody with a sensor. `recording`: a shipped trace, or None for one who has none running."""

    username: str
    first_name: str
    last_name: str
    recording: str | None
    family: str = "NGP"
    model: str = "MMT-1886"
    utc_offset_min: int = 60
    zone_name: str = "Central European Standard Time"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who signs in. `follows`: user names of patients; a patient's own account follows nobody."""

    username: str
    password: str
    label: str
    role: str
    follows: tuple[str, ...] = ()
    country: str = "DE"


PATIENTS = (
    Patient("pat.alpha", "Pat", "Example", "hall2018_2133-018"),
    Patient("kim.beta", "Kim", "Example", "hall2018_2133-035", "CGM", "MMT-5120", -300, "Eastern Standard Time"),
    Patient("lee.gamma", "Lee", "Example", None),
)
# Well-known passwords: they open nothing but a simulator.
ACCOUNTS = (
    Account("follower.one", "simulated", "care partner of one", "CARE_PARTNER_OUS", ("pat.alpha",)),
    Account("follower.two", "simulated", "care partner of two", "CARE_PARTNER_OUS", ("pat.alpha", "kim.beta")),
    Account("follower.us", "simulated", "care partner in the US", "CARE_PARTNER", ("kim.beta",), "US"),
    Account("follower.none", "simulated", "care partner of nobody", "CARE_PARTNER_OUS"),
    Account("follower.new", "simulated", "care partner of one without a sensor", "CARE_PARTNER_OUS", ("lee.gamma",)),
    Account("pat.alpha", "simulated", "a patient's own account", "PATIENT_OUS"),
)


@dataclass(slots=True)
class Cloud:
    """Everything a request needs. `prefix`: the path below which it answers."""

    state: State
    accounts: dict[str, Account]
    patients: dict[str, Patient]
    traces: dict[str, Trace]
    clock: VirtualClock
    prefix: str
    faults: Switchboard = field(default_factory=lambda: Switchboard(KINDS))

    def recall(self) -> None:
        """Take up the clock's shift of the last run."""
        self.clock.shift = timedelta(seconds=float(self.state.recall("clock_shift_s") or 0))

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
        if kind is BACKFILL and isinstance(read, Backfill):
            read = msgspec.structs.replace(read, set_at=self.clock().timestamp())
        if kind is CLOCK_CHANGE and isinstance(read, ClockChange):
            self.state.remember("clock_changed_at", str(self.clock().timestamp() - read.minutes_ago * 60))
        fault = Fault(kind, read, count, probability, path, username)
        if kind not in ACTS_ONCE:
            return self.faults.add(fault)
        check_limits(fault)
        if fault.value is not False:
            ends = ("access", "refresh") if kind is LOGIN_ELSEWHERE else (str(fault.value),)
            fault.hits = self.state.end_tokens(username, ends)
        return fault

    def clear_faults(self, name: str | None = None) -> None:
        """Turn off one fault or all; raises FaultError. What acted once stays done."""
        self.faults.clear(name)

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


def load_traces(patients: Sequence[Patient], override: Path | None, anchor: datetime) -> dict[str, Trace]:
    """The curve of each patient; `override` is replayed by the first. Raises TraceError."""
    traces: dict[str, Trace] = {}
    for index, patient in enumerate(patients):
        if override is not None and index == 0:
            traces[patient.username] = load_trace(override, anchor)
        elif patient.recording is not None:
            traces[patient.username] = load_trace(builtin_path(patient.recording), anchor)
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
