"""What a device's clock showed into instants: forms of dates and times, order of day and month, the repeated hour."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from evercgm.core.errors import AnswerNeeded, BadInput, CellRefused

DateOrder = Literal["day_first", "month_first", "year_first"]
ORDERS: tuple[DateOrder, ...] = ("day_first", "month_first")
EARLIEST = date(1970, 1, 1)
# A step of more is no change between summer and winter time.
LONGEST_STEP = timedelta(hours=3)
_A_MINUTE, _A_DAY = timedelta(minutes=1), timedelta(days=1)
# So long after the zone's change a step of its size is the set that follows it; a later one could be of a journey.
_UNMARKED_WITHIN, _MARKED_WITHIN = _A_DAY, timedelta(days=7)
# Between two readings the clock has gone on by a few minutes.
_SET_WITHIN = timedelta(minutes=15)
_DATE = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})")
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.0+)?)?(?:\s*([ap])\.?\s?m\.?)?", re.IGNORECASE)
_PLACES = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
_NO_DAY = re.compile(r"Etc/GMT[+-]\d{1,2}")


def zone_of(name: str | None) -> ZoneInfo:
    """The zone that the person named. Raises AnswerNeeded(time_zone): none, or no such zone; none is the default."""
    known = available_timezones()
    if name is not None and name in known:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):  # a name of the list whose file is not there
            pass
    choices = sorted(one for one in known if one == "UTC" or one.partition("/")[0] in _PLACES or _NO_DAY.fullmatch(one))
    told = "the file's times are those of the device's clock" if name is None else "there is no such time zone"
    raise AnswerNeeded("time_zone", f"{told}: say in which zone it was, such as Europe/Berlin", tuple(choices))


def parts_of_date(text: str) -> tuple[int, int, int, bool] | None:
    """The three numbers of a date as they stand, and whether the year comes first; None: no date with a whole year."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    first, second, third = int(found[1]), int(found[3]), int(found[4])
    if len(found[1]) == 4 and len(found[4]) <= 2:
        return first, second, third, True
    return (first, second, third, False) if len(found[1]) <= 2 and len(found[4]) == 4 else None


def order_of(dates: Mapping[str, int], column: int, answer: str | None) -> DateOrder:
    """How a file writes its dates, given with their lines: what they tell of themselves, else what the person says.

    Raises AnswerNeeded(date_order): they fit both; CellRefused: they contradict each other; BadInput(date_order): the
    answer contradicts them.
    """
    if answer is not None and answer not in ORDERS:
        raise AnswerNeeded("date_order", "must be day_first or month_first", ORDERS)
    told: dict[DateOrder, str] = {}
    any_date = False
    for text, line in dates.items():
        parts = parts_of_date(text)
        if parts is None or is_year_one(text):
            continue
        any_date = True
        order = _told_by(parts)
        if order is not None and told.setdefault(order, text) and len(told) > 1:
            raise CellRefused(line, column, "dates are written in two ways: " + " and ".join(told.values()))
    if told:
        ((order, text),) = told.items()
        if answer not in (None, order):
            raise BadInput("date_order", f"the file itself says {order}, in line {dates[text]}: leave the answer out")
        return order
    if any_date and answer is None:
        raise AnswerNeeded("date_order", "the file's dates fit both: does the day or the month come first?", ORDERS)
    return "month_first" if answer == "month_first" else "day_first"


def is_year_one(text: str) -> bool:
    """Whether a date's year is 1: a device's clock that was never set."""
    parts = parts_of_date(text)
    return parts is not None and (parts[0] if parts[3] else parts[2]) == 1


def _told_by(parts: tuple[int, int, int, bool]) -> DateOrder | None:
    if parts[3]:
        return "year_first"
    if parts[0] > 12:
        return "day_first"
    return "month_first" if parts[1] > 12 else None


class Calendar:
    """Texts into dates and times of day, each distinct text once; dates from 1970 to tomorrow in the device's zone."""

    def __init__(self, order: DateOrder, zone: ZoneInfo, now: datetime):
        self._order = order
        self._latest = now.astimezone(zone).date() + timedelta(days=1)
        self._dates: dict[str, date | str] = {}
        self._times: dict[str, time | None] = {}

    def day(self, text: str) -> date | str:
        """The date, or why it is none, in words."""
        found = self._dates.get(text)
        if found is None:
            found = self._dates[text] = self._day(text)
        return found

    def time_of_day(self, text: str) -> time | None:
        """The time of day, of 24 hours or with AM and PM; None: it is none."""
        try:
            return self._times[text]
        except KeyError:
            return self._times.setdefault(text, _time(text))

    def _day(self, text: str) -> date | str:
        parts = parts_of_date(text)
        shown = text if len(text) <= 20 and text.isprintable() else f"{text[:20]!r}…"
        if parts is None or parts[3] != (self._order == "year_first"):
            return f"{shown} is no date of the form that this file has"
        year, month, day = _in_order(parts, self._order)
        try:
            found = date(year, month, day)
        except ValueError:
            return f"{shown} is no date"
        if not EARLIEST <= found <= self._latest:
            return f"{shown} lies before 1970 or after tomorrow"
        return found


def _in_order(parts: tuple[int, int, int, bool], order: DateOrder) -> tuple[int, int, int]:
    first, second, third, _ = parts
    if order == "year_first":
        return first, second, third
    return (third, second, first) if order == "day_first" else (third, first, second)


def _time(text: str) -> time | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, half = int(found[1]), (found[4] or "").casefold()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        return time(hour, int(found[2]), int(found[3] or 0))
    except ValueError:
        return None


class Moment(NamedTuple):
    """An instant (aware UTC), the minutes that the device's clock was ahead of UTC, and the pass of a repeated hour."""

    instant: datetime
    offset_min: int
    second_pass: bool = False


class SetClock(NamedTuple):
    """What a device's clock showed before and after somebody set it."""

    before: datetime
    after: datetime


class Clock:
    """A device's clock in one zone. Where it jumped ahead it is taken to have been moved later: no time is refused."""

    def __init__(self, zone: ZoneInfo):
        self._zone = zone
        # By hours since the first day of all; None: the offset is not the same throughout the hour.
        self._offsets: dict[int, timedelta | None] = {}

    def moments(
        self, shown: Sequence[datetime], *, newest_first: bool = False, sets: Sequence[SetClock] | None = None
    ) -> list[Moment]:
        """The instants of one device's times (naive), in the file's order; what that is, the format knows.

        In an hour that comes twice a step back, as time goes, begins the second pass; without one it is the first.
        ``sets``: the device's clock follows the zone's change when somebody sets it, and these (rising) are marked.
        """
        in_time = shown[::-1] if newest_first else shown
        found = self._in_time(in_time)
        if sets is not None:
            self._hold_until_set(in_time, found, sets)
        return found[::-1] if newest_first else found

    def _in_time(self, shown: Sequence[datetime]) -> list[Moment]:
        found: list[Moment] = []
        before: datetime | None = None
        second = False
        for local in shown:
            offset = self._offset(local)
            if offset is not None:
                second = False
                found.append(Moment(local.replace(tzinfo=UTC) - offset, offset // _A_MINUTE))
            elif self.comes_twice(local):
                second = second or (before is not None and timedelta() < before - local < LONGEST_STEP)
                found.append(self.moment(local, second_pass=second))
            else:
                found.append(self.moment(local))
            before = local
        return found

    def _hold_until_set(self, shown: Sequence[datetime], found: list[Moment], sets: Sequence[SetClock]) -> None:
        """Between the zone's change and the set that follows it, the former offset still counts.

        A marked set is surer than a step, and of two steps the first is taken: the other is a gap.
        """
        steps = list(self._steps(shown))
        held: set[int] = set()
        for start, end, former in (*self._sets(shown, steps, sets), *self._sets(shown, steps), *self._not_set(shown)):
            moved_by_itself = (
                start > 0 and timedelta() <= found[start].instant - found[start - 1].instant <= _SET_WITHIN
            )
            if start in held or moved_by_itself:
                continue
            held.add(start)
            found[start:end] = [
                Moment(one.replace(tzinfo=UTC) - former, former // _A_MINUTE) for one in shown[start:end]
            ]

    def _steps(self, shown: Sequence[datetime]) -> Iterator[tuple[int, int]]:
        """Where the clock does not go on by a few minutes: the first row of the same offset, and the row after."""
        start = 0
        for place, (before, local) in enumerate(pairwise(shown), 1):
            goes_on = before <= local <= before + _SET_WITHIN
            if not goes_on:
                yield start, place
            if (not goes_on or local.hour != before.hour) and self._offset(local) != self._offset(before):
                start = place

    def _sets(
        self, shown: Sequence[datetime], steps: Sequence[tuple[int, int]], marked: Sequence[SetClock] | None = None
    ) -> Iterator[tuple[int, int, timedelta]]:
        """Where the zone's new offset begins, where the clock was set to it, and the former offset."""
        reach = _UNMARKED_WITHIN if marked is None else _MARKED_WITHIN
        for start, place in steps:
            before, local = shown[place - 1], shown[place]
            step = local - before if marked is None else _marked_step(before, local, marked)
            former, later = self._latest_offset(local - reach), self._latest_offset(local)
            if step is None or former == later or self._offset(before) != later:
                continue
            if abs(step - (later - former)) <= _SET_WITHIN:
                yield start, place, former

    def _not_set(self, shown: Sequence[datetime]) -> Iterator[tuple[int, int, timedelta]]:
        """A clock that went on through the hour that was left out, in a file that ends within the day."""
        end = len(shown)
        start = next((n for n in range(end - 1, -1, -1) if self._offset(shown[n]) != self._offset(shown[-1])), end) + 1
        if start >= end or shown[-1] - shown[start] > _UNMARKED_WITHIN:
            return
        before = shown[start - 1]
        former = _of(before.replace(tzinfo=self._zone))
        if former < self._latest_offset(before) and shown[start] - before <= _SET_WITHIN:
            yield start, end, former

    def moment(self, local: datetime, *, second_pass: bool = False) -> Moment:
        """The instant of one time; ``second_pass`` counts only in an hour that comes twice."""
        offset = self._offset(local)
        if offset is None:
            offset = _of(local.replace(tzinfo=self._zone, fold=int(second_pass)))
        return Moment(local.replace(tzinfo=UTC) - offset, offset // _A_MINUTE, second_pass)

    def comes_twice(self, local: datetime) -> bool:
        """Whether the zone's clocks show this time twice."""
        if self._offset(local) is not None:
            return False
        here = local.replace(tzinfo=self._zone)
        return _of(here) > _of(here.replace(fold=1))

    def _latest_offset(self, local: datetime) -> timedelta:
        """In an hour that comes twice: that of its second pass."""
        return self._offset(local) or _of(local.replace(tzinfo=self._zone, fold=1))

    def _offset(self, local: datetime) -> timedelta | None:
        """The offset of the whole hour; None: it is not the same throughout."""
        hour = local.toordinal() * 24 + local.hour
        try:
            return self._offsets[hour]
        except KeyError:
            start = local.replace(minute=0, second=0, microsecond=0, tzinfo=self._zone)
            ends = (start, start.replace(minute=59, second=59))
            offsets = {_of(end.replace(fold=fold)) for end in ends for fold in (0, 1)}
            return self._offsets.setdefault(hour, offsets.pop() if len(offsets) == 1 else None)


def _of(aware: datetime) -> timedelta:
    offset = aware.utcoffset()
    assert offset is not None  # noqa: S101 - a zone always has one
    return offset


def _marked_step(before: datetime, local: datetime, marked: Sequence[SetClock]) -> timedelta | None:
    """How far the clock was set between two rows, by the first mark (they rise). A set back shows itself by a step."""
    place = bisect_left(marked, before, key=attrgetter("before"))
    if place == len(marked) or marked[place].after > local:
        return None
    step = marked[place].after - marked[place].before
    return step if step > timedelta() or local < before else None
