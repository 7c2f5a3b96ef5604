"""What every format takes and gives: the person's answers, the file's readings, and what of it is no reading."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TextIO

from evercgm.core.connection import CADENCE
from evercgm.core.nearness import Unit, file_stream
from evercgm.core.reading import Reading

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the person says beside the file; None: not said. ``time_zone``: of the device's clock, an IANA name.

    ``date_order``: ``day_first`` or ``month_first``, where the file's dates fit both. ``unit``: where no header tells.
    """

    time_zone: str | None = None
    date_order: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """``unit``: of the file's values. ``skipped``: how many lines of each kind are no reading of a sensor."""

    unit: Unit
    readings: tuple[Reading, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)


# A file from its first line on, its delimiter, what the person said, and now (aware UTC). Raises BadInput.
ReadFile = Callable[[TextIO, str, Answers, datetime], Parsed]
# Whether these first lines of a file, cut into cells, are of the format.
Recognise = Callable[[Sequence[Row]], bool]


@dataclass(frozen=True, slots=True)
class Format:
    """``provider``: whose connection its readings belong to; ``route``: of its stream (core/nearness.py).

    ``fills``: of which other providers it has what they no longer keep. ``cadence``: from one reading to the next.
    """

    code: str
    title: str
    provider: str
    route: str
    recognise: Recognise
    read: ReadFile
    fills: tuple[str, ...] = ()
    cadence: timedelta = CADENCE

    def stream(self, unit: Unit) -> str:
        """Of the records of a file in this unit."""
        return file_stream(self.route, unit)
