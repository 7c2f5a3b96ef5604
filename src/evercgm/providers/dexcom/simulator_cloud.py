"""The simulated Dexcom cloud as one value: accounts with their curves, switches, clock; no HTTP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.dexcom.simulator_state import State
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
class Cloud:
    """Everything a request needs. `clock` gives an aware datetime."""

    state: State
    accounts: dict[str, Account]
    traces: dict[str, Trace]
    settings: Settings
    clock: Callable[[], datetime]

    def visible_until(self) -> datetime:
        """Readings before this instant can be seen now; the one of this very moment included."""
        delay = timedelta(hours=self.settings.delay_hours)
        return self.clock() - delay + timedelta(microseconds=1)


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


def json_response(content: object, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
