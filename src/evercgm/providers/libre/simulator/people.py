"""Who lives in the simulated LibreLinkUp cloud: people with a sensor, and accounts that follow them. All invented."""

from dataclasses import dataclass
from typing import Literal

# Well-known: it opens nothing but a simulator.
DEMO_PASSWORD = "libre-demo-only"  # noqa: S105
SHARDS = ("ae", "ap", "au", "ca", "de", "eu", "eu2", "fr", "jp", "la", "us")
SensorKind = Literal["libre2", "libre3"]


@dataclass(frozen=True, slots=True)
class Patient:
    """A person with a sensor. ``recording``: a shipped trace, None: no readings. ``uom``: 1 mg/dL, 0 mmol/L."""

    patient_id: str
    first_name: str
    recording: str | None
    sensor: SensorKind = "libre3"
    uom: int = 1
    country: str = "DE"
    utc_offset_min: int = 60
    last_name: str = "Test"

    @property
    def serial(self) -> str:
        """Of the first sensor; the one after a change differs in its last but one place."""
        return f"0T{self.first_name.upper():X<4.4}L{self.sensor[-1]}10"

    @property
    def every(self) -> int:
        """How many points of the curve (5 min) make one of the history."""
        return 1 if self.sensor == "libre3" else 3


@dataclass(frozen=True, slots=True)
class Account:
    """A follower. ``home``: the regional host that the account lives on, "" the entry."""

    username: str
    label: str
    user_id: str
    patients: tuple[Patient, ...]
    home: str = "eu"
    password: str = DEMO_PASSWORD


ALEX = Patient("2197178c-ec91-57c9-8823-7e6f48faa652", "Alex", "hall2018_2133-018")
KIM = Patient("fe685497-cdba-5800-a8c1-a571a8c7771e", "Kim", "hall2018_2133-035", "libre2", uom=0)
NEW = Patient("feaee5a1-3af3-5dfa-9768-02fa0820e2b4", "New", None)
DEMO_ACCOUNTS = (
    Account("follower@example.com", "follows one person, Libre 3", "7d8be63a-eebb-51cd-8718-dd0f87e6042d", (ALEX,)),
    Account("family@example.com", "follows two people", "0f6f3f0b-7e1b-5d0e-8f8e-1d7a4f3c9b21", (ALEX, KIM)),
    Account("nobody@example.com", "follows nobody", "a3c1c9ab-27a8-5a36-9d53-5c0c3f1de7b4", (), "de"),
    Account("new@example.com", "follows one without readings", "c7a36efc-7e63-54a7-874f-1539af8953fd", (NEW,), "de"),
    Account("entry@example.com", "lives on the entry itself", "61ea8d4f-0fd1-57aa-b83e-ebeb7fc2d1a4", (KIM,), ""),
)
