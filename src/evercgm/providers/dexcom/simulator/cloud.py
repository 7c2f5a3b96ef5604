"""The simulated Dexcom cloud as one value: accounts with their curves, switches, clock; no HTTP."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from evercgm.providers.dexcom.simulator.faults import (
    ACTS_ONCE,
    CORRECTED_VALUES,
    DELAY_HOURS,
    LATE_BATCH,
    NEW_RECORD_IDS,
    RECEIVER_DUMP,
    REGION,
    SECOND_ACCOUNT,
    ZONE_CHANGE,
)
from evercgm.providers.dexcom.simulator.state import HOME_REGION, State
from evercgm.providers.dexcom.simulator.uploads import Uploads
from evercgm.simulator_kit.desk import AtDesk, Desk
from evercgm.simulator_kit.faults import Fault, FaultError, FaultKind
from evercgm.simulator_kit.spans import settled
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace


@dataclass(frozen=True, slots=True)
class Account:
    """A sandbox user. `recording` is a shipped trace, or None for an account without readings."""

    username: str
    label: str
    recording: str | None
    transmitter_generation: str = "g7"
    display_app: str = "G7"
    utc_offset_min: int = -480


# Dexcom v3, "sandbox-data": User7 and User6 have these devices there too.
SANDBOX_ACCOUNTS = (
    Account("User7", "G7, mobile app", "hall2018_2133-018"),
    Account("User6", "G6, mobile app", "hall2018_2133-035", "g6", "G6"),
    Account("SandboxUser1", "new, no readings yet", None),
)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Switches that can be turned while the cloud runs; they start anew with the process.

    `expires_in`: life of new access tokens in seconds. `delay_hours`: how long after its instant a
    reading becomes visible.
    """

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 7200
    refresh_reuse_revokes_family: bool = False
    delay_hours: Annotated[float, msgspec.Meta(ge=0, le=720)] = 0.0


@dataclass(slots=True)
class Cloud(AtDesk):
    """Everything a request needs. `recent_calls`: the last hour's calls of each application."""

    state: State
    accounts: dict[str, Account]
    traces: dict[str, Trace]
    settings: Settings
    desk: Desk
    recent_calls: dict[str, deque[datetime]] = field(default_factory=dict)

    def readied(self, kind: FaultKind[Any], value: object) -> object:
        if kind is SECOND_ACCOUNT and isinstance(value, str) and value not in self.accounts:
            raise FaultError(f"fault {kind.name}: {value!r}; right is {', '.join(self.accounts)}")
        return value

    def act_once(self, fault: Fault) -> int | None:
        if fault.kind not in ACTS_ONCE:
            return None
        ends = ("access", "refresh") if fault.value == "at_once" else ("refresh",)
        return self.state.end_tokens(fault.username, ends)

    def uploads(self, username: str) -> Uploads:
        """What of this account's data is in the cloud now."""
        take = self.faults.take
        delay = take(DELAY_HOURS, username=username)
        late, dump = take(LATE_BATCH, username=username), take(RECEIVER_DUMP, username=username)
        corrected = take(CORRECTED_VALUES, username=username)
        renewed = take(NEW_RECORD_IDS, username=username)
        moved = take(ZONE_CHANGE, username=username)
        return Uploads(
            now=self.clock(),
            delay=timedelta(hours=self.settings.delay_hours if delay is None else delay),
            late=settled(late) if late else None,
            dump=settled(dump) if dump else None,
            corrected=settled(corrected) if corrected else None,
            add_mg_dl=corrected.add_mg_dl if corrected else 0,
            renewed=settled(renewed) if renewed else None,
            keeps_both=renewed.both if renewed else False,
            offset=timedelta(minutes=self.accounts[username].utc_offset_min),
            moved=settled(moved) if moved else None,
            moved_offset=timedelta(minutes=moved.utc_offset_min if moved else 0),
        )

    def region(self) -> str:
        """The region this cloud is now."""
        return self.faults.take(REGION) or HOME_REGION


def load_traces(accounts: Sequence[Account], override: Path | None, anchor: datetime) -> dict[str, Trace]:
    """The curve of each account; `override` is replayed by the first. Raises TraceError."""
    traces: dict[str, Trace] = {}
    for index, account in enumerate(accounts):
        if override is not None and index == 0:
            traces[account.username] = load_trace(override, anchor)
        elif account.recording is not None:
            traces[account.username] = load_trace(builtin_path(account.recording), anchor)
    return traces


def cloud_of(request: Request) -> Cloud:
    """The cloud that this request came to."""
    cloud = request.app.state.cloud
    assert isinstance(cloud, Cloud)  # noqa: S101 - narrows Starlette's untyped state
    return cloud
