"""The simulated CareLink as one value: accounts, patients with their curves, switches, clock; no HTTP of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request

from evercgm.providers.medtronic.simulator.faults import ACTS_ONCE, LOGIN_ELSEWHERE, SEEN_FROM_NOW
from evercgm.providers.medtronic.simulator.state import State
from evercgm.simulator_kit.desk import AtDesk, Desk
from evercgm.simulator_kit.faults import Fault, FaultKind
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace

# Life of an access token, measured 2026.
EXPIRES_IN_S = 10_800


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody with a sensor. `recording`: a shipped trace, or None for one who has none running.

    The zones of all have no summer time: a clock stands at one offset all year, and is changed by a fault alone.
    """

    username: str
    first_name: str
    last_name: str
    recording: str | None
    family: str = "NGP"
    model: str = "MMT-1886"
    utc_offset_min: int = 60
    zone_name: str = "W. Central Africa Standard Time"


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
    Patient("kim.beta", "Kim", "Example", "hall2018_2133-035", "CGM", "MMT-5120", -300, "SA Pacific Standard Time"),
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
class Cloud(AtDesk):
    """Everything a request needs. `prefix`: the path below which it answers."""

    state: State
    accounts: dict[str, Account]
    patients: dict[str, Patient]
    traces: dict[str, Trace]
    prefix: str
    desk: Desk

    def readied(self, kind: FaultKind[Any], value: object) -> object:
        if kind in SEEN_FROM_NOW and isinstance(value, dict):
            return value | {"set_at": self.clock().timestamp()}
        return value

    def act_once(self, fault: Fault) -> int | None:
        if fault.kind not in ACTS_ONCE:
            return None
        ends = ("access", "refresh") if fault.kind is LOGIN_ELSEWHERE else (str(fault.value),)
        return self.state.end_tokens(fault.username, ends)


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
