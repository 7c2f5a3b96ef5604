"""LibreView's CSV (libre facts B): columns by place, as each language has its own names; history, and scans between."""

import hashlib
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TextIO

from evercgm.core.errors import CellRefused
from evercgm.core.nearness import Unit
from evercgm.core.reading import Reading
from evercgm.file_imports.local_times import Calendar, Clock, Moment, is_year_one, order_of, zone_of
from evercgm.file_imports.parsed import Answers, Format, Parsed, Row
from evercgm.file_imports.rows import cell, rows_of, unit_in, unit_of
from evercgm.file_imports.values import Value, glucose

_DEVICE, _SERIAL, _STAMP, _TYPE, _HISTORIC, _SCAN, _STRIP = 0, 1, 2, 3, 4, 5, 14
FEWEST_COLUMNS = 15
HEADER_WITHIN = 10
# By record type: where its value stands.
_VALUES = {"0": _HISTORIC, "1": _SCAN}
# By record type: what it is, and the cells of which one must hold something; else it is an empty mark of the app's.
_KINDS = {
    "2": ("strip", (14,)), "3": ("ketone", (15,)), "4": ("insulin", (6, 7, 11, 12, 16, 17, 18)),
    "5": ("carbs", (8, 9, 10)), "6": ("notes", (13,)),
}  # fmt: skip
_PRODUCT = re.compile(r"(FreeStyle )?Libre(Link)?( \d)?( Plus| Pro| Sense)?|LibreLink", re.IGNORECASE)


class _Mark(NamedTuple):
    shown: datetime
    kind: str
    value: Value
    device: str
    sensor: str


def _recognise(head: Sequence[Row]) -> bool:
    return any(_is_header(row) for row in head[:HEADER_WITHIN])


def _is_header(row: Row) -> bool:
    """Whatever its language, it has units in its columns of glucose; what stands before it is about the person."""
    return len(row) >= FEWEST_COLUMNS and all(unit_in(row[place]) for place in (_HISTORIC, _SCAN, _STRIP))


def _read(text: TextIO, delimiter: str, answers: Answers, now: datetime) -> Parsed:
    zone = zone_of(answers.time_zone)
    unit, rows = _below_header(text, delimiter, answers)
    order = order_of(_dates(rows), _STAMP + 1, answers.date_order)
    text.seek(0)
    _, rows = _below_header(text, delimiter, answers)
    skipped: Counter[str] = Counter()
    marks = list(_marks(rows, unit, Calendar(order, zone, now), skipped))
    return Parsed(unit, tuple(_readings(marks, Clock(zone), skipped)), skipped)


def _below_header(text: TextIO, delimiter: str, answers: Answers) -> tuple[Unit, Iterator[tuple[int, list[str]]]]:
    rows = rows_of(text, delimiter)
    line, header = next((line, row) for line, row in rows if _is_header(row))
    unit = unit_of(header[_HISTORIC], answers, line)
    for place in (_SCAN, _STRIP):
        if unit_in(header[place]) != unit:
            raise CellRefused(line, place + 1, f"must be in {unit}, as column {_HISTORIC + 1} is")
    return unit, rows


def _dates(rows: Iterator[tuple[int, list[str]]]) -> dict[str, int]:
    """Each distinct date with the line where it stands first."""
    found: dict[str, int] = {}
    for line, row in rows:
        found.setdefault(cell(row, _STAMP).partition(" ")[0], line)
    found.pop("", None)
    return found


def _marks(
    rows: Iterator[tuple[int, list[str]]], unit: Unit, calendar: Calendar, skipped: Counter[str]
) -> Iterator[_Mark]:
    values: dict[str, Value | str] = {}
    for line, row in rows:
        kind = cell(row, _TYPE)
        place = _VALUES.get(kind)
        if place is None:
            skipped[_kind_of(row, kind)] += any(row)
            continue
        shown = _shown(cell(row, _STAMP), calendar, line)
        raw = cell(row, place)
        if shown is None or not raw:
            skipped["no_value" if shown else "year_1"] += 1
            continue
        value = values.get(raw) or values.setdefault(raw, glucose(raw, unit))
        if isinstance(value, str):
            raise CellRefused(line, place + 1, value)
        yield _Mark(shown, kind, value, cell(row, _DEVICE), cell(row, _SERIAL))


def _kind_of(row: Row, kind: str) -> str:
    if kind not in _KINDS:
        return "unknown_type"
    name, places = _KINDS[kind]
    return name if any(cell(row, place) for place in places) else "empty"


def _shown(stamp: str, calendar: Calendar, line: int) -> datetime | None:
    """None for a clock that was never set: its year is 1."""
    day_text, _, time_text = stamp.partition(" ")
    day, time = calendar.day(day_text), calendar.time_of_day(time_text.strip())
    if isinstance(day, str):
        if is_year_one(day_text):
            return None
        raise CellRefused(line, _STAMP + 1, day)
    if time is None:
        raise CellRefused(line, _STAMP + 1, "there must be a time behind the date, such as 08:15 or 08:15 AM")
    return datetime.combine(day, time)


def _readings(marks: Sequence[_Mark], clock: Clock, skipped: Counter[str]) -> Iterator[Reading]:
    """All of history, and scans where no value of history is near; each device and kind is a series of its own."""
    series: defaultdict[tuple[str, str], list[_Mark]] = defaultdict(list)
    for mark in marks:
        series[mark.sensor, mark.kind].append(mark)
    moments = {one: clock.moments([mark.shown for mark in group]) for one, group in series.items()}
    history = sorted(moment.instant for (_, kind), found in moments.items() if kind == "0" for moment in found)
    for (sensor, kind), group in series.items():
        hashed = hashlib.sha256(sensor.encode()).hexdigest()[:16]
        seen: Counter[str] = Counter()
        for mark, moment in zip(group, moments[sensor, kind], strict=True):
            if kind == "1" and _is_near(history, moment.instant, _slot(mark.device) / 2):
                skipped["beside_history"] += 1
                continue
            key = f"{kind}:{hashed}:{mark.shown.isoformat(timespec='minutes')}"
            seen[key] += 1
            yield _reading(mark, moment, key if seen[key] == 1 else f"{key}:{seen[key]}")


def _slot(device: str) -> timedelta:
    """The time from one value of history to the next: 5 minutes of a Libre 3, else 15."""
    return timedelta(minutes=5 if "libre 3" in device.casefold() else 15)


def _is_near(history: Sequence[datetime], instant: datetime, reach: timedelta) -> bool:
    after = bisect_left(history, instant)
    return any(abs(one - instant) <= reach for one in history[max(after - 1, 0) : after + 1])


def _reading(mark: _Mark, moment: Moment, key: str) -> Reading:
    return Reading(
        record_key=key,
        measured_at=moment.instant,
        glucose_mg_dl=mark.value[0],
        flag=mark.value[1],
        display_offset_min=moment.offset_min,
        device_id=mark.device if _PRODUCT.fullmatch(mark.device) else None,
    )


FORMAT = Format(
    "libreview", "LibreView", "abbott", "libreview_csv", _recognise, _read,
    # A Libre 3 has its history each five minutes in there, the others each fifteen.
    fills=("libre",), cadence=timedelta(minutes=15),
)  # fmt: skip
