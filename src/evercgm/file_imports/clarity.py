"""Dexcom Clarity's CSV (dexcom facts C): columns by name, unit by the header, the sensor's clock beside local times."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TextIO

from evercgm.core.errors import CellRefused
from evercgm.core.nearness import Unit
from evercgm.core.reading import Reading
from evercgm.file_imports.local_times import Calendar, Clock, Moment, zone_of
from evercgm.file_imports.parsed import Answers, Format, Parsed, Row
from evercgm.file_imports.rows import cell, name_of, place_of, rows_of, unit_in, unit_of
from evercgm.file_imports.values import Value, glucose

# A "Fasting Glucose" of a G7 is a value of its sensor, too (dexcom facts C).
_GLUCOSE = {"egv": "egv", "fasting glucose": "fasting"}
_KINDS = {
    "carbs": "carbs", "insulin": "insulin", "exercise": "activity", "activity": "activity", "health": "notes",
    "notes": "notes", "calibration": "calibration", "alert": "other",
}  # fmt: skip
_TICKS = re.compile(r"(\d{1,12})(?:\.0*)?")
# A phone and the generation of its sensor; of a receiver the column holds its serial number.
_DISPLAY = re.compile(r"(android|ios|iphone|ipad) (G\d\w{0,8}|ONE\+?)", re.IGNORECASE)
# Further apart two rows of a sensor are no help for each other; a row that fits no pass so well is of another sensor.
_NEAR = timedelta(hours=6)
_FITS = timedelta(minutes=20)


class _Columns(NamedTuple):
    timestamp: int
    event: int
    glucose: int
    display: int
    ticks: int
    transmitter: int


class _Egv(NamedTuple):
    shown: datetime
    kind: str
    value: Value
    original: str
    ticks: int | None
    transmitter: str
    display: str


def _recognise(head: Sequence[Row]) -> bool:
    header = next(filter(_is_filled, head), ())
    names = [name_of(one) for one in header]
    return ({"timestamp", "event type"} <= set(names) and "index" in names) or _is_foreign_header(header)


def _is_filled(row: Row) -> bool:
    return any(one.strip() for one in row)


def _is_foreign_header(row: Row) -> bool:
    """Another language's: as many columns, and a unit; some copies lack the transmitter's (dexcom facts C)."""
    return len(row) in (13, 14) and name_of(row[0]) == "index" and any(unit_in(one) for one in row)


def _read(text: TextIO, delimiter: str, answers: Answers, now: datetime) -> Parsed:
    rows = rows_of(text, delimiter)
    line, header = next((line, row) for line, row in rows if _is_filled(row))
    columns = _columns(header, line)
    zone = zone_of(answers.time_zone)
    unit = unit_of(header[columns.glucose], answers, line)
    skipped: Counter[str] = Counter()
    found = list(_egvs(rows, columns, unit, Calendar("year_first", zone, now), skipped))
    moments = _moments(found, Clock(zone))
    readings = tuple(_reading(egv, moment, unit) for egv, moment in zip(found, moments, strict=True))
    return Parsed(unit, readings, skipped)


def _columns(header: Row, line: int) -> _Columns:
    names = [name_of(one) for one in header]
    wanted = (
        "timestamp", "event type", "glucose value", "source device id", "transmitter time", "transmitter id",
    )  # fmt: skip
    columns = _Columns(*(place_of(names, name) for name in wanted))
    for name, place in zip(wanted[:3], columns[:3], strict=True):
        if place < 0:
            words = f"this Clarity file has no column for {name}: set Clarity to English, and export it again"
            raise CellRefused(line, len(header), words)
    return columns


def _egvs(
    rows: Iterator[tuple[int, list[str]]], columns: _Columns, unit: Unit, calendar: Calendar, skipped: Counter[str]
) -> Iterator[_Egv]:
    """Rows with a time and a glucose value; rows without a time are about the person and the alerts: dropped unseen."""
    values: dict[str, Value | str] = {}
    for line, row in rows:
        stamp = cell(row, columns.timestamp)
        if not stamp:
            continue
        event = cell(row, columns.event).casefold()
        kind = _GLUCOSE.get(event)
        if kind is None:
            skipped[_KINDS.get(event, "other")] += 1
            continue
        raw = cell(row, columns.glucose)
        if not raw:
            skipped["no_value"] += 1
            continue
        value = values.get(raw) or values.setdefault(raw, glucose(raw, unit))
        if isinstance(value, str):
            raise CellRefused(line, columns.glucose + 1, value, f"Glucose Value ({unit})")
        shown = _shown(stamp, calendar, line, columns.timestamp + 1)
        yield _Egv(
            *(shown, kind, value, raw, _ticks(row, columns.ticks, line)),
            *(cell(row, columns.transmitter), cell(row, columns.display)),
        )


def _shown(stamp: str, calendar: Calendar, line: int, column: int) -> datetime:
    day_text, _, time_text = stamp.replace("T", " ", 1).partition(" ")
    day, time = calendar.day(day_text), calendar.time_of_day(time_text.strip())
    if isinstance(day, str):
        raise CellRefused(line, column, day, "Timestamp")
    if time is None:
        raise CellRefused(line, column, "there must be a time such as 2026-11-24T08:00:00", "Timestamp")
    return datetime.combine(day, time)


def _ticks(row: Row, place: int, line: int) -> int | None:
    raw = cell(row, place)
    if not raw:
        return None
    found = _TICKS.fullmatch(raw)
    if found is None:
        raise CellRefused(line, place + 1, "must be a whole number of seconds", "Transmitter Time")
    return int(found[1])


def _moments(found: Sequence[_Egv], clock: Clock) -> list[Moment]:
    """By the sensor's seconds where a time comes twice; rows without them by their order."""
    moments = clock.moments([one.shown for one in found])
    for n, one in enumerate(found):
        if one.ticks is not None and clock.comes_twice(one.shown):
            second = _second_pass(found, moments, n, clock)
            if second is not None:
                moments[n] = clock.moment(one.shown, second_pass=second)
    return moments


def _second_pass(found: Sequence[_Egv], moments: Sequence[Moment], n: int, clock: Clock) -> bool | None:
    """Which pass lies where the same sensor's nearest time that comes once says; None: there is none near by."""
    one = found[n]
    for other in _neighbours(found, n, clock):
        expected = moments[other].instant + timedelta(seconds=(one.ticks or 0) - (found[other].ticks or 0))
        misses = [abs(clock.moment(one.shown, second_pass=second).instant - expected) for second in (False, True)]
        if min(misses) <= _FITS:
            return misses[1] < misses[0]
    return None


def _neighbours(found: Sequence[_Egv], n: int, clock: Clock) -> Iterator[int]:
    """The nearest row before and the nearest one after, of the same transmitter, whose time comes once."""
    for step, end in ((-1, -1), (1, len(found))):
        for other in range(n + step, end, step):
            near = found[other]
            if abs(near.shown - found[n].shown) > _NEAR:
                break
            if near.ticks is None or near.transmitter != found[n].transmitter or clock.comes_twice(near.shown):
                continue
            yield other
            break


def _reading(egv: _Egv, moment: Moment, unit: Unit) -> Reading:
    """Its key is all that tells it apart (a file has no ids), with the value as it was delivered."""
    ticks = "" if egv.ticks is None else str(egv.ticks)
    again = ":2" if moment.second_pass and egv.ticks is None else ""
    return Reading(
        record_key=f"{egv.kind}:{egv.shown.isoformat()}{again}:{ticks}:{egv.original} {unit}",
        measured_at=moment.instant,
        glucose_mg_dl=egv.value[0],
        flag=egv.value[1],
        display_offset_min=moment.offset_min,
        transmitter_ticks=egv.ticks,
        device_id=_device_id(egv.display),
    )


def _device_id(display: str) -> str | None:
    """Generation and display device, as the cloud's readings have them."""
    found = _DISPLAY.fullmatch(display)
    return f"{found[2].lower()}/{found[1]}" if found else None


FORMAT = Format("clarity", "Dexcom Clarity", "dexcom", "clarity_csv", _recognise, _read)
