"""A pump's clock that somebody sets after the zone's change, and the order of rows, which tells the passes apart."""

from datetime import UTC, datetime, timedelta

import pytest
from export_files import CARELINK_HEADER, carelink, libreview, read

from evercgm.file_imports.parsed import Answers

FIVE_MINUTES, AN_HOUR = timedelta(minutes=5), timedelta(hours=1)
# Berlin, 29 March 2026: at 01:00 UTC all clocks go ahead, the pump's only when somebody sets it.
SPRING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
Rows = list[tuple[datetime, datetime, int]]


def rows_of_a_pump(is_set: datetime, hours: float = 34, start: datetime = SPRING - 3 * AN_HOUR) -> Rows:
    """Instants, what the pump showed there, values."""
    instants = [start + n * FIVE_MINUTES for n in range(int(hours * 12))]
    return [(at, at + AN_HOUR * (2 if at >= is_set else 1), 100 + n % 90) for n, at in enumerate(instants)]


def file_of(rows: Rows, sets: list[tuple[str, str, str]] | None = None) -> bytes:
    """The newest row first; ``sets`` as (date, time, New Device Time) are rows of the pump's own block before it."""
    sensor = carelink([(f"{shown:%Y/%m/%d}", f"{shown:%H:%M:%S}", value) for _, shown, value in reversed(rows)])
    marks = [f"{n},00000;{day};{time};{new};;;" for n, (day, time, new) in enumerate(sets or [])]
    pump = ["-------;MiniMed 780G MMT-1886;Pump;NG0000000X;------- ", CARELINK_HEADER, *marks, ""]
    return "\r\n".join(pump).encode() + sensor


def instants(body: bytes, zone: str = "Europe/Berlin") -> list[datetime]:
    return [one.measured_at for one in read(body, Answers(zone)).readings][::-1]


@pytest.mark.parametrize("hours_later", [0.25, 1, 5, 12, 22])
def test_a_pump_that_is_set_ahead_by_hand_keeps_the_former_time_until_then(hours_later: float) -> None:
    rows = rows_of_a_pump(SPRING + hours_later * AN_HOUR)

    assert instants(file_of(rows)) == [at for at, _, _ in rows]


def test_the_time_before_a_set_is_told_with_the_offset_that_the_pump_had() -> None:
    rows = rows_of_a_pump(SPRING + 5 * AN_HOUR)

    offsets = [one.display_offset_min for one in read(file_of(rows)).readings][::-1]

    assert offsets == [(shown.replace(tzinfo=UTC) - at) // timedelta(minutes=1) for at, shown, _ in rows]


@pytest.mark.parametrize("new", ["12:02:30", "2026/03/31 12:02:30", "2026-03-31 12:02:30", "31.03.2026 12:02:30"])
def test_a_set_that_is_marked_counts_also_days_later_and_behind_a_gap(new: str) -> None:
    is_set = datetime(2026, 3, 31, 10, 2, 30, tzinfo=UTC)
    rows = [row for row in rows_of_a_pump(is_set, 70) if abs(row[0] - is_set) > AN_HOUR]

    assert instants(file_of(rows, [("2026/03/31", "11:02:30", new)])) == [at for at, _, _ in rows]


def test_a_set_back_that_is_marked_counts_also_days_later() -> None:
    """At 01:00 UTC of 25 October clocks go back."""
    start, is_set = datetime(2026, 10, 24, 20, 0, tzinfo=UTC), datetime(2026, 10, 28, 10, 2, 30, tzinfo=UTC)
    rows = [
        (at, shown + AN_HOUR * (1 if at < is_set else -1), v) for at, shown, v in rows_of_a_pump(is_set, 100, start)
    ]

    assert instants(file_of(rows, [("2026/10/28", "12:02:30", "11:02:30")])) == [at for at, _, _ in rows]


def test_a_gap_of_an_hour_is_no_set_where_another_one_is_marked() -> None:
    is_set = SPRING + 7 * AN_HOUR
    rows = [row for row in rows_of_a_pump(is_set) if not 3 * AN_HOUR <= row[0] - SPRING < 4 * AN_HOUR]

    marked = instants(file_of(rows, [("2026/03/29", "09:00:00", "10:00:00")]))

    assert marked == [at for at, _, _ in rows]


@pytest.mark.parametrize("mark", ["", "soon", "09:07:00", "08:30:00"])
def test_a_mark_that_is_no_change_of_the_zone_moves_nothing(mark: str) -> None:
    at = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
    rows = [(at + n * FIVE_MINUTES, at + n * FIVE_MINUTES + AN_HOUR, 100) for n in range(40)]

    assert instants(file_of(rows, [("2026/03/10", "09:02:00", mark)])) == [at for at, _, _ in rows]


def test_a_clock_that_moved_by_itself_was_not_set_by_a_gap_of_an_hour() -> None:
    rows = [row for row in rows_of_a_pump(SPRING) if not 4 * AN_HOUR <= row[0] - SPRING < 5 * AN_HOUR]

    assert instants(file_of(rows)) == [at for at, _, _ in rows]


def test_a_clock_that_showed_the_hour_that_was_left_out_is_not_set_yet_where_the_file_ends() -> None:
    rows = rows_of_a_pump(SPRING + 1000 * AN_HOUR, 10)

    assert instants(file_of(rows)) == [at for at, _, _ in rows]


def test_a_step_on_another_day_is_no_set() -> None:
    at = datetime(2026, 4, 10, 8, 0, tzinfo=UTC)
    rows = [(at + n * FIVE_MINUTES, at + n * FIVE_MINUTES + 2 * AN_HOUR, 100) for n in range(60) if not 10 < n < 23]

    assert instants(file_of(rows)) == [at for at, _, _ in rows]


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (["02:55", "02:00"], ["00:55", "01:00"]),
        (["02:55", "02:00", "02:05"], ["00:55", "01:00", "01:05"]),
        (["02:00", "02:05"], ["00:00", "00:05"]),
    ],
)
def test_few_rows_of_the_repeated_hour_are_read_in_their_formats_own_order(shown: list[str], found: list[str]) -> None:
    rising = read(libreview([(f"25-10-2026 {time}", 0, 100) for time in shown])).readings
    falling = read(carelink([("2026/10/25", f"{time}:00", 100) for time in reversed(shown)])).readings

    assert [f"{one.measured_at:%H:%M}" for one in rising] == found
    assert [f"{one.measured_at:%H:%M}" for one in falling] == found[::-1]
