"""CareLink's "display/message" into our records; pure: no clock, no network. One bad row never fails its answer."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import ABOVE_RANGE_MG_DL, BELOW_RANGE_MG_DL, Batch, Flag, Reading, Rejected, Trend, epoch_ms
from evercgm.provider_kit.send import read_json
from evercgm.providers.medtronic import clock_set, times
from evercgm.providers.medtronic.clock_set import Stamp
from evercgm.providers.medtronic.times import Clocks, Offset, WallTime

# 24 hours hold 288 readings; a faster sensor fits as well.
MOST_ROWS = 5_000
FUTURE_ALLOWANCE = timedelta(minutes=5)
# Their clock counts where it is this near to ours.
CLOCK_DOUBT = timedelta(hours=24)
# In mmol/L nothing is above this; in mg/dL no sensor reports so little.
HIGHEST_MMOL_L = 33.3
LARGEST = 2**53
LOWEST_MEASURED, HIGHEST_MEASURED, HIGHEST_PLAUSIBLE = 40, 400, 1000
MMOL_L = frozenset({"MMOL_L", "MMOLL"})
GOOD_STATES = (None, "NO_ERROR_MESSAGE")
# The number is 0 beside these: all that is known is the side of the range.
BEYOND: dict[object, tuple[int, Flag]] = {
    "SG_BELOW_40_MGDL": (BELOW_RANGE_MG_DL, "low"),
    "SG_ABOVE_400_MGDL": (ABOVE_RANGE_MG_DL, "high"),
}
# By rate, mg/dL a minute: one arrow of Medtronic's is 1 to 2, of Dexcom's 2 to 3.
TRENDS: dict[object, Trend] = {
    "UP_TRIPLE": "doubleUp",
    "UP_DOUBLE": "singleUp",
    "UP": "fortyFiveUp",
    "NONE": "none",
    "DOWN": "fortyFiveDown",
    "DOWN_DOUBLE": "singleDown",
    "DOWN_TRIPLE": "doubleDown",
}
LONGEST_NAME = 40
Reason = Literal["unreadable", "bad_time", "future_time", "sensor_error", "implausible_value", "other_kind"]
JsonObject = dict[str, object]


class _Patient(msgspec.Struct, frozen=True):
    """CareLink v13 "patientData", or the whole answer of older versions, read 2026-11; fields of any type."""

    medicalDeviceFamily: object = None  # noqa: N815
    medicalDeviceInformation: object = None  # noqa: N815
    pumpCommunicationState: object = None  # noqa: N815
    bgUnits: object = None  # noqa: N815
    lastSG: object = None  # noqa: N815
    lastSGTrend: object = None  # noqa: N815
    markers: object = None
    sgs: object = None


class _Row(msgspec.Struct, frozen=True):
    """CareLink "sgs": ``timestamp`` since v11, ``datetime`` before. ``isBackfill``, newer: it was uploaded late."""

    kind: object = None
    sg: object = None
    sensorState: object = None  # noqa: N815
    timestamp: object = None
    isBackfill: object = None  # noqa: N815
    before_v11: object = msgspec.field(default=None, name="datetime")

    @property
    def time_text(self) -> object:
        return self.timestamp if self.timestamp is not None else self.before_v11


class _Frame(msgspec.Struct, frozen=True):
    """What holds for all rows of an answer. ``latest``: readings from after it (aware UTC) are of the future."""

    offset: Offset | None
    latest: datetime
    device_id: str | None


def read_message(body: bytes, account_id: str, now: datetime) -> Batch:
    """The readings of the last 24 hours by time, one a minute (the last one said); every empty form is no reading.

    ``now`` (aware UTC) judges what is from the future. Raises VendorChanged for an answer that is none, that may be in
    mmol/L, or whose clock's distance from UTC cannot be known.
    """
    said = _said(body)
    if said is None:
        return Batch((), (), account_id)
    patient = msgspec.convert(said, _Patient)
    # A pump that the phone has lost: its times were seen wrong.
    if patient.medicalDeviceFamily == "NGP" and patient.pumpCommunicationState is False:
        return Batch((), (), account_id)
    raws = patient.sgs if isinstance(patient.sgs, list) else []
    if len(raws) > MOST_ROWS:
        raise VendorChanged("an answer with more rows than a day can hold")
    _refuse_mmol(patient, raws)
    return _batch(patient, raws, msgspec.convert(said, Clocks), account_id, now)


def account_id_of(account: str, patient: str) -> str:
    """What stands for this account's view of this patient: a hash, since both are names that people chose."""
    return hashlib.sha256(f"carelink:{account}/{patient}".encode()).hexdigest()[:40]


def _said(body: bytes) -> JsonObject | None:
    """The part about the patient, nested or flat; None for an answer without one."""
    if not body.strip():
        return None
    whole = read_json(body, object)
    inner = whole.get("patientData", whole) if isinstance(whole, dict) else whole
    if inner is None or inner == []:
        return None
    if not isinstance(inner, dict):
        raise VendorChanged("an answer that is no message")
    return inner


def _batch(patient: _Patient, raws: list[object], clocks: Clocks, account_id: str, now: datetime) -> Batch:
    frame = _Frame(times.offset_of(clocks, now), _their_now(clocks, now) + FUTURE_ALLOWANCE, _device_id(patient))
    rows = [msgspec.convert(raw, _Row) if isinstance(raw, dict) else None for raw in raws]
    walls = [times.parse(row.time_text) if row else None for row in rows]
    by_place = clock_set.extra_minutes(list(_stamps(rows, walls)), times.device_clock(clocks), _clock_changes(patient))
    extra = [by_place.get(place, 0) for place in range(len(rows))]
    readings: dict[str, Reading] = {}
    rejected: dict[str, Rejected] = {}
    for raw, row, added in zip(raws, rows, extra, strict=True):
        result = _result(row, added, frame)
        if isinstance(result, Reading):
            readings[result.record_key] = result
        elif result is not None:
            refused = _rejected(result, raw, row)
            rejected[refused.record_key] = refused
    in_order = sorted(readings.values(), key=lambda reading: reading.measured_at)
    if in_order and in_order[-1].measured_at == _newest_slot(rows, extra, frame):
        in_order = _with_trend(in_order, patient, frame)
    return Batch(tuple(in_order), tuple(rejected.values()), account_id)


def _stamps(rows: Sequence[_Row | None], walls: Sequence[WallTime | None]) -> Iterator[Stamp]:
    """The rows whose times are the device's wall clock, as they came."""
    for place, (row, time) in enumerate(zip(rows, walls, strict=True)):
        if row and time and time.offset_min is None:
            yield Stamp(place, time.wall, row.isBackfill is True, row.sg)


def _newest_slot(rows: Sequence[_Row | None], extra: Sequence[int], frame: _Frame) -> datetime | None:
    """When the last row was measured, whether it has a value or not, as far as it is not of the future."""
    dated = (_measured_at(row, added, frame.offset) for row, added in zip(rows, extra, strict=True) if row)
    return max((at[0] for at in dated if at and at[0] <= frame.latest), default=None)


def _refuse_mmol(patient: _Patient, raws: Sequence[object]) -> None:
    """sg is mg/dL whatever bgUnits says; an answer that looks like mmol/L all the same is never converted."""
    values = [value for raw in raws if isinstance(raw, dict) and (value := _number(raw.get("sg"))) and value > 0]
    if values and _text(patient.bgUnits) in MMOL_L and max(values) <= HIGHEST_MMOL_L:
        raise VendorChanged("an answer whose values may be mmol/L")


def _their_now(clocks: Clocks, now: datetime) -> datetime:
    said = times.instant(clocks.currentServerTime)
    return said if said is not None and abs(said - now) <= CLOCK_DOUBT else now


def _clock_changes(patient: _Patient) -> list[datetime]:
    """Wall times at which the pump says that its clock was set."""
    markers = patient.markers if isinstance(patient.markers, list) else []
    found = [
        times.parse(marker.get("timestamp") or marker.get("dateTime"))
        for marker in markers
        if isinstance(marker, dict) and marker.get("type") == "TIME_CHANGE"
    ]
    return [time.wall for time in found if time is not None]


def _result(row: _Row | None, added: int, frame: _Frame) -> Reading | Reason | None:
    """The reading that a row is, or why it is none; None for a slot without a value, which is nothing at all."""
    if row is None:
        return "unreadable"
    if row.kind not in (None, "SG"):
        return "other_kind"
    glucose = _glucose(row)
    if glucose is None or isinstance(glucose, str):
        return glucose
    at = _measured_at(row, added, frame.offset)
    if at is None:
        return "bad_time"
    measured_at, offset_min = at
    if measured_at > frame.latest:
        return "future_time"
    return Reading(
        record_key=f"sg:{epoch_ms(measured_at) // 60_000}",
        measured_at=measured_at,
        glucose_mg_dl=glucose[0],
        flag=glucose[1],
        display_offset_min=offset_min,
        device_id=frame.device_id,
    )


def _glucose(row: _Row) -> tuple[int, Flag | None] | Reason | None:
    """mg/dL with its flag, or why there is none. 0 is no value, whatever the state says."""
    state = row.sensorState
    if isinstance(state, str) and state in BEYOND:
        return BEYOND[state]
    value = _number(row.sg)
    if value is None:
        return "unreadable" if row.sg is not None else None
    if value == 0:
        return None
    if state not in GOOD_STATES:
        return "sensor_error"
    if not HIGHEST_MMOL_L < value <= HIGHEST_PLAUSIBLE:
        return "implausible_value"
    mg_dl = math.floor(value + 0.5)
    if mg_dl < LOWEST_MEASURED:
        return BELOW_RANGE_MG_DL, "low"
    return (ABOVE_RANGE_MG_DL, "high") if mg_dl > HIGHEST_MEASURED else (mg_dl, None)


def _measured_at(row: _Row, added: int, offset: Offset | None) -> tuple[datetime, int] | None:
    """The instant and the minutes from UTC; None without a time. Raises VendorChanged where no offset is known."""
    time = times.parse(row.time_text)
    if time is None:
        return None
    if time.offset_min is not None:
        minutes = time.offset_min
    elif offset is not None:
        minutes = offset.minutes + added
    else:
        raise VendorChanged("times of an unknown zone")
    return time.wall - timedelta(minutes=minutes), minutes


def _with_trend(readings: list[Reading], patient: _Patient, frame: _Frame) -> list[Reading]:
    """The trend belongs to the newest reading, and to it only where the answer says that it is the last."""
    if not readings or not isinstance(patient.lastSG, dict) or patient.lastSGTrend is None:
        return readings
    last = _result(msgspec.convert(patient.lastSG, _Row), 0, frame)
    newest = readings[-1]
    if not isinstance(last, Reading) or (last.record_key, last.glucose_mg_dl) != (
        newest.record_key,
        newest.glucose_mg_dl,
    ):
        return readings
    word = patient.lastSGTrend
    trend = TRENDS.get(word, "unknown") if isinstance(word, str) else "unknown"
    return [*readings[:-1], msgspec.structs.replace(newest, trend=trend)]


def _device_id(patient: _Patient) -> str | None:
    """Family and model, as "NGP/MMT-1886"; never a serial number."""
    told = patient.medicalDeviceInformation
    names = [patient.medicalDeviceFamily, told.get("modelNumber") if isinstance(told, dict) else None]
    texts = [_text(name) for name in names]
    return "/".join(text or "unknown" for text in texts) if any(texts) else None


def _number(raw: object) -> float | None:
    if isinstance(raw, str):
        try:
            raw = float(raw) if raw.isascii() and len(raw) <= LONGEST_NAME else None
        except ValueError:
            return None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    # An integer may be too large for any float, and no value is.
    return raw if abs(raw) <= LARGEST and not math.isnan(raw) else None


def _text(raw: object) -> str | None:
    if not isinstance(raw, str) or len(raw) > LONGEST_NAME or not raw.isprintable():
        return None
    return raw.strip() or None


def _rejected(reason: Reason, raw: object, row: _Row | None) -> Rejected:
    """Named by the row itself, which has no id: the same row is kept aside once."""
    named = msgspec.json.encode(raw, order="deterministic")
    return Rejected(
        f"sg:unread:{hashlib.sha256(named).hexdigest()[:32]}", reason, _text(row.time_text) if row else None
    )
