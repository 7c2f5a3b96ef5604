"""The quick ways through the usual answer say what the slow ways through any answer say."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import Batch, Reading, Rejected
from evercgm.providers.dexcom.mapping import read_egvs
from evercgm.providers.dexcom.times import parse_any_form, parse_time

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
# A record that is none: an answer with it is read record by record.
NO_RECORD = "this is no record"
ZONES = ["Z", "", "-08:00", "+05:30", "+14:00", "+14:01", "-12:00", "-12:01", "+08:75", "-00:00", "+23:59", "z"]


def with_change(text: str, place: int, change: str, length: int) -> str:
    place %= len(text) + 1
    return text[:place] + change + text[place + length :]


USUAL = st.builds(
    lambda at, between, zone: at.strftime(f"%Y-%m-%d{between}%H:%M:%S") + zone,
    st.datetimes(datetime(1960, 1, 1), datetime(2120, 1, 1)),  # noqa: DTZ001
    st.sampled_from("T "),
    st.sampled_from(ZONES),
)
CHANGED = st.builds(
    with_change,
    USUAL,
    st.integers(0, 40),
    st.sampled_from([*"0123456789-:TZt+.,W٢\x00", "", "24", "60"]),
    st.integers(0, 2),
)
TIME_TEXTS = USUAL | CHANGED


@given(TIME_TEXTS)
def test_a_time_text_of_a_usual_form_is_read_as_by_the_pattern_of_all_forms(text: str) -> None:
    assert parse_time(text) == parse_any_form(text)


@pytest.mark.parametrize(
    "text",
    [
        "2025-W05-4T23:49:55Z",
        "20250130T23:49:55.1Z",
        "2025-01-30x23:49:55Z",
        "2025-01-30t23:49:55Z",
        "2025-01-30T23:49:60Z",
        "2025-01-30T24:00:00Z",
        "2025-01-30T23:49:55,123Z",
        "2025-01-30T234955Z",
        "2025-01-30T23:49:55z0",
        "2025-02-29T23:49:55Z",
        "2025-01-3٠T23:49:55Z",
    ],
)
def test_what_only_the_standard_library_takes_for_a_time_is_none(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize("zone", ["", "Z", "z", "+01:00", "+0100", "+01:00:29"])
def test_seven_digits_of_a_second_are_cut_to_six(zone: str) -> None:
    parsed = parse_time(f"2025-01-30T23:49:55.1234569{zone}")

    assert parsed is not None
    assert parsed.instant.microsecond == 123456


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(-1e6, 1e6)
    | st.text()
    | st.sampled_from([2**63, 10**400, 5.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
TEXTS = st.sampled_from(["g7", "g6 pro", "iOS", "receiver", "", "x" * 50, "x" * 300, "i\x00OS"])
DOCUMENTED = st.fixed_dictionaries(
    {"systemTime": TIME_TEXTS | st.just("2025-01-30T23:49:55Z"), "value": st.integers(-5, 1100) | st.floats(-5, 1100)},
    optional={
        "recordId": st.sampled_from(["a", "b", "c", "", "a\x00", "x" * 200]),
        "displayTime": st.none() | TIME_TEXTS,
        "status": st.sampled_from([None, "low", "high", "ok"]),
        "unit": st.sampled_from(["mg/dL", "mg/dL", "mmol/L", "unknown"]),
        "trend": st.sampled_from([None, "flat", "Flat", "FLAT", "sideways", "", "notComputable"]),
        "trendRate": st.none() | st.floats(-5, 5) | st.integers(-1100, 1100),
        "rateUnit": st.sampled_from([None, "mg/dL/min", "mmol/L/min", "unknown"]),
        "transmitterId": st.none() | TEXTS,
        "transmitterTicks": st.integers(-3, 100) | st.sampled_from([2**63 - 1, 2**63, 5.0]),
        "transmitterGeneration": st.none() | TEXTS,
        "displayDevice": st.none() | TEXTS,
        "of a later version": ANYTHING,
    },
)
FIELDS = ["systemTime", "value", "recordId", "displayTime", "status", "unit", "trend", "trendRate", "rateUnit",
          "transmitterId", "transmitterTicks", "transmitterGeneration", "displayDevice"]  # fmt: skip
ODD = st.builds(lambda record, field, value: record | {field: value}, DOCUMENTED, st.sampled_from(FIELDS), ANYTHING)


def read(*records: object) -> Batch:
    return read_egvs(json.dumps({"userId": "account", "records": records}).encode(), NOW)


@given(st.lists(DOCUMENTED, max_size=6))
def test_an_answer_read_at_once_gives_what_its_records_give_one_by_one(records: list[object]) -> None:
    at_once, one_by_one = read(*records), read(*records, NO_RECORD)

    *rejected, none = one_by_one.rejected
    assert (at_once.readings, at_once.rejected) == (one_by_one.readings, tuple(rejected))
    assert none.reason == "unreadable"
    assert repr(at_once.readings) == repr(one_by_one.readings)


@given(st.lists(DOCUMENTED | ODD | ANYTHING, max_size=6))
def test_each_record_of_an_answer_gives_what_it_gives_alone(records: list[object]) -> None:
    readings, rejected = dict[str, Reading](), dict[str, Rejected]()
    for record in records:
        alone = read(record)
        readings |= {one.record_key: one for one in alone.readings}
        rejected |= {one.record_key: one for one in alone.rejected}

    together = read(*records)

    assert {one.record_key: one for one in together.readings} == readings
    assert {one.record_key: one for one in together.rejected} == rejected


@pytest.mark.parametrize("kind", ["event", 7, None])
def test_records_of_another_kind_are_refused_however_they_would_be_read(kind: object) -> None:
    body = {"recordType": kind or "alert", "records": [{"systemTime": "2025-01-30T23:49:55Z", "value": 100}]}

    with pytest.raises(VendorChanged):
        read_egvs(json.dumps(body).encode(), NOW)
