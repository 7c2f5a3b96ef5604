"""Share's answers into readings: each fixture, each wire form, and what is kept aside."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import Batch, Reading
from evercgm.core.sync import Window
from evercgm.providers.dexcom_share.mapping import read_values, within

FIXTURES = Path(__file__).parent / "fixtures"
ACCOUNT = "99999999-9999-4999-9999-999999999999"
NOW = datetime(2025, 4, 19, 16, 45, tzinfo=UTC)
NEWEST = datetime(2025, 4, 19, 16, 43, 33, 817_000, tzinfo=UTC)
ONE = {
    "WT": "Date(1745081013817)",
    "ST": "Date(1745081013817)",
    "DT": "Date(1745081013817-0400)",
    "Value": 224,
    "Trend": "Flat",
}


def read(*records: object, now: datetime = NOW) -> Batch:
    return read_values(json.dumps(records).encode(), now, ACCOUNT)


def only(**changes: object) -> Reading:
    batch = read(ONE | changes)
    assert batch.rejected == ()
    return batch.readings[0]


def test_the_recorded_answer_is_ten_readings_oldest_first() -> None:
    batch = read_values((FIXTURES / "share_readings.json").read_bytes(), NOW, ACCOUNT)

    assert batch.rejected == ()
    assert batch.account_id == ACCOUNT
    assert [(r.glucose_mg_dl, r.trend) for r in batch.readings] == [
        (219, "doubleDown"), (207, "singleDown"), (198, "fortyFiveDown"), (190, "rateOutOfRange"), (181, "none"),
        (180, "notComputable"), (201, "doubleUp"), (214, "singleUp"), (222, "fortyFiveUp"), (224, "flat"),
    ]  # fmt: skip
    assert batch.readings[-1] == Reading(
        "egv:1745081013000", NEWEST, 224, trend="flat", display_offset_min=-240
    )  # fmt: skip
    assert {r.display_offset_min for r in batch.readings} == {-240}
    assert {b.measured_at - a.measured_at for a, b in zip(batch.readings, batch.readings[1:], strict=False)} == {
        timedelta(minutes=5)
    }


def test_the_form_before_2021_is_read_with_its_numbers_and_slashes() -> None:
    batch = read_values((FIXTURES / "share_readings_legacy.json").read_bytes(), NOW, ACCOUNT)

    assert batch.rejected == ()
    assert batch.readings == (
        Reading(
            "egv:1426295616000", datetime(2015, 3, 14, 1, 13, 36, tzinfo=UTC), 101, trend="flat",
            display_offset_min=-420,
        ),
        Reading(
            "egv:1638360842000", datetime(2021, 12, 1, 12, 14, 2, tzinfo=UTC), 158, trend="fortyFiveUp",
            display_offset_min=0,
        ),
    )  # fmt: skip


def test_an_empty_answer_is_no_error() -> None:
    assert read_values((FIXTURES / "share_readings_empty.json").read_bytes(), NOW, ACCOUNT) == Batch((), (), ACCOUNT)


def test_a_record_keeps_its_key_when_the_form_changes_overnight() -> None:
    older = only(ST="/Date(1745081013000)/", WT="/Date(1745081013000)/", DT="/Date(1745066613000-0400)/", Trend=4)

    assert older.record_key == only().record_key
    assert older.display_offset_min == only().display_offset_min == -240


@pytest.mark.parametrize("st", [None, "", "Date()", "yesterday", "Date(0)", "Date(-62135596800000)", 1745081013817])
def test_the_wall_time_stands_in_for_a_system_time_that_cannot_be_read(st: object) -> None:
    assert only(ST=st).measured_at == NEWEST


def test_a_record_without_any_time_is_kept_aside_under_its_own_bytes() -> None:
    wrong = ONE | {"ST": "Date(12345678901234567)", "WT": None}

    (rejected,) = read(wrong, wrong).rejected

    assert (rejected.reason, rejected.measured_text) == ("bad_time", "Date(12345678901234567)")
    assert rejected.record_key.startswith("egv:unread:")


def test_the_number_of_the_display_time_is_never_the_instant() -> None:
    assert only(DT="Date(1-0400)").measured_at == NEWEST
    assert read(ONE | {"ST": None, "WT": None}).rejected[0].reason == "bad_time"


@pytest.mark.parametrize(
    ("display", "offset_min"),
    [
        ("Date(1745081013817+0530)", 330),
        ("/Date(1745081013817+1400)/", 840),
        ("Date(1745081013817-1200)", -720),
        ("Date(1745081013817-1300)", None),
        ("Date(1745081013817)", None),
        ("Date(1745081013817+05:30)", None),
        (None, None),
        (0, None),
    ],
)
def test_the_offset_is_that_of_the_display_time(display: object, offset_min: int | None) -> None:
    assert only(DT=display).display_offset_min == offset_min


@pytest.mark.parametrize(
    ("said", "trend"),
    [
        ("None", "none"), (0, "none"), ("DoubleUp", "doubleUp"), (1, "doubleUp"), ("SINGLEUP", "singleUp"),
        ("forty five up", "fortyFiveUp"), ("Forty_Five_Down", "fortyFiveDown"), ("NOT COMPUTABLE", "notComputable"),
        ("NonComputable", "notComputable"), (8, "notComputable"), ("9", "rateOutOfRange"),
        ("RATE OUT OF RANGE", "rateOutOfRange"), (None, None), ("TripleUp", "unknown"), (10, "unknown"),
        (-1, "unknown"), (True, "unknown"), ([], "unknown"), ("", "unknown"), (2.5, "unknown"),
    ],
)  # fmt: skip
def test_an_arrow_is_known_by_word_or_number(said: object, trend: str | None) -> None:
    assert only(Trend=said).trend == trend


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (40, (40, None)), (400, (400, None)), (39, (39, "low")), (13, (39, "low")), (401, (401, "high")),
        (600, (401, "high")), (99.5, (100, None)),
    ],
)  # fmt: skip
def test_out_of_range_keeps_its_flag(value: float, expected: tuple[int, str | None]) -> None:
    reading = only(Value=value)

    assert (reading.glucose_mg_dl, reading.flag) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "sensor_error"), (5, "sensor_error"), (12, "sensor_error"), (None, "no_value"), (-1, "implausible_value"),
        (1001, "implausible_value"), ("224", "unreadable"), (True, "unreadable"),
    ],
)  # fmt: skip
def test_what_is_no_glucose_is_kept_aside_and_its_neighbours_are_read(value: object, reason: str) -> None:
    batch = read(ONE | {"Value": value}, ONE | {"ST": "Date(1745080713817)"})

    assert [rejected.reason for rejected in batch.rejected] == [reason]
    assert [reading.record_key for reading in batch.readings] == ["egv:1745080713000"]


def test_a_record_from_the_day_after_tomorrow_is_kept_aside() -> None:
    assert read(ONE, now=NEWEST - timedelta(hours=24)).rejected == ()
    assert read(ONE, now=NEWEST - timedelta(hours=25)).rejected[0].reason == "future_time"


def test_of_two_records_of_one_second_the_first_counts() -> None:
    assert [r.glucose_mg_dl for r in read(ONE, ONE | {"Value": 100}).readings] == [224]


def test_only_the_asked_window_is_kept() -> None:
    batch = read_values((FIXTURES / "share_readings.json").read_bytes(), NOW, ACCOUNT)

    kept = within(batch, Window(NEWEST - timedelta(minutes=10), NEWEST))

    assert [r.glucose_mg_dl for r in kept.readings] == [214, 222, 224]


@pytest.mark.parametrize("body", [b"", b"{}", b'"text"', b"[", b"<html></html>", b"null"])
def test_an_answer_of_another_kind_is_refused(body: bytes) -> None:
    with pytest.raises(VendorChanged):
        read_values(body, NOW, ACCOUNT)


def test_more_records_than_a_day_holds_are_refused() -> None:
    with pytest.raises(VendorChanged):
        read(*[{}] * 5001)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ONE, "x"]), inner, max_size=6),
    max_leaves=12,
)


@given(JSON)
def test_no_json_raises_another_kind_of_error(value: object) -> None:
    try:
        batch = read_values(json.dumps(value).encode(), NOW, None)
    except VendorChanged:
        return
    assert len(batch.readings) + len(batch.rejected) <= len(value)  # type: ignore[arg-type]


@given(st.binary(max_size=60))
def test_no_bytes_raise_another_kind_of_error(body: bytes) -> None:
    try:
        read_values(body, NOW, None)
    except VendorChanged:
        return


@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(ONE)), st.integers() | st.text() | st.sampled_from(list(ONE.values())))
    )
)
def test_each_record_is_read_or_kept_aside(records: list[object]) -> None:
    batch = read(*records)

    assert all(39 <= reading.glucose_mg_dl <= 401 for reading in batch.readings)
    assert len(batch.readings) + len(batch.rejected) <= len(records)
    assert bool(batch.readings or batch.rejected) == bool(records)
