"""Medtronic CareLink's CSV (medtronic facts B): blocks of a device each, columns by name, the newest row first."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TextIO

from evercgm.core.errors import BadInput, CellRefused
from evercgm.core.nearness import Unit
from evercgm.core.reading import Reading
from evercgm.file_imports.local_times import LONGEST_STEP, Calendar, Clock, Moment, SetClock, zone_of
from evercgm.file_imports.parsed import Answers, Format, Parsed, Row
from evercgm.file_imports.rows import cell, name_of, place_of, rows_of, unit_in, unit_of
from evercgm.file_imports.values import Value, glucose

BLOCK = "-------"
_ENGLISH = "set the CareLink website to English, and export it again"
_KINDS = {
    "bolus volume delivered": "insulin", "bwz carb input": "carbs", "bg reading": "strip",
    "sensor calibration bg": "calibration",
}  # fmt: skip
_PRODUCT = re.compile(r"((MiniMed|Guardian|Simplera)\W[\w .-]{1,30}?)( MMT-\w+)?", re.IGNORECASE)
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d.*")
_FOREIGN = ("index", "datum", "date", "fecha", "data", "dato")


class _Mark(NamedTuple):
    shown: datetime
    value: Value
    original: str


@dataclass(slots=True)
class _Block:
    """Rows of one device under one header; ``unit`` is None where it has no sensor values.

    ``sets``: where its clock was set. They stand in the pump's block, and its sensor's block has the same serial.
    """

    device: str
    serial: str
    columns: Mapping[str, int] = field(default_factory=dict)
    unit: Unit | None = None
    marks: list[_Mark] = field(default_factory=list)
    sets: list[SetClock] = field(default_factory=list)

    def cell(self, row: Row, name: str) -> str:
        """The row's cell below a heading; "" where it is empty, or only dashes."""
        found = cell(row, self.columns.get(name, -1))
        return "" if found.startswith(BLOCK) else found


def _recognise(head: Sequence[Row]) -> bool:
    return any(_begins_block(row) or _is_header(row) or _is_foreign_header(row) or _is_old_header(row) for row in head)


def _begins_block(row: Row) -> bool:
    return len(row) > 3 and cell(row, 0).startswith(BLOCK)


def _is_header(row: Row) -> bool:
    names = [name_of(one) for one in row]
    return names[:1] == ["index"] and {"date", "time"} <= set(names)


def _is_foreign_header(row: Row) -> bool:
    """Another language's: it begins with the index and a date, and some column has a unit in brackets."""
    names = [name_of(one) for one in row]
    return names[:1] == ["index"] and any(name in _FOREIGN for name in names[1:2]) and any(unit_in(one) for one in row)


def _is_old_header(row: Row) -> bool:
    return {"raw-type", "raw-values"} <= {name_of(one) for one in row}


def _read(text: TextIO, delimiter: str, answers: Answers, now: datetime) -> Parsed:
    zone = zone_of(answers.time_zone)
    skipped: Counter[str] = Counter()
    blocks = _blocks(rows_of(text, delimiter), Calendar("year_first", zone, now), answers, skipped)
    units = {block.unit for block in blocks if block.unit is not None}
    if not units:
        raise BadInput("file", f"no column of this CareLink file is called Sensor Glucose: {_ENGLISH}")
    if len(units) > 1:
        raise BadInput("file", "its blocks have different units: export it again in one")
    (unit,) = units
    return Parsed(unit, tuple(_readings(blocks, Clock(zone), unit)), skipped)


def _blocks(
    rows: Iterator[tuple[int, list[str]]], calendar: Calendar, answers: Answers, skipped: Counter[str]
) -> list[_Block]:
    """All blocks with their sensor values. What stands before the first is about the person: dropped unseen."""
    blocks: list[_Block] = []
    values: dict[tuple[str, Unit], Value | str] = {}
    for line, row in rows:
        if _begins_block(row):
            blocks.append(_Block(cell(row, 1), cell(row, 3)))
        elif cell(row, 0).casefold() == "index":
            if not blocks or blocks[-1].columns:
                blocks.append(_Block("", ""))
            _take_header(blocks[-1], row, line, answers)
        elif blocks and blocks[-1].columns and any(row):
            _take(blocks[-1], row, line, calendar, values, skipped)
    return blocks


def _take_header(block: _Block, row: Row, line: int, answers: Answers) -> None:
    if _is_old_header(row):
        raise CellRefused(line, 1, "this CareLink file has the form of before 2016: export it again")
    names = [name_of(one) for one in row]
    block.columns = {name: place_of(names, name) for name in names}
    for name in ("date", "time"):
        if name not in block.columns:
            raise CellRefused(line, 1, f"this CareLink file has no column called {name.title()}: {_ENGLISH}")
    sensor = block.columns.get("sensor glucose")
    if sensor is not None:
        block.unit = unit_of(row[sensor], answers, line)


def _take(
    block: _Block,
    row: Row,
    line: int,
    calendar: Calendar,
    values: dict[tuple[str, Unit], Value | str],
    skipped: Counter[str],
) -> None:
    raw = block.cell(row, "sensor glucose")
    shown = _shown(block, row, line, calendar) if raw or block.cell(row, "date") else None
    if shown is not None:
        block.sets.extend(_sets_in(block.cell(row, "new device time"), shown, calendar))
    if shown is None or not raw or block.unit is None:
        skipped[_kind_of(block, row)] += 1
        return
    value = values.get((raw, block.unit)) or values.setdefault((raw, block.unit), glucose(raw, block.unit))
    if isinstance(value, str):
        place = block.columns["sensor glucose"]
        raise CellRefused(line, place + 1, value, f"Sensor Glucose ({block.unit})")
    block.marks.append(_Mark(shown, value, raw.replace(",", ".")))


def _kind_of(block: _Block, row: Row) -> str:
    """Of one bolus two rows tell: only the one with what was delivered is counted. Automatic insulin is a day's sum."""
    if block.cell(row, "bolus source") == "CLOSED_LOOP_AUTO_INSULIN":
        return "auto_insulin"
    told = (kind for name, kind in _KINDS.items() if block.cell(row, name))
    return next(told, "other")


def _shown(block: _Block, row: Row, line: int, calendar: Calendar) -> datetime:
    day, time = calendar.day(block.cell(row, "date")), calendar.time_of_day(block.cell(row, "time"))
    if isinstance(day, str):
        words = f"{day}; only dates that begin with the year are read, others would be guessed"
        raise CellRefused(line, block.columns["date"] + 1, words, "Date")
    if time is None:
        raise CellRefused(line, block.columns["time"] + 1, "must be a time such as 18:47:11", "Time")
    return datetime.combine(day, time)


def _sets_in(text: str, shown: datetime, calendar: Calendar) -> Iterator[SetClock]:
    """The set that a row marks. Whether and how a date stands before its time was never seen, so it is not read.

    A clock is set by less than half a day, else it is of no help here; and so is a text without a time.
    """
    found = _TIME_OF_DAY.search(text)
    time = calendar.time_of_day(found[0].strip()) if found else None
    if time is not None:
        days = (shown + timedelta(days=n) for n in (-1, 0, 1))
        yield SetClock(shown, min((datetime.combine(day, time) for day in days), key=lambda one: abs(one - shown)))


def _newest_first(blocks: Sequence[_Block]) -> bool:
    """As the website writes them: the Index rises backwards in time. Told by the whole file, as clocks have steps."""
    risen = sum((one.marks[-1].shown - one.marks[0].shown for one in blocks if one.marks), timedelta())
    return risen <= LONGEST_STEP


def _readings(blocks: Sequence[_Block], clock: Clock, unit: Unit) -> Iterator[Reading]:
    newest_first = _newest_first(blocks)
    sets: defaultdict[str, list[SetClock]] = defaultdict(list)
    for block in blocks:
        sets[block.serial] += block.sets
    for one in sets.values():
        one.sort()
    for block in blocks:
        shown = [one.shown for one in block.marks]
        yield from _readings_of(block, clock.moments(shown, newest_first=newest_first, sets=sets[block.serial]), unit)


def _readings_of(block: _Block, moments: Sequence[Moment], unit: Unit) -> Iterator[Reading]:
    hashed = hashlib.sha256(block.serial.encode()).hexdigest()[:16]
    product = _PRODUCT.fullmatch(block.device)
    seen: Counter[str] = Counter()
    for mark, moment in zip(block.marks, moments, strict=True):
        key = f"sg:{hashed}:{mark.shown.isoformat()}:{mark.original} {unit}{':2' if moment.second_pass else ''}"
        seen[key] += 1
        yield _reading(mark, moment, key if seen[key] == 1 else f"{key}:{seen[key]}", product and product[1])


def _reading(mark: _Mark, moment: Moment, key: str, product: str | None) -> Reading:
    return Reading(
        record_key=key,
        measured_at=moment.instant,
        glucose_mg_dl=mark.value[0],
        flag=mark.value[1],
        display_offset_min=moment.offset_min,
        device_id=product,
    )


FORMAT = Format("carelink", "Medtronic CareLink", "medtronic", "carelink_csv", _recognise, _read)
