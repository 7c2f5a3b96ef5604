"""Instant, value and flag of every reading of every fixture, reckoned by hand; and hours of a clock with two halves."""

import pytest
from export_files import cases, libreview, read

G6 = ["2025-04-30T22:01:47 165", "2025-04-30T22:06:47 39 low", "2025-04-30T22:11:47 401 high"]
PUMP = ["2026-07-29T16:47:11 117", "2026-07-29T16:42:11 119", "2026-07-29T16:37:11 122", "2026-07-29T16:32:11 126"]
# All in Berlin: an hour before UTC in winter, two in summer. In the order of the file.
TOLD = {
    "G6, mg/dL, 10 metadata rows, space in the timestamp": G6,
    "G7, mmol/L, 11 metadata rows with Sensor, T in the timestamp": [
        "2026-07-12T22:01:37 130", "2026-07-12T22:06:37 39 low", "2026-07-12T22:11:37 97",
    ],
    "two alert rows fewer": G6,
    "trailing cells absent": G6,
    # 11:50 PM, 11:55 PM, 12:00 AM, 12:05 PM.
    "US English, mg/dL, month first, 12-hour; groups per record type, not chronological": [
        "2026-03-13T22:50:00 104", "2026-03-13T22:55:00 107", "2026-03-13T23:00:00 111", "2026-03-14T11:05:00 98",
    ],
    "all record types, day first, 24-hour": ["2026-03-13T07:00:00 95", "2026-03-13T07:15:00 102"],
    "UK, mmol/L, 21 columns with ketone history, other name of column 13": [
        "2026-03-13T07:00:00 95", "2026-03-13T07:05:00 90",
    ],
    "German, empty second line": ["2026-03-13T07:00:00 126", "2026-03-13T07:15:00 124"],
    "French, decimal comma in quoted cells": ["2026-03-13T07:00:00 112"],
    "decimal comma in mmol/L": ["2026-03-13T07:00:00 95", "2026-03-13T07:15:00 182"],
    "clinic export: a line with name and birth date before the header": [
        "2026-03-13T07:00:00 95", "2026-03-13T07:15:00 97",
    ],
    "autumn clock change: the hour 02 repeats; the row order inside the group settles it": [
        "2025-10-25T23:45:00 90",
        *(f"2025-10-26T00:{minute:02}:00 {92 + 2 * n}" for n, minute in enumerate((0, 15, 30, 45))),
        *(f"2025-10-26T01:{minute:02}:00 {100 + 2 * n}" for n, minute in enumerate((0, 15, 30, 45))),
        "2025-10-26T02:00:00 108",
    ],
    "row with year 1 and row with an unknown record type: skip and count": [
        "2026-03-13T07:00:00 95", "2026-03-13T07:15:00 401 high",
    ],
    "780G, semicolon, decimal comma, BOM, three blocks": PUMP,
    "US, comma, decimal point": PUMP,
    "mmol/L": PUMP,
    "Guardian Connect, 48 columns, placeholder cell": [
        "2026-07-24T22:42:50 58", "2026-07-24T22:37:50 56", "2026-07-24T22:32:50 55",
    ],
    "no BOM, LF only": PUMP,
    "pump without Medtronic sensor: nothing to import": [],
    "autumn clock change: order by Index, time repeats": [
        "2026-10-25T01:10:00 140", "2026-10-25T01:05:00 138", "2026-10-25T01:00:00 136",
        "2026-10-25T00:55:00 134", "2026-10-25T00:50:00 133", "2026-10-24T23:55:00 120",
    ],
}  # fmt: skip
BODIES = {
    case["case"]: case["body"]
    for name in ("clarity_csv", "libreview_csv", "carelink_csv")
    for case in cases(name)
    if "reject" not in case and "error" not in case.get("expect", {})
}


def told(body: bytes) -> list[str]:
    return [
        f"{one.measured_at:%Y-%m-%dT%H:%M:%S} {one.glucose_mg_dl} {one.flag or ''}".rstrip()
        for one in read(body).readings
    ]


def test_no_fixture_is_left_out() -> None:
    assert TOLD.keys() == BODIES.keys()


@pytest.mark.parametrize("name", TOLD)
def test_each_reading_of_an_export_has_its_instant_value_and_flag(name: str) -> None:
    assert told(BODIES[name]) == TOLD[name]


@pytest.mark.parametrize(
    ("shown", "instant"),
    [
        ("12:00 AM", "2026-03-12T23:00:00"),
        ("12:59 AM", "2026-03-12T23:59:00"),
        ("1:05 AM", "2026-03-13T00:05:00"),
        ("12:00 PM", "2026-03-13T11:00:00"),
        ("1:05 PM", "2026-03-13T12:05:00"),
        ("11:59 p.m.", "2026-03-13T22:59:00"),
    ],
)
def test_the_halves_of_a_day_are_told_by_am_and_pm(shown: str, instant: str) -> None:
    assert told(libreview([(f"03-13-2026 {shown}", 0, 95)])) == [f"{instant} 95"]
