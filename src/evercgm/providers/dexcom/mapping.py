"""Dexcom's answers into our records; pure: no clock, no network. One bad record never fails its window."""

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import (
    ABOVE_RANGE_MG_DL,
    BELOW_RANGE_MG_DL,
    Batch,
    Flag,
    Reading,
    Rejected,
    Trend,
    epoch_ms,
)
from evercgm.core.sync import Window
from evercgm.provider_kit.send import read_json
from evercgm.providers.dexcom.times import WireTime, display_offset_min, parse_time

MG_DL_OF_MMOL_L = 18
# Dexcom v3, "egvs", read 2026-11: 40 to 400 are measured; 39 and 401 stand for beyond.
LOWEST_MEASURED, HIGHEST_MEASURED = 40, 400
# Older transmitters report 0 to 12 in the value's place: codes of a sensor error, no glucose.
HIGHEST_ERROR_CODE = 12
HIGHEST_PLAUSIBLE = 1000
# 30 days hold 8,640 readings; copies of several devices and a faster cadence fit as well.
MOST_RECORDS = 50_000
FUTURE_ALLOWANCE = timedelta(hours=24)
WINDOW_TOLERANCE = timedelta(seconds=1)
# What API v3 serves did not exist before: a first record older than this has a broken clock.
EARLIEST_HISTORY = datetime(2015, 1, 1, tzinfo=UTC)
LONGEST_KEY, LONGEST_ACCOUNT_ID, LONGEST_NAME = 128, 256, 40
_TRENDS: dict[str, Trend] = {trend.lower(): trend for trend in get_args(Trend)}

Reason = Literal[
    "unreadable", "bad_time", "future_time", "no_value", "unknown_unit", "sensor_error", "implausible_value"
]


class _Envelope(msgspec.Struct, frozen=True):
    """Dexcom v3, common to data answers. Records stay raw: each is read alone."""

    records: list[msgspec.Raw]
    userId: str | None = None  # noqa: N815
    recordType: str | None = None  # noqa: N815


class _Egv(msgspec.Struct, frozen=True):
    """Dexcom v3, "egvs", read 2026-11. Only time and value can make a record unreadable.

    The rest is ``object``: a field of a new type is left out, never the reading with it.
    """

    systemTime: str  # noqa: N815
    value: float | None = None
    recordId: object = None  # noqa: N815
    displayTime: object = None  # noqa: N815
    status: object = None
    unit: object = None
    trend: object = None
    trendRate: object = None  # noqa: N815
    rateUnit: object = None  # noqa: N815
    transmitterId: object = None  # noqa: N815
    transmitterTicks: object = None  # noqa: N815
    transmitterGeneration: object = None  # noqa: N815
    displayDevice: object = None  # noqa: N815


class _Names(msgspec.Struct, frozen=True):
    """What can be told of a record that is no ``_Egv``."""

    recordId: object = None  # noqa: N815
    systemTime: object = None  # noqa: N815


class _Moment(msgspec.Struct, frozen=True):
    systemTime: str  # noqa: N815


class _Range(msgspec.Struct, frozen=True):
    start: _Moment
    end: _Moment


class _DataRange(msgspec.Struct, frozen=True):
    """Dexcom v3, "dataRange", read 2026-11: a kind without records is null or absent."""

    userId: str | None = None  # noqa: N815
    egvs: _Range | None = None


class _Device(msgspec.Struct, frozen=True):
    """Dexcom v3, "devices", read 2026-11; alert schedules are not read."""

    lastUploadDate: object = None  # noqa: N815
    transmitterGeneration: object = None  # noqa: N815
    displayDevice: object = None  # noqa: N815


@dataclass(frozen=True, slots=True)
class Held:
    """What "dataRange" says of readings: the account's id, first and last instant (aware UTC)."""

    account_id: str | None
    first: datetime | None
    last: datetime | None


def read_egvs(body: bytes, now: datetime) -> Batch:
    """An "egvs" answer: readings by time, one a record key (the last one said), and what was refused.

    ``now`` (aware UTC) judges records from the future. Raises VendorChanged for an answer that is none.
    """
    envelope = _envelope(body, "egv")
    readings: dict[str, Reading] = {}
    rejected: dict[str, Rejected] = {}
    for raw in envelope.records:
        result = _read_egv(raw, now)
        if isinstance(result, Reading):
            readings[result.record_key] = result
        else:
            rejected[result.record_key] = result
    in_order = sorted(readings.values(), key=lambda reading: (reading.measured_at, reading.record_key))
    return Batch(tuple(in_order), tuple(rejected.values()), _account_id(envelope.userId))


def within(batch: Batch, window: Window) -> Batch:
    """The batch without readings that were not asked for, more than a second outside ``window``."""
    low, high = window.start - WINDOW_TOLERANCE, window.end + WINDOW_TOLERANCE
    return replace(batch, readings=tuple(r for r in batch.readings if low <= r.measured_at <= high))


def read_data_range(body: bytes) -> Held:
    """A "dataRange" answer; a new account has no readings, which is no error.

    Raises VendorChanged, also where the times of existing readings cannot be read: history would be
    skipped in silence. Only a start before 2015 or of nonsense counts as 2015 where the end is sound.
    """
    wire = read_json(body, _DataRange)
    account_id = _account_id(wire.userId)
    if wire.egvs is None:
        return Held(account_id, None, None)
    first, last = parse_time(wire.egvs.start.systemTime), parse_time(wire.egvs.end.systemTime)
    if last is None:
        raise VendorChanged("a data range whose end cannot be read")
    start = EARLIEST_HISTORY if first is None else max(first.instant, EARLIEST_HISTORY)
    return Held(account_id, start, last.instant)


def read_devices(body: bytes) -> str | None:
    """A "devices" answer: generation and display device of the latest upload, as "g7/iOS"; None if none.

    Raises VendorChanged for an answer that is none; a record that cannot be read is passed over.
    """
    newest: tuple[datetime, str] | None = None
    for raw in _envelope(body, "device").records:
        try:
            device = read_json(bytes(raw), _Device)
        except VendorChanged:
            continue
        device_id = _device_id(device.transmitterGeneration, device.displayDevice)
        uploaded = parse_time(_text(device.lastUploadDate, LONGEST_NAME) or "")
        at = uploaded.instant if uploaded else EARLIEST_HISTORY
        if device_id is not None and (newest is None or at > newest[0]):
            newest = (at, device_id)
    return newest[1] if newest else None


def _envelope(body: bytes, kind: str) -> _Envelope:
    envelope = read_json(body, _Envelope)
    if envelope.recordType not in (None, kind):
        raise VendorChanged("an answer with records of another kind")
    if len(envelope.records) > MOST_RECORDS:
        raise VendorChanged("an answer with more records than a window can hold")
    return envelope


def _read_egv(raw: msgspec.Raw, now: datetime) -> Reading | Rejected:
    try:
        wire = read_json(bytes(raw), _Egv)
    except VendorChanged:
        return _rejected("unreadable", raw, _names(raw))
    names = _Names(wire.recordId, wire.systemTime)
    system = parse_time(wire.systemTime)
    if system is None:
        return _rejected("bad_time", raw, names)
    if system.instant > now + FUTURE_ALLOWANCE:
        return _rejected("future_time", raw, names)
    glucose = _glucose(wire)
    if isinstance(glucose, str):
        return _rejected(glucose, raw, names)
    return _reading(wire, system, *glucose)


def _reading(wire: _Egv, system: WireTime, glucose_mg_dl: int, flag: Flag | None) -> Reading:
    display_text = _text(wire.displayTime, LONGEST_NAME)
    transmitter = _text(wire.transmitterId, LONGEST_ACCOUNT_ID)
    return Reading(
        record_key=_text(wire.recordId, LONGEST_KEY) or f"egv:{epoch_ms(system.instant)}",
        measured_at=system.instant,
        glucose_mg_dl=glucose_mg_dl,
        flag=flag,
        trend=_trend(wire.trend),
        trend_rate=_trend_rate(wire.trendRate, wire.rateUnit),
        display_offset_min=display_offset_min(system, display_text) if display_text else None,
        # Dexcom hashes it already; hashed again, it stays no serial number whatever they send one day.
        transmitter_hash=hashlib.sha256(transmitter.encode()).digest() if transmitter else None,
        transmitter_ticks=_ticks(wire.transmitterTicks),
        device_id=_device_id(wire.transmitterGeneration, wire.displayDevice),
    )


def _glucose(wire: _Egv) -> tuple[int, Flag | None] | Reason:
    """mg/dL with its flag, or why there is none. Neither value nor status is trusted alone."""
    if wire.value is None:
        return "no_value"
    if wire.unit not in ("mg/dL", "mmol/L"):
        return "unknown_unit"
    factor = MG_DL_OF_MMOL_L if wire.unit == "mmol/L" else 1
    if not 0 <= wire.value <= HIGHEST_PLAUSIBLE / factor:
        return "implausible_value"
    mg_dl = math.floor(wire.value * factor + 0.5)
    if mg_dl <= HIGHEST_ERROR_CODE:
        return "sensor_error"
    if mg_dl < LOWEST_MEASURED or (mg_dl == LOWEST_MEASURED and wire.status == "low"):
        return BELOW_RANGE_MG_DL, "low"
    if mg_dl > HIGHEST_MEASURED or (mg_dl == HIGHEST_MEASURED and wire.status == "high"):
        return ABOVE_RANGE_MG_DL, "high"
    return mg_dl, None


def _trend(raw: object) -> Trend | None:
    """Null stays None; an arrow that we do not know is "unknown"."""
    if raw is None:
        return None
    return _TRENDS.get(raw.lower(), "unknown") if isinstance(raw, str) else "unknown"


def _trend_rate(raw: object, unit: object) -> float | None:
    """mg/dL per minute; None where its unit is not known."""
    factor = {"mg/dL/min": 1, "mmol/L/min": MG_DL_OF_MMOL_L}.get(unit) if isinstance(unit, str) else None
    if factor is None or isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    return float(raw * factor) if abs(raw) <= HIGHEST_PLAUSIBLE else None


def _ticks(raw: object) -> int | None:
    """Whole seconds since the transmitter started, an int64."""
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw < 2**63:
        return None
    return raw


def _device_id(generation: object, display: object) -> str | None:
    parts = (_text(generation, LONGEST_NAME), _text(display, LONGEST_NAME))
    return "/".join(part or "unknown" for part in parts) if any(parts) else None


def _account_id(user_id: str | None) -> str | None:
    return _text(user_id, LONGEST_ACCOUNT_ID)


def _text(raw: object, longest: int) -> str | None:
    """A plain text of at most ``longest`` characters; None for "" and for what no database should hold."""
    return raw if isinstance(raw, str) and 0 < len(raw) <= longest and raw.isprintable() else None


def _names(raw: msgspec.Raw) -> _Names:
    try:
        return read_json(bytes(raw), _Names)
    except VendorChanged:
        return _Names()


def _rejected(reason: Reason, raw: msgspec.Raw, names: _Names) -> Rejected:
    """Without an id of the vendor's, the record's own bytes name it: the same record is kept aside once."""
    key = _text(names.recordId, LONGEST_KEY) or f"egv:unread:{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"
    return Rejected(key, reason, _text(names.systemTime, LONGEST_NAME))
