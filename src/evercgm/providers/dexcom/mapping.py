"""Dexcom's answers into our records; pure: no clock, no network. One bad record never fails its window."""

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
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
from evercgm.providers.dexcom.times import display_offset_min, parse_time

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
_TRENDS: dict[str, Trend] = {spelt: trend for trend in get_args(Trend) for spelt in (trend, trend.lower())}
_RATE_FACTORS = {"mg/dL/min": 1, "mmol/L/min": MG_DL_OF_MMOL_L}
_BY_TIME, _IN_ORDER = attrgetter("measured_at"), attrgetter("measured_at", "record_key")

Reason = Literal[
    "unreadable", "bad_time", "future_time", "no_value", "unknown_unit", "sensor_error", "implausible_value"
]


class _Envelope(msgspec.Struct, frozen=True):
    """Dexcom v3, common to data answers. Records stay raw: each is read alone."""

    records: list[msgspec.Raw]
    userId: str | None = None  # noqa: N815
    recordType: str | None = None  # noqa: N815


class _Egv(msgspec.Struct, frozen=True, gc=False):
    """Dexcom v3, "egvs", read 2026-11: a record whose fields have the types that are documented."""

    systemTime: str  # noqa: N815
    value: float | None = None
    recordId: str | None = None  # noqa: N815
    displayTime: str | None = None  # noqa: N815
    status: str | None = None
    unit: str | None = None
    trend: str | None = None
    trendRate: int | float | None = None  # noqa: N815
    rateUnit: str | None = None  # noqa: N815
    transmitterId: str | None = None  # noqa: N815
    transmitterTicks: int | float | None = None  # noqa: N815
    transmitterGeneration: str | None = None  # noqa: N815
    displayDevice: str | None = None  # noqa: N815


class _Egvs(msgspec.Struct, frozen=True):
    """A whole answer of such records: read at once, since nearly every answer is one."""

    records: list[_Egv]
    userId: str | None = None  # noqa: N815
    recordType: str | None = None  # noqa: N815


class _OddEgv(msgspec.Struct, frozen=True):
    """The same record as it may also come. Only time and value can make it unreadable.

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
    """What can be told of a record that cannot be read."""

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
    user_id, results = _results(body, now + FUTURE_ALLOWANCE)
    readings: dict[str, Reading] = {}
    rejected: dict[str, Rejected] = {}
    for result in results:
        if isinstance(result, Reading):
            readings[result.record_key] = result
        else:
            rejected[result.record_key] = result
    in_order = sorted(readings.values(), key=_IN_ORDER)
    return Batch(tuple(in_order), tuple(rejected.values()), _account_id(user_id))


def within(batch: Batch, window: Window) -> Batch:
    """A batch by time, without readings that were not asked for, more than a second outside ``window``."""
    first = bisect_left(batch.readings, window.start - WINDOW_TOLERANCE, key=_BY_TIME)
    beyond = bisect_right(batch.readings, window.end + WINDOW_TOLERANCE, key=_BY_TIME)
    return replace(batch, readings=batch.readings[first:beyond])


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
        device_id = _device_id(
            _text(_text_only(device.transmitterGeneration), LONGEST_NAME),
            _text(_text_only(device.displayDevice), LONGEST_NAME),
        )
        uploaded = parse_time(_text(_text_only(device.lastUploadDate), LONGEST_NAME) or "")
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


def _results(body: bytes, latest: datetime) -> tuple[str | None, Iterator[Reading | Rejected]]:
    """The account's id as it was said, and what became of each record in turn."""
    answer = _documented(body)
    if answer is not None:
        return answer.userId, _each(answer.records, body, latest)
    envelope = _envelope(body, "egv")
    return envelope.userId, (_alone(raw, latest) for raw in envelope.records)


def _documented(body: bytes) -> _Egvs | None:
    """The whole answer at once; None where anything in it is not as documented: then each record is read alone."""
    # Fewer braces than this are fewer records than this: no memory for records that would be refused.
    if body.count(b"{") > MOST_RECORDS:
        return None
    try:
        answer = read_json(body, _Egvs)
    except VendorChanged:
        return None
    return answer if answer.recordType in (None, "egv") else None


def _each(egvs: list[_Egv], body: bytes, latest: datetime) -> Iterator[Reading | Rejected]:
    raws: list[msgspec.Raw] = []
    for n, egv in enumerate(egvs):
        result = _reading(egv, latest)
        if isinstance(result, str):
            # What is set aside is named by its own bytes where it has no id.
            raws = raws or _envelope(body, "egv").records
            yield _alone(raws[n], latest)
        else:
            yield result


def _alone(raw: msgspec.Raw, latest: datetime) -> Reading | Rejected:
    try:
        odd = read_json(bytes(raw), _OddEgv)
    except VendorChanged:
        return _rejected("unreadable", raw, _names(raw))
    result = _reading(_without_oddities(odd), latest)
    return _rejected(result, raw, _Names(odd.recordId, odd.systemTime)) if isinstance(result, str) else result


def _without_oddities(odd: _OddEgv) -> _Egv:
    """What is of another type than documented counts as not said; an arrow as one that we do not know."""
    return _Egv(
        systemTime=odd.systemTime,
        value=odd.value,
        recordId=_text_only(odd.recordId),
        displayTime=_text_only(odd.displayTime),
        status=_text_only(odd.status),
        unit=_text_only(odd.unit),
        trend=None if odd.trend is None else _text_only(odd.trend) or "unknown",
        trendRate=_number_only(odd.trendRate),
        rateUnit=_text_only(odd.rateUnit),
        transmitterId=_text_only(odd.transmitterId),
        transmitterTicks=_number_only(odd.transmitterTicks),
        transmitterGeneration=_text_only(odd.transmitterGeneration),
        displayDevice=_text_only(odd.displayDevice),
    )


def _text_only(raw: object) -> str | None:
    return raw if isinstance(raw, str) else None


def _number_only(raw: object) -> int | float | None:
    return raw if isinstance(raw, int | float) and not isinstance(raw, bool) else None


def _reading(egv: _Egv, latest: datetime) -> Reading | Reason:
    """The reading that a record is, or why it is none."""
    system = parse_time(egv.systemTime)
    if system is None:
        return "bad_time"
    if system.instant > latest:
        return "future_time"
    glucose = _glucose(egv)
    if isinstance(glucose, str):
        return glucose
    display_text = _text(egv.displayTime, LONGEST_NAME)
    transmitter = _text(egv.transmitterId, LONGEST_ACCOUNT_ID)
    return Reading(
        record_key=_text(egv.recordId, LONGEST_KEY) or f"egv:{epoch_ms(system.instant)}",
        measured_at=system.instant,
        glucose_mg_dl=glucose[0],
        flag=glucose[1],
        trend=_trend(egv.trend),
        trend_rate=_trend_rate(egv.trendRate, egv.rateUnit),
        display_offset_min=display_offset_min(system, display_text) if display_text else None,
        transmitter_hash=_hash_of(transmitter) if transmitter else None,
        transmitter_ticks=_ticks(egv.transmitterTicks),
        device_id=_device_id(_text(egv.transmitterGeneration, LONGEST_NAME), _text(egv.displayDevice, LONGEST_NAME)),
    )


@lru_cache(maxsize=1024)
def _hash_of(transmitter: str) -> bytes:
    """Dexcom hashes it already; hashed again, it stays no serial number whatever they send one day."""
    return hashlib.sha256(transmitter.encode()).digest()


def _glucose(egv: _Egv) -> tuple[int, Flag | None] | Reason:
    """mg/dL with its flag, or why there is none. Neither value nor status is trusted alone."""
    if egv.value is None:
        return "no_value"
    if egv.unit not in ("mg/dL", "mmol/L"):
        return "unknown_unit"
    factor = MG_DL_OF_MMOL_L if egv.unit == "mmol/L" else 1
    if not 0 <= egv.value <= HIGHEST_PLAUSIBLE / factor:
        return "implausible_value"
    mg_dl = math.floor(egv.value * factor + 0.5)
    if mg_dl <= HIGHEST_ERROR_CODE:
        return "sensor_error"
    if mg_dl < LOWEST_MEASURED or (mg_dl == LOWEST_MEASURED and egv.status == "low"):
        return BELOW_RANGE_MG_DL, "low"
    if mg_dl > HIGHEST_MEASURED or (mg_dl == HIGHEST_MEASURED and egv.status == "high"):
        return ABOVE_RANGE_MG_DL, "high"
    return mg_dl, None


def _trend(raw: str | None) -> Trend | None:
    """Null stays None; an arrow that we do not know is "unknown"."""
    return None if raw is None else _TRENDS.get(raw) or _TRENDS.get(raw.lower(), "unknown")


def _trend_rate(raw: float | None, unit: str | None) -> float | None:
    """mg/dL per minute; None where its unit is not known."""
    factor = _RATE_FACTORS.get(unit or "")
    if factor is None or raw is None:
        return None
    return float(raw * factor) if abs(raw) <= HIGHEST_PLAUSIBLE else None


def _ticks(raw: float | None) -> int | None:
    """Whole seconds since the transmitter started, an int64."""
    return raw if isinstance(raw, int) and 0 <= raw < 2**63 else None


def _device_id(generation: str | None, display: str | None) -> str | None:
    return f"{generation or 'unknown'}/{display or 'unknown'}" if generation or display else None


def _account_id(user_id: str | None) -> str | None:
    return _text(user_id, LONGEST_ACCOUNT_ID)


def _text(raw: str | None, longest: int) -> str | None:
    """A text of at most ``longest`` characters; None for "" and for what no database should hold."""
    return raw if raw and len(raw) <= longest and raw.isprintable() else None


def _names(raw: msgspec.Raw) -> _Names:
    try:
        return read_json(bytes(raw), _Names)
    except VendorChanged:
        return _Names()


def _rejected(reason: Reason, raw: msgspec.Raw, names: _Names) -> Rejected:
    """Without an id of the vendor's, the record's own bytes name it: the same record is kept aside once."""
    key = _text(_text_only(names.recordId), LONGEST_KEY) or f"egv:unread:{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"
    return Rejected(key, reason, _text(_text_only(names.systemTime), LONGEST_NAME))
