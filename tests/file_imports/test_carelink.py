"""CareLink's file, fixture by fixture: blocks, delimiters, the pump's clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from export_files import CARELINK_HEADER, carelink, cases, format_of, read

from evercgm.core.errors import BadInput, CellRefused
from evercgm.file_imports.parsed import Answers

SOUND = [case for case in cases("carelink_csv") if "reject" not in case]
KINDS = {"boluses": "insulin", "auto_insulin_days": "auto_insulin", "carbs": "carbs", "fingersticks": "strip"}


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case["case"])
def test_every_export_gives_what_is_in_it(case: dict[str, Any]) -> None:
    parsed = read(case["body"], Answers(case.get("zone", "UTC")))

    assert format_of(case["body"]) == "carelink"
    assert (parsed.unit, len(parsed.readings)) == (case["unit"], case["readings"])
    told = {name: parsed.skipped.get(kind, 0) for name, kind in KINDS.items() if name in case}
    assert told == {name: case[name] for name in told}
    if "first" in case:
        at, value = case["first"]
        newest = parsed.readings[0]
        assert newest.measured_at.isoformat() == f"{at}+00:00"
        assert newest.glucose_mg_dl == (value if case["unit"] == "mg/dL" else 117)
        assert newest.record_key.endswith(f":{value} {case['unit']}")
    if "instants_utc" in case:
        found = [one.measured_at for one in parsed.readings]
        assert found == [datetime.fromisoformat(text) for text in case["instants_utc"]]


@pytest.mark.parametrize(
    ("reject", "words"),
    [
        ("date_format", r"line 8, column 2 \(Date\): 02/03/2026 .* only dates that begin with the year are read"),
        ("language", "no column called Date: set the CareLink website to English"),
        ("not_carelink", "this Clarity file has no column for glucose value"),
    ],
)
def test_what_is_not_read_is_refused_with_what_helps(reject: str, words: str) -> None:
    (case,) = (case for case in cases("carelink_csv") if case.get("reject") == reject)

    with pytest.raises(BadInput, match=words):
        read(case["body"])


def test_a_file_of_before_2016_is_refused_by_its_age() -> None:
    with pytest.raises(BadInput, match="before 2016"):
        read(b"Index,Timestamp,Raw-Type,Raw-Values\n1,01-02-2015,GlucoseSensorData,AMOUNT=100\n")


def test_without_a_column_of_sensor_glucose_english_is_asked_for() -> None:
    with pytest.raises(BadInput, match="set the CareLink website to English"):
        read(CARELINK_HEADER.replace("Sensor Glucose (mg/dL)", "Glucosa del sensor").encode())


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        (("2026/07/29", "18:47:11", "SENSOR"), (3, 6), "SENSOR is neither a glucose value"),
        (("2026/07/29", "18:47:11", "6,5"), (3, 6), "has decimals"),
        (("29/07/2026", "18:47:11", 117), (3, 2), "only dates that begin with the year"),
        (("2026/12/29", "18:47:11", 117), (3, 2), "after tomorrow"),
        (("2026/07/29", "noon", 117), (3, 3), "must be a time such as 18:47:11"),
    ],
)
def test_what_cannot_be_taken_refuses_the_file_at_its_line_and_column(
    row: tuple[str, str, object], place: tuple[int, int], words: str
) -> None:
    with pytest.raises(CellRefused, match=words) as refused:
        read(carelink([row]))

    assert (refused.value.line, refused.value.column) == place


def test_blocks_of_different_units_refuse_the_file() -> None:
    body = carelink([("2026/07/29", "18:47:11", 117)]) + carelink([("2026/07/29", "18:42:11", "6,5")], "mmol/L")

    with pytest.raises(BadInput, match="different units"):
        read(body)


def test_nothing_of_the_person_and_no_serial_is_kept() -> None:
    kept = repr(read(cases("carelink_csv")[0]["body"]).readings)

    assert "Example" not in kept
    assert "NG0000000X" not in kept
    assert "MiniMed 780G" in kept


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("set_at", ["08:10", "03:05", "23:30"])
def test_a_pump_that_is_set_back_by_hand_after_the_change_keeps_the_former_time_until_then(
    set_at: str, newest_first: bool
) -> None:
    """Berlin, 25 October 2026: at 01:00 UTC all clocks go back, the pump's only when somebody sets it."""
    first = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    hour, minute = map(int, set_at.split(":"))
    is_set = datetime(2026, 10, 25, hour, minute, tzinfo=UTC) - timedelta(hours=2)
    instants = [first + n * timedelta(minutes=5) for n in range(400)]
    shown = [at + timedelta(hours=1 if at >= is_set else 2) for at in instants]
    rows = [(f"{at:%Y/%m/%d}", f"{at:%H:%M:%S}", 100 + n % 90) for n, at in enumerate(shown)]

    parsed = read(carelink(reversed(rows) if newest_first else rows))

    assert sorted((one.measured_at, one.glucose_mg_dl) for one in parsed.readings) == [
        (at, 100 + n % 90) for n, at in enumerate(instants)
    ]
    assert len({one.record_key for one in parsed.readings}) == len(instants)


def test_a_gap_or_a_step_on_another_day_is_no_change_of_a_pumps_clock() -> None:
    rows = [("2026/11/10", time, 100) for time in ("08:00:00", "08:05:00", "07:10:00", "07:15:00")]

    offsets = {one.display_offset_min for one in read(carelink(rows)).readings}

    assert offsets == {60}
