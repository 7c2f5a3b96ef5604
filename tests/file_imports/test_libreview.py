"""LibreView's file, fixture by fixture: languages, units, orders of dates, the repeated hour, scans."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from export_files import BERLIN, FIXTURES, LIBREVIEW_HEADER, cases, format_of, libreview, read

from evercgm.core.errors import AnswerNeeded, BadInput, CellRefused
from evercgm.file_imports.local_times import order_of
from evercgm.file_imports.parsed import Answers

# Words for high and low are readings at the end of the range, not skipped lines: the fixture's HI is one.
OTHERWISE = {"row with year 1 and row with an unknown record type: skip and count": {"historic": 2, "skipped": 2}}
SOUND = [case for case in cases("libreview_csv") if "error" not in case["expect"]]


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case["case"])
def test_every_export_gives_what_is_in_it(case: dict[str, Any]) -> None:
    expect = case["expect"] | OTHERWISE.get(case["case"], {})

    parsed = read(case["body"], Answers(case.get("time_zone", "Europe/Berlin")))

    assert format_of(case["body"]) == "libreview"
    kinds = [one.record_key[0] for one in parsed.readings]
    found = {
        "historic": kinds.count("0"),
        "scan": kinds.count("1") + parsed.skipped.get("beside_history", 0),
        "unit": parsed.unit,
        **{kind: parsed.skipped.get(kind, 0) for kind in ("strip", "ketone", "insulin", "carbs", "notes")},
    }
    assert found == {name: expect[name] for name in found}
    assert parsed.skipped.get("year_1", 0) + parsed.skipped.get("unknown_type", 0) == expect.get("skipped", 0)
    times = sorted(one.measured_at for one in parsed.readings)
    if "first_utc" in expect:
        assert [times[0], times[-1]] == [datetime.fromisoformat(expect[name]) for name in ("first_utc", "last_utc")]


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case["case"])
def test_every_export_tells_its_order_of_dates(case: dict[str, Any]) -> None:
    header = next(n for n, line in enumerate(case["lines"]) if line.count(",") > 14)
    dates = {line.split(",")[2].partition(" ")[0]: n for n, line in enumerate(case["lines"]) if n > header}

    assert order_of(dates, 3, None) == case["expect"]["order"]


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_the_headings_of_every_language_are_found_by_their_place(language: str) -> None:
    columns = json.loads((FIXTURES / "csv_headers.json").read_text(encoding="utf-8"))["columns"]
    header = ",".join(column[language] or column["en"] for column in columns)
    row = f"FreeStyle LibreLink,AA,13-03-2026 08:00,0,126{',' * 16}"

    parsed = read(f"Title,,,,\n{header}\n{row}\n".encode())

    assert [one.glucose_mg_dl for one in parsed.readings] == [126]


def test_day_and_month_that_cannot_be_told_apart_are_asked_for() -> None:
    body = next(case["body"] for case in cases("libreview_csv") if "error" in case["expect"])

    with pytest.raises(AnswerNeeded) as asked:
        read(body)
    days = [
        read(body, Answers("Europe/Berlin", order)).readings[0].measured_at.date().isoformat()
        for order in ("day_first", "month_first")
    ]

    assert (asked.value.field, asked.value.choices) == ("date_order", ("day_first", "month_first"))
    assert days == ["2026-04-03", "2026-03-04"]


def test_an_answer_that_the_file_contradicts_is_refused_and_so_is_one_that_is_none() -> None:
    body = libreview([("13-03-2026 08:00", 0, 95)])

    with pytest.raises(BadInput, match="the file itself says day_first, in line 3"):
        read(body, Answers("Europe/Berlin", "month_first"))
    with pytest.raises(AnswerNeeded, match="must be day_first or month_first"):
        read(body, Answers("Europe/Berlin", "american"))


def test_dates_written_in_two_ways_refuse_the_file_at_the_second() -> None:
    with pytest.raises(CellRefused, match="two ways: 13-03-2026 and 03-14-2026") as refused:
        read(libreview([("13-03-2026 08:00", 0, 95), ("03-14-2026 08:00", 0, 96)]))

    assert (refused.value.line, refused.value.column) == (4, 3)


def test_a_file_that_is_none_of_ours_is_told_what_is_read_here() -> None:
    with pytest.raises(BadInput, match="Dexcom Clarity, the CSV file of LibreView, the CSV file of Medtronic CareLink"):
        read(cases("libreview_csv")[-1]["body"])


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        (("13-03-2026 08:00", 0, "fast"), (3, 5), "fast is neither a glucose value"),
        (("13-03-2026 08:00", 1, "fast"), (3, 6), "fast is neither a glucose value"),
        (("13-03-2026 08:00", 0, "5.3"), (3, 5), "has decimals, and the file says mg/dL"),
        (("13-03-2026 08:00", 0, 5), (3, 5), "5 cannot be a glucose value in mg/dL"),
        (("13-03-1969 08:00", 0, 95), (3, 3), "before 1970 or after tomorrow"),
        (("13-12-2026 08:00", 0, 95), (3, 3), "before 1970 or after tomorrow"),
        (("13-03-26 08:00", 0, 95), (3, 3), "no date of the form that this file has"),
        (("13-03-2026", 0, 95), (3, 3), "there must be a time behind the date"),
        (("13-03-2026 13:00 PM", 0, 95), (3, 3), "there must be a time behind the date"),
    ],
)
def test_what_cannot_be_taken_refuses_the_file_at_its_line_and_column(
    row: tuple[str, int, object], place: tuple[int, int], words: str
) -> None:
    with pytest.raises(CellRefused, match=words) as refused:
        read(libreview([row]))

    assert (refused.value.line, refused.value.column) == place


@pytest.mark.parametrize("text", ["40", "45", "55.5", '"45,0"', "100"])
def test_a_number_that_only_mg_dl_can_have_refuses_a_file_in_mmol_l(text: str) -> None:
    with pytest.raises(CellRefused, match="cannot be a glucose value in mmol/L") as refused:
        read(libreview([("13-03-2026 08:00", 0, "5.3"), ("13-03-2026 08:05", 0, text)], "mmol/L"))

    assert (refused.value.line, refused.value.column) == (4, 5)


@pytest.mark.parametrize(
    ("word", "flag"), [("LO", "low"), ("Low", "low"), ("HI", "high"), ("Hoch", "high"), ("Élevé", "high")]
)
def test_words_for_what_lies_beyond_the_sensor_are_readings_with_their_flag(word: str, flag: str) -> None:
    (reading,) = read(libreview([("13-03-2026 08:00", 0, word)])).readings

    assert (reading.flag, reading.glucose_mg_dl) == (flag, 39 if flag == "low" else 401)


@pytest.mark.parametrize(
    ("text", "mg_dl", "flag"),
    [("2,2", 40, None), ('"2,2"', 40, None), ("27.8", 500, None), ("39.9", 401, "high"), ("1.9", 39, "low")],
)
def test_values_in_mmol_l_are_times_eighteen_and_below_the_range_they_are_low(
    text: str, mg_dl: int, flag: str | None
) -> None:
    quoted = f'"{text}"' if "," in text and not text.startswith('"') else text

    (reading,) = read(libreview([("13-03-2026 08:00", 0, quoted)], "mmol/L")).readings

    assert (reading.glucose_mg_dl, reading.flag) == (mg_dl, flag)


def test_every_value_of_mmol_l_can_be_read_back_from_what_is_stored() -> None:
    for tenths in range(22, 279):
        text = f"{tenths / 10:.1f}"
        (reading,) = read(libreview([("13-03-2026 08:00", 0, text)], "mmol/L")).readings
        assert f"{reading.glucose_mg_dl / 18:.1f}" == text


def test_a_scan_is_a_reading_only_where_no_value_of_history_is_near() -> None:
    libre_2 = [("13-03-2026 08:00", 0, 95), ("13-03-2026 08:07", 1, 99), ("13-03-2026 08:08", 1, 100)]
    libre_3 = [("13-03-2026 08:00", 0, 95), ("13-03-2026 08:02", 1, 99), ("13-03-2026 08:03", 1, 100)]

    found = [
        [one.glucose_mg_dl for one in read(libreview(rows, device=device)).readings]
        for rows, device in ((libre_2, "FreeStyle LibreLink"), (libre_3, "FreeStyle Libre 3"))
    ]

    assert found == [[95, 100], [95, 100]]


def test_units_that_differ_between_columns_refuse_the_file() -> None:
    body = libreview([("13-03-2026 08:00", 0, 95)]).replace(b"Scan Glucose mg/dL", b"Scan Glucose mmol/L")

    with pytest.raises(CellRefused, match="line 2, column 6: must be in mg/dL"):
        read(body)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_are_read(delimiter: str) -> None:
    body = libreview([("13-03-2026 08:00", 0, 95)]).replace(b",", delimiter.encode())

    assert [one.glucose_mg_dl for one in read(body).readings] == [95]


def test_nothing_of_the_person_and_no_serial_is_kept() -> None:
    kept = repr(read(cases("libreview_csv")[6]["body"], BERLIN).readings)

    assert "Person" not in kept
    assert "1980" not in kept
    assert "0f1e2d3c" not in kept


def test_two_rows_of_one_minute_are_two_records_with_keys_that_stay() -> None:
    body = libreview([("13-03-2026 08:00", 0, 95), ("13-03-2026 08:00", 0, 97)])

    keys = [one.record_key for one in read(body).readings]

    assert keys[1] == f"{keys[0]}:2"
    assert keys == [one.record_key for one in read(body).readings]


def test_a_header_without_rows_is_a_file_without_readings() -> None:
    parsed = read(f"Title,,,,\n{LIBREVIEW_HEADER}\n".encode())

    assert (parsed.readings, dict(parsed.skipped)) == ((), {})


def test_a_time_that_a_clock_moved_ahead_never_showed_is_one_that_was_not_moved_yet() -> None:
    (reading,) = read(libreview([("29-03-2026 02:30", 0, 95)])).readings

    assert reading.measured_at == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
