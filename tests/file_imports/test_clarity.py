"""Dexcom Clarity's file, fixture by fixture, and what its sensor's clock settles."""

from datetime import UTC, datetime
from typing import Any

import pytest
from export_files import BERLIN, CLARITY_HEADER, cases, clarity, format_of, read

from evercgm.core.errors import AnswerNeeded, BadInput, CellRefused
from evercgm.file_imports.parsed import Answers


@pytest.mark.parametrize("case", cases("clarity_csv"), ids=lambda case: case["case"])
def test_every_export_gives_its_readings(case: dict[str, Any]) -> None:
    parsed = read(case["body"])

    assert format_of(case["body"]) == "clarity"
    assert len(parsed.readings) == case["readings"]
    assert parsed.readings[1].flag == "low"
    assert parsed.readings[1].glucose_mg_dl == 39


def test_the_values_units_times_and_ticks_of_a_g6() -> None:
    parsed = read(cases("clarity_csv")[0]["body"])

    assert parsed.unit == "mg/dL"
    assert [(one.measured_at, one.glucose_mg_dl, one.flag, one.transmitter_ticks) for one in parsed.readings] == [
        (datetime(2025, 4, 30, 22, 1, 47, tzinfo=UTC), 165, None, 4237574),
        (datetime(2025, 4, 30, 22, 6, 47, tzinfo=UTC), 39, "low", 4237874),
        (datetime(2025, 4, 30, 22, 11, 47, tzinfo=UTC), 401, "high", 4238174),
    ]
    assert {(one.display_offset_min, one.device_id) for one in parsed.readings} == {(120, "g6/android")}
    assert parsed.skipped == {"carbs": 1, "insulin": 1, "activity": 1, "calibration": 1, "notes": 1}


def test_mmol_l_becomes_mg_dl_and_the_key_keeps_what_was_delivered() -> None:
    parsed = read(cases("clarity_csv")[1]["body"])

    assert parsed.unit == "mmol/L"
    assert [one.glucose_mg_dl for one in parsed.readings] == [130, 39, 97]
    assert [one.record_key.rpartition(":")[2] for one in parsed.readings] == ["7.2 mmol/L", "Low mmol/L", "5.4 mmol/L"]


def test_nothing_of_the_person_and_no_serial_is_kept() -> None:
    kept = repr(read(clarity([("2026-03-13T08:00:00", 101, 500)], transmitter="8SERIAL")).readings)

    assert "Test" not in kept
    assert "Person" not in kept
    assert "8SERIAL" not in kept


def test_a_receivers_serial_number_is_no_device() -> None:
    body = clarity([("2026-03-13T08:00:00", 101, 500)]).replace(b"iOS G7", b"SM12345678")

    assert read(body).readings[0].device_id is None


@pytest.mark.parametrize("value", [40, 400, 500])
def test_a_number_at_the_end_of_a_sensors_range_stays_a_number(value: int) -> None:
    (reading,) = read(clarity([("2026-03-13T08:00:00", value, 500)])).readings

    assert (reading.glucose_mg_dl, reading.flag) == (value, None)


def test_the_sensors_clock_tells_the_passes_of_the_repeated_hour_apart_in_any_order() -> None:
    rows = [
        ("2025-10-26T01:55:00", 100, 1000), ("2025-10-26T02:00:00", 101, 1300), ("2025-10-26T02:00:10", 113, 4910),
        ("2025-10-26T02:55:00", 112, 4600), ("2025-10-26T03:00:10", 125, 8510),
    ]  # fmt: skip

    found = [(one.measured_at.isoformat()[11:19], one.glucose_mg_dl) for one in read(clarity(rows)).readings]

    assert found == [("23:55:00", 100), ("00:00:00", 101), ("01:00:10", 113), ("00:55:00", 112), ("02:00:10", 125)]


def test_without_a_sensors_clock_the_order_of_rows_tells_the_passes_apart() -> None:
    rows = [("2025-10-26T02:50:00", 1), ("2025-10-26T02:55:00", 2), ("2025-10-26T02:00:00", 3)]

    found = read(clarity([(at, 100 + n, "") for at, n in rows])).readings

    assert [one.measured_at.isoformat()[11:16] for one in found] == ["00:50", "00:55", "01:00"]
    assert len({one.record_key for one in found}) == 3


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        (("2026-03-13T08:00:00", "Error", 5), (4, 8), "'Error'|Error is neither a glucose value"),
        (("2026-03-13T08:00:00", "95.5", 5), (4, 8), "has decimals, and the file says mg/dL"),
        (("2026-03-13T08:00:00", 7, 5), (4, 8), "7 cannot be a glucose value in mg/dL"),
        (("2026-03-13T08:00:00", 1001, 5), (4, 8), "1001 cannot be a glucose value"),
        (("13.03.2026 08:00", 95, 5), (4, 2), "no date of the form that this file has"),
        (("2026-02-30T08:00:00", 95, 5), (4, 2), "2026-02-30 is no date"),
        (("1969-12-31T08:00:00", 95, 5), (4, 2), "before 1970 or after tomorrow"),
        (("2026-12-02T08:00:00", 95, 5), (4, 2), "before 1970 or after tomorrow"),
        (("2026-03-13", 95, 5), (4, 2), "there must be a time"),
        (("2026-03-13T25:00:00", 95, 5), (4, 2), "there must be a time"),
        (("2026-03-13T08:00:00", 95, "soon"), (4, 13), "whole number of seconds"),
    ],
)
def test_what_cannot_be_taken_refuses_the_file_at_its_line_and_column(
    row: tuple[str, object, object], place: tuple[int, int], words: str
) -> None:
    with pytest.raises(CellRefused, match=words) as refused:
        read(clarity([row]))

    assert (refused.value.field, refused.value.line, refused.value.column) == ("file", *place)
    assert f"line {place[0]}, column {place[1]}" in str(refused.value)


def test_tomorrow_is_still_taken() -> None:
    assert len(read(clarity([("2026-12-01T08:00:00", 95, 5)])).readings) == 1


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(CellRefused, match="no column for glucose value"):
        read(CLARITY_HEADER.replace("Glucose Value (mg/dL)", "Glucosewert").encode())


@pytest.mark.parametrize("columns", [13, 14])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_headings_in_another_language_are_known_by_their_shape_and_english_is_asked_for(
    columns: int, zone: str | None
) -> None:
    headings = [
        "Index", "Zeitstempel (JJJJ-MM-TTThh:mm:ss)", "Ereignistyp", "Ereignissubtyp", "Patienteninfo", "Geräteinfo",
        "Quellgerät-ID", "Glukosewert (mmol/L)", "Insulinwert (u)", "Kohlenhydratwert (Gramm)", "Dauer (hh:mm:ss)",
        "Änderungsrate (mmol/L/min)", "Transmitterzeit (lange Ganzzahl)", "Transmitter-ID",
    ]  # fmt: skip

    with pytest.raises(CellRefused, match="set Clarity to English, and export it again") as refused:
        read(";".join(headings[:columns]).encode() + b"\r\n1;;Vorname;;Test\r\n", Answers(zone))

    assert refused.value.line == 1


def test_empty_lines_before_the_headings_are_read_over() -> None:
    body = b"\r\n  \r\n" + clarity([("2026-03-13T08:00:00", 101, 500)])

    assert [one.glucose_mg_dl for one in read(body).readings] == [101]
    with pytest.raises(CellRefused, match="line 6, column 8"):
        read(b"\r\n  \r\n" + clarity([("2026-03-13T08:00:00", 7, 500)]))


def test_headings_may_have_curly_quotes_and_blanks() -> None:
    body = clarity([("2026-03-13T08:00:00", 101, 5)]).decode().replace("Event Type", " “Event  Type” ")

    assert len(read(body.encode()).readings) == 1


def test_a_unit_is_asked_for_only_where_the_header_does_not_tell_it() -> None:
    bare = clarity([("2026-03-13T08:00:00", "7.2", 5)]).replace(b"Glucose Value (mg/dL)", b"Glucose Value")

    with pytest.raises(AnswerNeeded) as asked:
        read(bare)
    with pytest.raises(BadInput, match="says mg/dL, in line 1") as refused:
        read(clarity([("2026-03-13T08:00:00", 95, 5)]), Answers("Europe/Berlin", unit="mmol/L"))

    assert (asked.value.field, asked.value.choices) == ("unit", ("mg/dL", "mmol/L"))
    assert refused.value.field == "unit"
    assert read(bare, Answers("Europe/Berlin", unit="mmol/L")).readings[0].glucose_mg_dl == 130


@pytest.mark.parametrize("zone", [None, "", "Berlin", "Mars/Olympus", "../etc/passwd"])
def test_a_time_zone_is_asked_for_and_never_guessed(zone: str | None) -> None:
    with pytest.raises(AnswerNeeded) as asked:
        read(clarity([("2026-03-13T08:00:00", 95, 5)]), Answers(zone))

    assert asked.value.field == "time_zone"
    assert {"Europe/Berlin", "America/New_York", "UTC"} <= set(asked.value.choices)


def test_a_row_without_a_value_is_counted_and_one_without_a_time_is_dropped() -> None:
    body = clarity([("2026-03-13T08:00:00", 95, 5), ("2026-03-13T08:05:00", "", 305), ("", 99, 605)])

    parsed = read(body, BERLIN)

    assert (len(parsed.readings), dict(parsed.skipped)) == (1, {"no_value": 1})
