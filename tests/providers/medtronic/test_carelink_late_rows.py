"""Rows of a late batch that stand behind newer ones: never taken for a clock that was set back, nor the reverse."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from test_carelink_mapping import Json, answer, clocks_at, instants, read, row, utc

FIVE_MINUTES = timedelta(minutes=5)
NEWEST = datetime(2026, 11, 2, 14, 55)  # noqa: DTZ001 - a wall time
A_DAY = [NEWEST - n * FIVE_MINUTES for n in range(287, -1, -1)]


def rows_at(walls: Sequence[datetime], **changes: object) -> list[Json]:
    return [row(f"{wall:%Y-%m-%dT%H:%M:%S}", **changes) for wall in walls]


@pytest.mark.parametrize("changes", [{}, {"isBackfill": True}], ids=["unmarked", "marked"])
@pytest.mark.parametrize("turned", [False, True], ids=["oldest first", "newest first"])
def test_a_late_batch_behind_the_newest_row_moves_nothing_however_long_ago_it_was_measured(
    turned: bool, changes: Json
) -> None:
    moved = []
    for first in range(3, 280):
        batch = A_DAY[-first - 3 : -first] or A_DAY[-3:]
        rest = [wall for wall in A_DAY if wall not in batch]
        told = rows_at(rest[:: -1 if turned else 1]) + rows_at(batch, **changes)
        if instants(read(answer(*told))) != [utc(f"{wall:%Y-%m-%dT%H:%M}Z") - timedelta(hours=1) for wall in A_DAY]:
            moved.append(first)

    assert moved == []


def test_the_last_hour_that_came_late_behind_the_newest_row_moves_nothing() -> None:
    told = rows_at([*A_DAY[:-13], A_DAY[-1]]) + rows_at(A_DAY[-13:-1], isBackfill=True)

    assert {reading.display_offset_min for reading in read(answer(*told)).readings} == {60}


def test_rows_that_are_said_a_second_time_behind_the_newest_move_nothing() -> None:
    told = rows_at(A_DAY) + rows_at(A_DAY[-36:-33])

    assert {reading.display_offset_min for reading in read(answer(*told)).readings} == {60}


def test_a_clock_that_was_set_back_is_seen_although_the_signal_was_lost_soon_after() -> None:
    day = [A_DAY[-1] - timedelta(minutes=58) - n * FIVE_MINUTES for n in range(200, -1, -1)]
    before = [wall + timedelta(hours=1) for wall in day[:190]]
    told = [row(f"{wall:%Y-%m-%dT%H:%M:%S}", sg=100 + n % 90) for n, wall in enumerate([*before, *day[190:197]])]

    offsets = [reading.display_offset_min for reading in read(answer(*told)).readings]

    assert offsets == [120] * 190 + [60] * 7


AUTUMN_NOW = utc("2026-10-25T04:01:00Z")
# Summer time ended at 01:00: these are the rows of 22:00 to 04:00 in UTC, with the pump's offset at each.
NIGHT = [(utc("2026-10-24T22:00:00Z") + n * FIVE_MINUTES) for n in range(73)]


def pump_row(at: datetime, **changes: object) -> Json:
    wall = at + timedelta(hours=2 if at < utc("2026-10-25T01:00:00Z") else 1)
    return row(f"{wall:%Y-%m-%dT%H:%M:%S}", **changes)


@pytest.mark.parametrize("late", [range(0, 6), range(6, 10), range(30, 34), range(38, 42), range(60, 64)], ids=str)
@pytest.mark.parametrize("changes", [{}, {"isBackfill": True}], ids=["unmarked", "marked"])
def test_a_late_batch_beside_a_clock_that_was_set_back_lands_where_rows_are_missing(late: range, changes: Json) -> None:
    """Before the change, within the hour that came twice, at its second time, and after it."""
    told = [pump_row(at) for n, at in enumerate(NIGHT) if n not in late]
    told += [pump_row(NIGHT[n], **changes) for n in late]
    clocks = clocks_at("2026-10-25T05:01:00", "2026-10-25T04:01:00Z")

    found = instants(read(answer(*told, **clocks), AUTUMN_NOW))

    assert found == NIGHT


@pytest.mark.parametrize("late", [range(30, 40), range(36, 50), range(20, 36), range(36, 73)], ids=str)
def test_rows_that_were_uploaded_late_and_stand_in_their_place_tell_of_a_clock_that_was_set_back(late: range) -> None:
    told = [pump_row(at, isBackfill=n in late) for n, at in enumerate(NIGHT)]
    clocks = clocks_at("2026-10-25T05:01:00", "2026-10-25T04:01:00Z")

    assert instants(read(answer(*told, **clocks), AUTUMN_NOW)) == NIGHT


@pytest.mark.parametrize("minutes", [5, 30, 55, 60, 65, 300])
@pytest.mark.parametrize("changes", [{}, {"isBackfill": True}], ids=["unmarked", "marked"])
def test_a_late_batch_soon_after_the_clock_was_set_back_hides_no_change(minutes: int, changes: Json) -> None:
    until = utc("2026-10-25T01:00:00Z") + timedelta(minutes=minutes)
    shown = [at for at in NIGHT if at <= until]
    late = shown[5:8]
    told = [pump_row(at) for at in shown if at not in late] + [pump_row(at, **changes) for at in late]
    now = until + timedelta(minutes=1)
    clocks = clocks_at(f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}", f"{now:%Y-%m-%dT%H:%M:%S}Z")

    assert instants(read(answer(*told, **clocks), now)) == shown
