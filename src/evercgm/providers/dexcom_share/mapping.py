"""Dexcom Share's answers into our records; pure: no clock, no network. One bad record never fails its answer."""

import hashlib
import math
import re
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import (
    ABOVE_RANGE_MG_DL,
    BELOW_RANGE_MG_DL,
    EPOCH,
    Batch,
    Flag,
    Reading,
    Rejected,
    Trend,
    epoch_ms,
)
from evercgm.core.sync import Window
from evercgm.provider_kit.send import read_json

# Share facts B3, read 2026-11: 39 and 401 stand for out of range, as in the official API; small codes are no glucose.
LOWEST_MEASURED, HIGHEST_MEASURED = 40, 400
HIGHEST_ERROR_CODE = 12
HIGHEST_PLAUSIBLE = 1000
# 288 are asked for; others ask for 576 and may be given them.
MOST_RECORDS = 5_000
FUTURE_ALLOWANCE = timedelta(hours=24)
WINDOW_TOLERANCE = timedelta(seconds=1)
LOWEST_OFFSET_MIN, HIGHEST_OFFSET_MIN = -12 * 60, 14 * 60
LONGEST_TEXT = 40
A_SECOND_MS = 1000

# "Date(1745081013817-0400)"; with slashes around it until December 2021, and overnight (Share facts B3).
_DATE = re.compile(r"/?Date\((?P<ms>[0-9]{1,14})(?:(?P<sign>[+-])(?P<hours>[0-9]{2})(?P<minutes>[0-9]{2}))?\)/?")
# The order is the number that the older form has instead of the word.
_TRENDS: tuple[Trend, ...] = (
    "none", "doubleUp", "singleUp", "fortyFiveUp", "flat", "fortyFiveDown", "singleDown", "doubleDown",
    "notComputable", "rateOutOfRange",
)  # fmt: skip
_BY_WORD: dict[str, Trend] = {trend.lower(): trend for trend in _TRENDS} | {"noncomputable": "notComputable"}

Reason = Literal["unreadable", "bad_time", "future_time", "no_value", "sensor_error", "implausible_value"]


class _Value(msgspec.Struct, frozen=True):
    """Share facts B3, read 2026-11. Only a value of another type makes a record unreadable."""

    Value: float | None = None
    ST: object = None
    WT: object = None
    DT: object = None
    Trend: object = None


def read_values(body: bytes, now: datetime, account_id: str | None) -> Batch:
    """The readings of an answer by time, one a record key, and what was refused; of this account.

    ``now`` (aware UTC) judges records from the future. Raises VendorChanged for an answer that is none.
    """
    raws = read_json(body, list[msgspec.Raw])
    if len(raws) > MOST_RECORDS:
        raise VendorChanged("an answer with more records than a day can hold")
    readings: dict[str, Reading] = {}
    rejected: dict[str, Rejected] = {}
    for raw in raws:
        result = _result(raw, now + FUTURE_ALLOWANCE)
        if isinstance(result, Reading):
            # The newest are first: of two with one key the first is the later said.
            readings.setdefault(result.record_key, result)
        else:
            rejected[result.record_key] = result
    in_order = sorted(readings.values(), key=lambda reading: reading.measured_at)
    return Batch(tuple(in_order), tuple(rejected.values()), account_id)


def within(batch: Batch, window: Window) -> Batch:
    """A batch without readings more than a second outside ``window``: the answer always reaches up to now."""
    start, end = window.start - WINDOW_TOLERANCE, window.end + WINDOW_TOLERANCE
    kept = tuple(reading for reading in batch.readings if start <= reading.measured_at <= end)
    return Batch(kept, batch.rejected, batch.account_id)


def _result(raw: msgspec.Raw, latest: datetime) -> Reading | Rejected:
    try:
        value = read_json(bytes(raw), _Value)
    except VendorChanged:
        return Rejected(_key_of_bytes(raw), "unreadable")
    instant = _instant(value)
    if instant is None:
        return Rejected(_key_of_bytes(raw), "bad_time", _text(value.ST))
    if instant > latest:
        return Rejected(_key(instant), "future_time", _text(value.ST))
    glucose = _glucose(value.Value)
    if isinstance(glucose, str):
        return Rejected(_key(instant), glucose, _text(value.ST))
    return Reading(
        record_key=_key(instant),
        measured_at=instant,
        glucose_mg_dl=glucose[0],
        flag=glucose[1],
        trend=_trend(value.Trend),
        display_offset_min=_offset_min(value.DT),
    )


def _key(instant: datetime) -> str:
    """Share gives no id. Whole seconds: the older form of the answer had no milliseconds."""
    ms = epoch_ms(instant)
    return f"egv:{ms - ms % A_SECOND_MS}"


def _key_of_bytes(raw: msgspec.Raw) -> str:
    """The same unreadable record is kept aside once."""
    return f"egv:unread:{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"


def _instant(value: _Value) -> datetime | None:
    """ST, or WT where there is none. Never DT's number: in the older form that was the local clock read as UTC."""
    for text in (value.ST, value.WT):
        found = _date(text)
        if found is None or int(found["ms"]) == 0:
            continue
        try:
            return EPOCH + timedelta(milliseconds=int(found["ms"]))
        except OverflowError:
            continue
    return None


def _offset_min(raw: object) -> int | None:
    """Minutes from UTC to what the person's clock showed, -720 to 840; None where DT does not say."""
    found = _date(raw)
    if found is None or found["sign"] is None:
        return None
    minutes = int(found["hours"]) * 60 + int(found["minutes"])
    offset_min = minutes if found["sign"] == "+" else -minutes
    return offset_min if LOWEST_OFFSET_MIN <= offset_min <= HIGHEST_OFFSET_MIN else None


def _date(raw: object) -> re.Match[str] | None:
    return _DATE.fullmatch(raw.strip()) if isinstance(raw, str) and len(raw) <= LONGEST_TEXT else None


def _glucose(value: float | None) -> tuple[int, Flag | None] | Reason:
    """mg/dL with its flag, or why there is none; Share knows no other unit."""
    if value is None:
        return "no_value"
    if not 0 <= value <= HIGHEST_PLAUSIBLE:
        return "implausible_value"
    mg_dl = math.floor(value + 0.5)
    if mg_dl <= HIGHEST_ERROR_CODE:
        return "sensor_error"
    if mg_dl < LOWEST_MEASURED:
        return BELOW_RANGE_MG_DL, "low"
    if mg_dl > HIGHEST_MEASURED:
        return ABOVE_RANGE_MG_DL, "high"
    return mg_dl, None


def _trend(raw: object) -> Trend | None:
    """A word in any spelling, or the number of the older form; None where not said, else "unknown"."""
    if raw is None:
        return None
    text = str(raw).strip() if isinstance(raw, str | int) and not isinstance(raw, bool) else ""
    if text.isascii() and text.isdigit() and int(text[:9]) < len(_TRENDS):
        return _TRENDS[int(text[:9])]
    return _BY_WORD.get(re.sub(r"[\s_-]", "", text).lower(), "unknown")


def _text(raw: object) -> str | None:
    """A time text short and plain enough to be kept."""
    return raw if isinstance(raw, str) and 0 < len(raw) <= LONGEST_TEXT and raw.isprintable() else None
