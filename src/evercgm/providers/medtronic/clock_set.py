"""Where the clock of CareLink's device was set within an answer, told by the order of its wall times; pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter

from evercgm.providers.medtronic.times import FARTHEST_MIN, QUARTER

CADENCE = timedelta(minutes=5)
# Rows as near as this follow one another, even where one is missing.
BESIDE = 2 * CADENCE
AN_HOUR = timedelta(hours=1)
# How many of the newest rows must lie ahead of the device's own clock before it is taken to have been set back.
ROWS_AHEAD = 3
_BY_WALL = attrgetter("wall")
# A clock is set once or twice a day; more steps back are rows in no order at all.
MOST_CHANGES = 2


@dataclass(frozen=True, slots=True)
class Stamp:
    """A row's place in the answer and its wall time, in UTC's place. ``late``: it says that it was uploaded late.

    ``value``: what it shows, by which a copy of a row is told from another one of the same wall time.
    """

    place: int
    wall: datetime
    late: bool = False
    value: object = None


def extra_minutes(stamps: Sequence[Stamp], device_now: datetime | None, changes: Sequence[datetime]) -> dict[int, int]:
    """By place: what to add to the present offset for a row, where the device's clock was set within the answer.

    ``stamps`` oldest first, or newest first, as they came; ``changes``: wall times at which the device says that its
    clock was changed. Without such a mark a step ahead is a gap, and a step back by whole hours a batch that came
    late, unless nothing else explains it: see ``_is_set_back``. Rows in no order tell nothing.
    """
    falling = sum(one.wall > other.wall for one, other in pairwise(stamps))
    stamps = stamps[::-1] if 2 * falling > len(stamps) - 1 else stamps
    turn, steps, others = _in_turn(stamps, device_now, changes)
    if not turn or sum(step != 0 for step in steps) > MOST_CHANGES:
        return {one.place: 0 for one in stamps}
    added = _set_since([one.wall for one in turn], device_now, changes)
    extra: dict[int, int] = {}
    shown: dict[int, list[datetime]] = {}
    for one, step in zip(reversed(turn), [*reversed(steps), 0], strict=True):
        extra[one.place] = added
        shown.setdefault(added, []).append(one.wall)
        added += step
    return extra | {one.place: _best(one.wall, shown) for one in others}


def _in_turn(
    stamps: Sequence[Stamp], device_now: datetime | None, changes: Sequence[datetime]
) -> tuple[list[Stamp], list[int], list[Stamp]]:
    """The rows in the order in which they were measured, the minutes set back between each two, and all others."""
    turn: list[Stamp] = []
    steps: list[int] = []
    stray = _strays(stamps, device_now)
    others = [one for one in stamps if one.place in stray]
    rows = [one for one in stamps if one.place not in stray]
    for n, one in enumerate(rows):
        back = _set_back(turn, rows[n:], device_now, changes) if turn and one.wall < turn[-1].wall else 0
        if turn and one.wall < turn[-1].wall and not back:
            if not _is_broken(turn, one):
                others.append(one)
                continue
            others.append(turn.pop())
            steps.pop()
        if turn:
            steps.append(back or -_ahead(turn[-1].wall, one.wall, changes))
        turn.append(one)
    return turn, steps, others


def _is_broken(turn: Sequence[Stamp], then: Stamp) -> bool:
    """Whether it is the last row in turn, far from its neighbours, whose time is wrong."""
    return len(turn) > 1 and turn[-1].wall - turn[-2].wall > BESIDE and then.wall >= turn[-2].wall


def _strays(stamps: Sequence[Stamp], device_now: datetime | None) -> set[int]:
    """Places of the rows that were uploaded late and stand where they were not measured."""
    return {
        one.place
        for before, run, after in _late_runs(stamps)
        if not _belongs(before, run, after.wall if after else device_now)
        for one in run
    }


def _late_runs(stamps: Sequence[Stamp]) -> Iterator[tuple[Stamp | None, Sequence[Stamp], Stamp | None]]:
    """Rows in a row that were uploaded late, with the neighbours of the first and the last."""
    first = 0
    for n in range(1, len(stamps) + 1):
        if n < len(stamps) and stamps[n].late == stamps[first].late:
            continue
        if stamps[first].late:
            yield (stamps[first - 1] if first else None), stamps[first:n], (stamps[n] if n < len(stamps) else None)
        first = n


def _belongs(before: Stamp | None, run: Sequence[Stamp], after: datetime | None) -> bool:
    """Whether the run lies between its neighbours, or leads on from one of them (the clock was set at the other)."""
    sides = [after - run[-1].wall] if after else []
    sides += [run[0].wall - before.wall] if before else []
    return any(timedelta(0) <= side <= BESIDE for side in sides) or all(side >= timedelta(0) for side in sides)


def _set_back(
    turn: Sequence[Stamp], rest: Sequence[Stamp], device_now: datetime | None, changes: Sequence[datetime]
) -> int:
    """By how many minutes the clock was set back between the last row in turn and the first of the rest; 0: it was not.

    A row that is far from the one before it has a broken time of its own.
    """
    earlier, later = turn[-1].wall, rest[0].wall
    back = CADENCE - (later - earlier)
    hours = round(back / AN_HOUR)
    if hours < 1 or abs(back - hours * AN_HOUR) > CADENCE:
        return 0
    if len(turn) > 1 and not timedelta(0) < earlier - turn[-2].wall <= BESIDE:
        return 0
    marked = _is_marked(earlier, later, changes)
    return hours * 60 if marked or _is_set_back(turn, rest, device_now) else 0


def _is_set_back(turn: Sequence[Stamp], rest: Sequence[Stamp], device_now: datetime | None) -> bool:
    """Whether nothing but a clock that was set back explains a step back.

    The rows before it run ahead of the clock; or the rows after it mostly show wall times that had been shown. A batch
    that was uploaded late fills a gap instead; and where the rows after it have not come as far as those before, the
    same values tell of a copy.
    """
    earlier = turn[-1].wall
    if device_now is not None and earlier > device_now + CADENCE:
        return True
    may_be_copy = device_now is not None and max(one.wall for one in rest) < earlier - BESIDE
    shown = sorted(turn, key=_BY_WALL)
    again = [one for one in _rising(rest) if shown[0].wall - CADENCE / 2 <= one.wall <= shown[-1].wall + CADENCE / 2]
    twice = sum(_is_shown(shown, one, may_be_copy) for one in again)
    return 2 * twice > len(again)


def _rising(rest: Sequence[Stamp]) -> Iterator[Stamp]:
    """Up to the next step back: what stands behind that may be a batch again."""
    latest = rest[0].wall
    for one in rest:
        if one.wall < latest:
            return
        latest = one.wall
        yield one


def _is_shown(shown: Sequence[Stamp], one: Stamp, may_be_copy: bool) -> bool:
    """Whether its wall time was shown (sorted, at least one); where it may be a copy, with another value."""
    n = bisect_left(shown, one.wall, key=_BY_WALL)
    near = [other for other in shown[max(n - 1, 0) : n + 1] if abs(other.wall - one.wall) <= CADENCE / 2]
    return bool(near) and not (may_be_copy and any(other.value == one.value for other in near))


def _nearest(shown: Sequence[datetime], wall: datetime) -> timedelta:
    """How far the nearest of these (sorted, at least one) is."""
    n = bisect_left(shown, wall)
    return min(abs(one - wall) for one in shown[max(n - 1, 0) : n + 1])


def _is_marked(earlier: datetime, later: datetime, changes: Sequence[datetime]) -> bool:
    """Whether the device says that its clock was changed beside one of the two."""
    return any(
        timedelta(0) <= change - earlier <= BESIDE or timedelta(0) <= later - change <= BESIDE for change in changes
    )


def _ahead(earlier: datetime, later: datetime, changes: Sequence[datetime]) -> int:
    """By how many minutes the clock was set ahead between two wall times, to the quarter hour (the rest is drift).

    Only with a mark beside one of the two: where the clock was put right in the middle of a gap, the gap is one.
    """
    minutes = round((later - earlier - CADENCE) / QUARTER) * 15
    return minutes if 0 < minutes <= 2 * FARTHEST_MIN and _is_marked(earlier, later, changes) else 0


def _set_since(walls: Sequence[datetime], device_now: datetime | None, changes: Sequence[datetime]) -> int:
    """By how many minutes the clock was set back (above zero) or ahead (below) after the newest row.

    Where it was set back, the newest rows lie ahead of it now.
    """
    if device_now is None:
        return 0
    newest = walls[-ROWS_AHEAD:]
    if len(newest) < ROWS_AHEAD or min(newest) <= device_now + CADENCE:
        return -_ahead(walls[-1], device_now, changes)
    return -((device_now - walls[-1]) // AN_HOUR) * 60


def _best(wall: datetime, shown: dict[int, list[datetime]]) -> int:
    """The clock, of those that rows in turn were stamped by, that showed this wall time, where a row is missing."""

    def doubt(added: int) -> tuple[bool, bool, timedelta]:
        walls = sorted(shown[added])
        nearest = _nearest(walls, wall)
        return not walls[0] <= wall <= walls[-1], nearest <= CADENCE / 2, nearest

    return next(iter(shown)) if len(shown) == 1 else min(shown, key=doubt)
