"""A glucose reading as we keep it, its fixed id, and what was refused."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

Flag = Literal["low", "high"]
Trend = Literal[
    "doubleUp", "singleUp", "fortyFiveUp", "flat", "fortyFiveDown", "singleDown", "doubleDown",
    "none", "notComputable", "rateOutOfRange", "unknown",
]  # fmt: skip

# Placeholders of the field for "below 40" and "above 400" mg/dL; the flag is kept beside them.
BELOW_RANGE_MG_DL = 39
ABOVE_RANGE_MG_DL = 401
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_A_MILLISECOND = timedelta(milliseconds=1)


# Made by the ten thousand in a first sync: a frozen dataclass takes ten times as long to make.
class Reading(msgspec.Struct, frozen=True, gc=False):
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
    """What one answer held. ``account_id`` is the vendor's stable id of the account, None if not said.

    ``live``: where the vendor has two series, the present values, which its ``readings`` stand for later.
    """

    readings: tuple[Reading, ...]
    rejected: tuple[Rejected, ...]
    account_id: str | None
    live: tuple[Reading, ...] = ()


def epoch_ms(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware instant, truncated, never rounded."""
    return (instant - EPOCH) // _A_MILLISECOND


def reading_id(person_id: str, stream: str, reading: Reading) -> str:
    """The id a reading gets at first sight: a version 8 UUID, 48 bits of time, then 74 bits of a hash.

    The same (person, stream, record key, instant) always gives the same id; ids sort by time.
    """
    return ids_in(person_id, stream)(reading)


def ids_in(person_id: str, stream: str) -> Callable[[Reading], str]:
    """``reading_id`` for many readings of one person and stream."""
    begun = hashlib.sha256(_measured(person_id.encode()) + _measured(stream.encode()))

    def id_of(reading: Reading) -> str:
        hashed = begun.copy()
        hashed.update(_measured(reading.record_key.encode()))
        # The hash's first 80 bits: 12, then 2 + 48 + 12 around the version's and the variant's bits; 6 are not used.
        bits = int.from_bytes(hashed.digest()[:10], "big")
        ms = epoch_ms(reading.measured_at)
        return "%08x-%04x-8%03x-%04x-%012x" % (  # noqa: UP031 - an f-string takes a third longer, and a first sync makes ten thousands of ids
            ms >> 16 & 0xFFFF_FFFF,
            ms & 0xFFFF,
            bits >> 68,
            bits >> 54 & 0x3FFF | 0x8000,
            bits >> 6 & 0xFFFF_FFFF_FFFF,
        )

    return id_of


def _measured(raw: bytes) -> bytes:
    """With its length before it, so that no two lists of parts are the same bytes."""
    return len(raw).to_bytes(4, "big") + raw
