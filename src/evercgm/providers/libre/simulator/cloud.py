"""The simulated LibreLinkUp cloud as one value: accounts, curves, switches, clock; no routes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request

from evercgm.providers.libre.simulator import faults
from evercgm.providers.libre.simulator.curve import Uploads
from evercgm.providers.libre.simulator.people import SHARDS, Account, Patient
from evercgm.providers.libre.simulator.records import Style
from evercgm.providers.libre.simulator.state import State
from evercgm.simulator_kit.desk import AtDesk, Desk
from evercgm.simulator_kit.faults import Fault, FaultError, FaultKind
from evercgm.simulator_kit.spans import settled
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace


@dataclass(slots=True)
class Cloud(AtDesk):
    """Everything a request needs. ``traces`` by patient id; ``recent_calls``: the last minute's of each address."""

    state: State
    accounts: dict[str, Account]
    traces: dict[str, Trace]
    desk: Desk
    recent_calls: dict[str, deque[datetime]] = field(default_factory=dict)

    def readied(self, kind: FaultKind[Any], value: object) -> object:
        if kind is faults.MOVED and isinstance(value, str) and value not in SHARDS:
            raise FaultError(f"fault {kind.name}: {value!r}; right is {', '.join(SHARDS)}")
        return value

    def act_once(self, fault: Fault) -> int | None:
        return self.state.end_tokens(fault.username) if fault.kind is faults.TOKENS_ENDED else None

    def home(self, account: Account) -> str:
        """The regional host that an account lives on now."""
        return self.faults.take(faults.MOVED, username=account.username) or account.home

    def uploads(self, username: str | None) -> Uploads:
        """What of the curves that this account sees is in the cloud now."""
        take = self.faults.take
        offline, changed = take(faults.PHONE_OFFLINE, username=username), take(faults.SENSOR_CHANGE, username=username)
        revised = take(faults.REVISED, username=username)
        return Uploads(
            now=self.clock(),
            delay=timedelta(minutes=take(faults.UPLOAD_DELAY_MIN, username=username) or 0),
            offline=settled(offline) if offline else None,
            changed_at=changed.start if changed else None,
            revised=settled(revised) if revised else None,
            add_mg_dl=revised.add_mg_dl if revised else 0,
        )

    def style(self, patient: Patient, place: str, username: str) -> Style:
        """How this answer writes this person's values; asks each switch once."""
        take = self.faults.take
        ahead = take(faults.CLOCK_CHANGE, username=username)
        return Style(
            uom=0 if take(faults.MMOL_L, place, username) else patient.uom,
            utc_offset_min=patient.utc_offset_min,
            ahead_from=ahead.start if ahead else None,
            time_text=take(faults.TIME_TEXT, place, username),
            arrow=take(faults.ARROW, place, username),
        )


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
