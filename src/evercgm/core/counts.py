"""What this process counts of itself, as the text that Prometheus reads; no label names a person or a connection."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# By what may be told apart; a test holds every family to this list.
LABELS = ("provider", "region", "outcome", "reason", "answer", "result", "why", "caller", "state")
# Prometheus text format 0.0.4.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The provider and region of what could not be looked at.
NOWHERE = ("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; ``labels``: the names of what tells its samples apart."""

    name: str
    kind: Literal["counter", "gauge"]
    told: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; ``labels`` in the order of its family's."""

    family: Family
    labels: tuple[str, ...]
    value: float


SYNCS = Family(
    "evercgm_syncs_total", "counter", "Syncs that ended in this process.", ("provider", "region", "outcome", "reason")
)
LAST_SYNC = Family(
    "evercgm_last_sync_timestamp_seconds", "gauge", "When a sync last ended well in this process (Unix time).",
    ("provider", "region"),
)  # fmt: skip
READINGS = Family(
    "evercgm_readings_stored_total", "counter", "Readings that this process stored or corrected.",
    ("provider", "region"),
)  # fmt: skip
REJECTED = Family(
    "evercgm_rejected_records_total", "counter", "Records that could not be read and were kept aside.",
    ("provider", "region"),
)  # fmt: skip
CALLS = Family(
    "evercgm_vendor_calls_total", "counter", "Calls that this process made at a vendor, by the status of the answer.",
    ("provider", "region", "answer"),
)  # fmt: skip
HELD_BACK = Family(
    "evercgm_calls_held_back_total", "counter", "Calls that were not made: a pause, or no calls left.",
    ("provider", "region", "why", "caller"),
)  # fmt: skip
REFRESHES = Family(
    "evercgm_token_refreshes_total", "counter", "Token refreshes that this process made.",
    ("provider", "region", "result"),
)  # fmt: skip
JOBS_FAILED = Family("evercgm_jobs_failed_total", "counter", "Jobs that ended by a bug or the loss of the database.")
OF_THE_PROCESS = (SYNCS, LAST_SYNC, READINGS, REJECTED, CALLS, HELD_BACK, REFRESHES, JOBS_FAILED)


class Counts:
    """The counters of one process, from its start."""

    def __init__(self) -> None:
        self._values: dict[tuple[Family, tuple[str, ...]], float] = {}

    def add(self, family: Family, *labels: str, by: float = 1) -> None:
        """Count one more, or ``by``; ``labels`` in the order of the family's."""
        self._values[family, labels] = self._values.get((family, labels), 0) + by

    def set(self, family: Family, *labels: str, to: float) -> None:
        """Note the present value."""
        self._values[family, labels] = to

    def of(self, family: Family, *labels: str) -> float:
        """The value so far."""
        return self._values.get((family, labels), 0)

    def samples(self) -> list[Sample]:
        """All that was counted."""
        return [Sample(family, labels, value) for (family, labels), value in self._values.items()]


def exposition(families: Iterable[Family], samples: Iterable[Sample]) -> str:
    """The text of these families, each with its help and type whether or not it has samples yet."""
    found = sorted(samples, key=lambda sample: sample.labels)
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {_escaped(family.told)}", f"# TYPE {family.name} {family.kind}"]
        lines += [_line(sample) for sample in found if sample.family == family]
    return "\n".join(lines) + "\n"


def _line(sample: Sample) -> str:
    pairs = zip(sample.family.labels, sample.labels, strict=True)
    labels = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in pairs)
    value = int(sample.value) if float(sample.value).is_integer() else sample.value
    return f"{sample.family.name}{{{labels}}} {value}" if labels else f"{sample.family.name} {value}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text
