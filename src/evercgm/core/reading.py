"""A glucose reading as we keep it, its fixed id, and what was refused."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Flag = Literal["low", "high"]
Trend = Literal[
    "doubleUp", "singleUp", "fortyFiveUp", "flat", "fortyFiveDown", "singleDown", "doubleDown",
    "none", "notComputable", "rateOutOfRange", "unknown",
]  # fmt: skip

# Placeholders of the field for "below 40" and "above 400" mg/dL; the flag is kept beside them.
BELOW_RANGE_MG_DL = 39
ABOVE_RANGE_MG_DL = 401
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS = 74


@dataclass(frozen=True, slots=True)
class Reading:
    """One glucose value of one sensor.

    ``measured_at`` is aware UTC; ``glucose_mg_dl`` 39 to 401 (the ends stand for out of range, see
    ``flag``); ``trend_rate`` mg/dL per minute; ``display_offset_min`` minutes between what the person's
    clock showed and UTC; ``transmitter_hash`` is a hash, never a serial number.
    """

    record_key: str
    measured_at: datetime
    glucose_mg_dl: int
    flag: Flag | None = None
    trend: Trend | None = None
    trend_rate: float | None = None
    display_offset_min: int | None = None
    transmitter_hash: bytes | None = None
    transmitter_ticks: int | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A vendor's record that is no reading, kept aside: its key, a reason code, the time text it had."""

    record_key: str
    reason: str
    measured_text: str | None = None


# Reasons that say: we could not read it. (The others say: it is read, and no glucose.)
UNREAD = frozenset({"unreadable", "bad_time", "unknown_unit"})


@dataclass(frozen=True, slots=True)
class Batch:
    """What one answer held. ``account_id`` is the vendor's stable id of the account, None if not said."""

    readings: tuple[Reading, ...]
    rejected: tuple[Rejected, ...]
    account_id: str | None


def epoch_ms(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware instant, truncated, never rounded."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def reading_id(person_id: str, stream: str, reading: Reading) -> str:
    """The id a reading gets at first sight: a version 8 UUID, 48 bits of time, then 74 bits of a hash.

    The same (person, stream, record key, instant) always gives the same id; ids sort by time.
    """
    hashed = hashlib.sha256()
    for part in (person_id, stream, reading.record_key):
        raw = part.encode()
        hashed.update(len(raw).to_bytes(4, "big") + raw)
    tail = int.from_bytes(hashed.digest(), "big") >> (256 - _RANDOM_BITS)
    high = tail >> 62
    low = tail & ((1 << 62) - 1)
    time_bits = epoch_ms(reading.measured_at) & ((1 << 48) - 1)
    return str(uuid.UUID(int=time_bits << 80 | 8 << 76 | high << 64 | 0b10 << 62 | low))
