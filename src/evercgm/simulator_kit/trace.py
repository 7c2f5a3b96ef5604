"""A recorded glucose curve, replayed onto real time without end; reads one file, knows no clock."""

import csv
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO
from pathlib import Path
from typing import NamedTuple

CADENCE = timedelta(minutes=5)
BLOCK_GAP = timedelta(days=2)
MAX_GLUCOSE_MG_DL = 2000


class TraceError(ValueError):
    """The file cannot be replayed; the text names the file, and the line where one is at fault."""


# Made by the ten thousand for one answer: a frozen dataclass takes three times as long to make.
class TraceRecord(NamedTuple):
    """One replayed reading. `ordinal` counts from 0 over all cycles and never moves."""

    measured_at: datetime
    glucose_mg_dl: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Points before the anchor (offsets in seconds, rising, the last 0), repeated onward every `period`."""

    name: str
    anchor: datetime
    offsets_s: tuple[int, ...]
    glucose_mg_dl: tuple[int, ...]

    @property
    def period(self) -> timedelta:
        """Length of one cycle: whole 5 minutes, at least 5 between the last point and the next first."""
        length = timedelta(seconds=self.offsets_s[-1] - self.offsets_s[0])
        return math.ceil((length + CADENCE) / CADENCE) * CADENCE

    @property
    def first_at(self) -> datetime:
        """Instant of the first point (UTC); nothing lies before it."""
        return self.anchor + timedelta(seconds=self.offsets_s[0])

    def record(self, ordinal: int) -> TraceRecord:
        """The reading with this ordinal (0 or more), in whichever cycle it falls."""
        cycle, index = divmod(ordinal, len(self.offsets_s))
        measured_at = self.anchor + cycle * self.period + timedelta(seconds=self.offsets_s[index])
        return TraceRecord(measured_at, self.glucose_mg_dl[index], ordinal)

    def cycle_of(self, ordinal: int) -> int:
        """Which repetition the reading belongs to; 0 is the recording itself."""
        return ordinal // len(self.offsets_s)

    def records_between(self, start: datetime, end: datetime) -> Iterator[TraceRecord]:
        """Readings with start <= measured_at < end (aware datetimes), oldest first."""
        first, beyond = self.count_before(start), self.count_before(end)
        points = len(self.offsets_s)
        for cycle in range(first // points, -(-beyond // points)):
            begins, anchor = cycle * points, self.anchor + cycle * self.period
            for index in range(max(first - begins, 0), min(beyond - begins, points)):
                at = anchor + timedelta(seconds=self.offsets_s[index])
                yield TraceRecord(at, self.glucose_mg_dl[index], begins + index)

    def count_before(self, instant: datetime) -> int:
        """How many readings lie before this instant (aware): the ordinal of the next one."""
        since_first = instant - self.first_at
        if since_first <= timedelta(0):
            return 0
        cycle = since_first // self.period
        offset_s = (instant - self.anchor - cycle * self.period) / timedelta(seconds=1)
        return cycle * len(self.offsets_s) + bisect_left(self.offsets_s, offset_s)


def anchor_for(now: datetime) -> datetime:
    """`now` (aware) in UTC, rounded down to 5 minutes."""
    now = now.astimezone(UTC)
    return now - (now - datetime(1970, 1, 1, tzinfo=UTC)) % CADENCE


def list_builtin() -> list[str]:
    """Names of the recordings that are shipped (Hall et al. 2018, CC BY 4.0; see traces/README.md)."""
    folder = files("evercgm.simulator_kit").joinpath("traces")
    return sorted(entry.name.removesuffix(".csv") for entry in folder.iterdir() if entry.name.endswith(".csv"))


def builtin_path(name: str) -> Traversable:
    """The shipped recording with this name, as something `load_trace` reads."""
    return files("evercgm.simulator_kit").joinpath("traces", f"{name}.csv")


def load_trace(path: Path | Traversable, anchor: datetime) -> Trace:
    """Read `local_time,glucose_mg_dl` and let it end at `anchor` (UTC); raises TraceError."""
    points = _longest_block(_read_points(path))
    last_at = points[-1][0]
    return Trace(
        name=path.name.removesuffix(".csv"),
        anchor=anchor_for(anchor),
        offsets_s=tuple(round((at - last_at).total_seconds()) for at, _ in points),
        glucose_mg_dl=tuple(glucose for _, glucose in points),
    )


def _read_points(path: Path | Traversable) -> list[tuple[datetime, int]]:
    try:
        # "utf-8-sig": spreadsheets put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise TraceError(f"{path}: cannot be read ({reason})") from error
    rows = csv.reader(StringIO(text))
    header = [cell.strip() for cell in next(rows, [])]
    if header != ["local_time", "glucose_mg_dl"]:
        raise TraceError(f"{path}, line 1: expected the header local_time,glucose_mg_dl")
    points: dict[datetime, int] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        at, glucose = _read_row(row, f"{path}, line {rows.line_num}")
        if at in points:
            raise TraceError(f"{path}, line {rows.line_num}: the time {row[0].strip()} occurs twice")
        points[at] = glucose
    if not points:
        raise TraceError(f"{path}: has no readings")
    return sorted(points.items())


def _read_row(row: list[str], where: str) -> tuple[datetime, int]:
    if len(row) != 2:
        raise TraceError(f"{where}: expected 2 columns, found {len(row)}")
    try:
        at = datetime.fromisoformat(row[0].strip())
    except ValueError as error:
        raise TraceError(f"{where}: not a time: {row[0].strip()!r}") from error
    try:
        glucose = round(float(row[1]))
    except (ValueError, OverflowError) as error:
        raise TraceError(f"{where}: not a glucose value: {row[1].strip()!r}") from error
    if not 0 < glucose <= MAX_GLUCOSE_MG_DL:
        raise TraceError(f"{where}: {glucose} mg/dL is no glucose value")
    if at.tzinfo is not None:
        at = at.astimezone(UTC).replace(tzinfo=None)
    # Whole seconds, as vendors report them.
    return at.replace(microsecond=0), glucose


def _longest_block(points: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """Some recordings begin with a short block weeks before the rest: keep the block with most points."""
    blocks = [[points[0]]]
    for point in points[1:]:
        if point[0] - blocks[-1][-1][0] > BLOCK_GAP:
            blocks.append([])
        blocks[-1].append(point)
    return max(blocks, key=len)
