"""LibreLinkUp's answers, fixture by fixture: what becomes a reading, and what is set aside."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libre_answers import ALEX, load, places

from evercgm.core.errors import VendorChanged, VendorTryLater
from evercgm.core.reading import Batch, Reading, Rejected, epoch_ms
from evercgm.providers.libre.mapping import Listing, joined, read_connections, read_envelope, read_graph, read_logbook
from evercgm.providers.libre.times import display_offset_min, parse_time

NOW = datetime(2026, 3, 14, 13, 39, 30, tzinfo=UTC)
CURRENT = datetime(2026, 3, 14, 13, 38, 50, tzinfo=UTC)
QUIRKS = {case["case"]: case for case in load("reading_quirks")}
EXPECTED: dict[str, Any] = {
    "below range, flagged": (39, "low", "singleDown", 60),
    "above range, flagged": (401, "high", "singleUp", 60),
    "value 40 without flag": (40, None, None, 60),
    "value 500 without flag": (500, None, None, 60),
    "arrow 0": (110, None, "unknown", 60),
    "arrow outside 0 to 5": (110, None, "unknown", 60),
    "arrow null": (110, None, None, 60),
    "TrendMessage with text: never show or log": (110, None, "flat", 60),
    "mmol/L: Value is not mg/dL": (197, None, "flat", 0),
    "value 0: no reading": "no_value",
    "value null": "no_value",
    "value as float": (110, None, None, 60),
    "boolean for a number: reject": "unreadable",
    "flags absent": (110, None, None, 60),
    "colour 0": (110, None, None, 60),
    "no local time": (110, None, None, None),
    "no UTC time: reject": "bad_time",
    "time 3 h in the future": "future_time",
    "history and current value of the same second differ: keep both kinds": (112, None, None, 60),
    "half-hour zone": (110, None, None, 330),
}


def graph(name: str, now: datetime = NOW) -> Batch:
    return read_graph(load(name)["data"], now, ALEX)


def batch_of(record: object) -> Batch:
    """A graph whose record stands in the series that its type says."""
    is_live = isinstance(record, dict) and record.get("type") == 1
    connection = {"patientId": ALEX, "glucoseMeasurement": record if is_live else None}
    return read_graph({"connection": connection, "graphData": [] if is_live else [record]}, NOW, ALEX)


def one(record: object) -> Reading | Rejected:
    batch = batch_of(record)
    (result,) = (*batch.readings, *batch.live, *batch.rejected)
    return result


@pytest.mark.parametrize("case", load("time_parsing")["cases"], ids=lambda case: repr(case["text"]))
def test_every_time_text_is_read_as_the_table_says(case: dict[str, Any]) -> None:
    expected = datetime.fromisoformat(case["instant_utc"]) if case["instant_utc"] else None

    assert parse_time(case["text"]) == expected


@pytest.mark.parametrize("text", ["3/14/2026", "3/14/26 1:38:50 PM", "٣/14/2026 1:38:50 PM", 3, True, "1" * 10_000])
def test_what_only_resembles_a_time_is_none(text: object) -> None:
    assert parse_time(text) is None


@given(st.integers(0, 2**33))
def test_a_time_written_as_the_vendor_does_is_read_back(since_1970_s: int) -> None:
    at = datetime.fromtimestamp(since_1970_s, UTC)
    text = f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'PM' if at.hour >= 12 else 'AM'}"

    assert parse_time(text) == at


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("3/14/2026 2:38:50 PM", 60),
        ("3/14/2026 7:08:50 PM", 330),
        ("3/14/2026 7:23:10 PM", 345),
        ("3/14/2026 1:38:50 AM", -720),
        ("3/15/2026 3:38:50 AM", 840),
        ("3/15/2026 4:38:50 AM", None),
        ("3/13/2026 1:38:50 PM", None),
        (None, None),
    ],
)
def test_the_offset_is_the_difference_to_the_wall_time_or_nothing(wall: str | None, expected: int | None) -> None:
    assert display_offset_min(CURRENT, wall) == expected


@pytest.mark.parametrize("title", EXPECTED)
def test_every_odd_record_is_read_as_the_specification_says(title: str) -> None:
    result = one(QUIRKS[title]["record"])

    expected = EXPECTED[title]
    if isinstance(expected, str):
        assert isinstance(result, Rejected)
        assert result.reason == expected
    else:
        assert isinstance(result, Reading)
        assert (result.glucose_mg_dl, result.flag, result.trend, result.display_offset_min) == expected
        assert result.measured_at == CURRENT


def test_no_odd_record_is_left_without_an_expectation() -> None:
    assert set(QUIRKS) == set(EXPECTED)


def test_history_and_present_value_of_one_second_are_two_readings() -> None:
    case = QUIRKS["history and current value of the same second differ: keep both kinds"]
    data = {"connection": {"patientId": ALEX, "glucoseMeasurement": case["second"]}, "graphData": [case["record"]]}

    batch = read_graph(data, NOW, ALEX)

    ms = epoch_ms(CURRENT)
    assert [(r.record_key, r.glucose_mg_dl) for r in batch.readings] == [(f"history:{ms}", 112)]
    assert [(r.record_key, r.glucose_mg_dl, r.trend) for r in batch.live] == [(f"live:{ms}", 118, "fortyFiveUp")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ValueInMgPerDl": 450}, (450, None)),
        ({"ValueInMgPerDl": 401, "isHigh": True}, (401, "high")),
        ({"ValueInMgPerDl": 278, "isHigh": True}, (278, None)),
        ({"ValueInMgPerDl": 399, "isHigh": True}, (399, None)),
        ({"ValueInMgPerDl": 66, "isLow": True}, (66, None)),
        ({"ValueInMgPerDl": 54, "isLow": True}, (54, None)),
        ({"ValueInMgPerDl": 40, "isLow": True}, (39, "low")),
        ({"ValueInMgPerDl": 39}, (39, "low")),
        ({"ValueInMgPerDl": 500.6}, (401, "high")),
        ({"ValueInMgPerDl": 110.5}, (111, None)),
    ],
)
def test_a_flag_counts_at_the_limits_of_the_sensor_and_nowhere_else(
    changes: dict[str, object], expected: tuple[int, str | None]
) -> None:
    result = one(QUIRKS["flags absent"]["record"] | changes)

    assert isinstance(result, Reading)
    assert (result.glucose_mg_dl, result.flag) == expected


@pytest.mark.parametrize("value", [0, 0.0, None])
@pytest.mark.parametrize(("flag", "expected"), [("isLow", (39, "low")), ("isHigh", (401, "high"))])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_flag_without_a_number_is_a_reading_out_of_range(
    kind: int, flag: str, expected: tuple[int, str], value: object
) -> None:
    record = QUIRKS["flags absent"]["record"] | {"type": kind, "ValueInMgPerDl": value, flag: True}

    result = one(record)

    assert isinstance(result, Reading)
    assert (result.glucose_mg_dl, result.flag, result.measured_at) == (*expected, CURRENT)


def test_a_scan_of_the_logbook_may_be_a_flag_without_a_number() -> None:
    book = [{"type": 1, "FactoryTimestamp": "3/14/2026 1:38:50 PM", "isLow": True}]

    assert [(r.glucose_mg_dl, r.flag) for r in read_logbook(book, NOW).live] == [(39, "low")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ValueInMgPerDl": None, "isLow": True, "isHigh": True}, "no_value"),
        ({"ValueInMgPerDl": 0, "isLow": "true"}, "no_value"),
        ({"ValueInMgPerDl": None, "isHigh": 1}, "no_value"),
        ({"ValueInMgPerDl": -3, "isLow": True}, "no_value"),
        ({"ValueInMgPerDl": True, "isLow": True}, "unreadable"),
        ({"ValueInMgPerDl": 0, "isLow": True, "FactoryTimestamp": None}, "bad_time"),
    ],
)
def test_flags_that_say_nothing_make_no_reading(changes: dict[str, object], reason: str) -> None:
    result = one(QUIRKS["flags absent"]["record"] | changes)

    assert isinstance(result, Rejected)
    assert result.reason == reason


@pytest.mark.parametrize("value", ["110", [110], {"v": 1}, -3, 0.0, 1001, 1e300])
def test_a_value_of_another_kind_is_set_aside_and_counted(value: object) -> None:
    result = one(QUIRKS["flags absent"]["record"] | {"ValueInMgPerDl": value})

    assert isinstance(result, Rejected)
    assert result.measured_text == "3/14/2026 1:38:50 PM"


@pytest.mark.parametrize("record", [None, 5, "text", [], [{}]])
def test_a_record_that_is_no_object_is_set_aside_and_the_others_stay(record: object) -> None:
    sound = QUIRKS["flags absent"]["record"]
    batch = read_graph({"connection": {"patientId": ALEX}, "graphData": [record, sound]}, NOW, ALEX)

    assert [reading.glucose_mg_dl for reading in batch.readings] == [110]
    assert [rejected.reason for rejected in batch.rejected] == ["unreadable"]


def test_the_graph_of_a_libre_3_is_its_history_and_one_present_value() -> None:
    batch = graph("graph_libre3")

    assert len(batch.readings) == 34
    assert batch.account_id == ALEX
    assert [reading.measured_at for reading in batch.readings] == sorted(r.measured_at for r in batch.readings)
    assert {reading.trend for reading in batch.readings} == {None}
    assert {reading.device_id for reading in batch.readings} == {"libre3"}
    (live,) = batch.live
    assert (live.measured_at, live.glucose_mg_dl, live.trend) == (CURRENT, 87, "fortyFiveUp")
    assert live.transmitter_hash == hashlib.sha256(b"0TESTL3X10").digest()
    assert batch.rejected == ()


def test_the_graph_of_a_libre_2_in_mmol_l_is_in_mg_dl_and_goes_through_the_change_of_the_clocks() -> None:
    batch = graph("graph_libre2_mmol_dst", datetime(2026, 3, 29, 6, 8, tzinfo=UTC))

    assert len(batch.readings) == 47
    steps = {b.measured_at - a.measured_at for a, b in zip(batch.readings, batch.readings[1:], strict=False)}
    assert steps == {timedelta(minutes=15)}
    change = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert {r.display_offset_min for r in batch.readings if r.measured_at < change} == {60}
    assert {r.display_offset_min for r in batch.readings if r.measured_at >= change} == {120}
    raw = load("graph_libre2_mmol_dst")["data"]["graphData"]
    assert [r.glucose_mg_dl for r in batch.readings] == [record["ValueInMgPerDl"] for record in raw]
    assert {r.device_id for r in batch.readings} == {"libre2"}


def test_a_sensor_at_rest_still_shows_its_last_value_and_nothing_else() -> None:
    batch = graph("graph_stale")

    assert batch.readings == ()
    assert [reading.measured_at for reading in batch.live] == [datetime(2026, 3, 14, 8, 38, 50, tzinfo=UTC)]


def test_a_new_person_has_nothing_and_that_is_no_error() -> None:
    batch = graph("graph_new_patient")

    assert (batch.readings, batch.live, batch.rejected) == ((), (), ())
    assert batch.account_id == "feaee5a1-3af3-5dfa-9768-02fa0820e2b4"


@pytest.mark.parametrize("data", [None, [], {}, "text", {"connection": 5, "graphData": None}])
def test_data_that_are_no_graph_are_told_as_a_change_of_the_vendor(data: object) -> None:
    with pytest.raises(VendorChanged):
        read_graph(data, NOW, ALEX)


@pytest.mark.parametrize("missing", ["sensor", "patientDevice", "alarmRules", "glucoseMeasurement", "patientId"])
@pytest.mark.parametrize("how", ["null", "absent"])
def test_fields_may_vanish_one_by_one(missing: str, how: str) -> None:
    data = load("graph_libre3")["data"]
    if how == "null":
        data["connection"][missing] = None
    else:
        del data["connection"][missing]

    batch = read_graph(data, NOW, ALEX)

    # The present value comes twice.
    assert (len(batch.readings), len(batch.live), batch.account_id) == (34, 1, ALEX)


def test_values_of_several_sensors_are_of_none_and_older_ones_not_of_the_new_sensor() -> None:
    two = load("graph_libre3")["data"]
    two["activeSensors"].append({"sensor": {"sn": "0OTHERL3X0", "a": 1, "pt": 4}})
    new = load("graph_libre3")["data"]
    activated = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
    new["connection"]["sensor"]["a"] = new["activeSensors"][0]["sensor"]["a"] = int(activated.timestamp())

    assert {reading.transmitter_hash for reading in read_graph(two, NOW, ALEX).readings} == {None}
    batch = read_graph(new, NOW, ALEX)
    assert {r.transmitter_hash for r in batch.readings if r.measured_at < activated} == {None}
    assert None not in {r.transmitter_hash for r in batch.readings if r.measured_at >= activated}


@pytest.mark.parametrize("name", ["logbook", "logbook_scans_only"])
def test_the_scans_of_the_logbook_are_live_values_and_alarms_are_none(name: str) -> None:
    batch = read_logbook(load(name)["data"], NOW)

    assert [(r.glucose_mg_dl, r.measured_at.day, r.trend) for r in batch.live] == [(159, 11, "flat"), (197, 14, "flat")]
    assert (batch.readings, batch.rejected) == ((), ())


def test_a_scan_that_is_also_the_present_value_is_one_reading() -> None:
    current = graph("graph_libre3")
    book = [{"type": 1, "FactoryTimestamp": "3/14/2026 1:38:50 PM", "ValueInMgPerDl": 80}]

    both = joined(current, read_logbook(book, NOW))

    assert both.live == current.live


def test_each_followed_person_has_a_name_to_choose_by_and_the_newest_value() -> None:
    alex, kim = read_connections(load("connections")["data"]).people

    assert (alex.id, alex.label, alex.newest, alex.device_id) == (ALEX, "Alex Test", CURRENT, "libre3")
    assert (kim.label, kim.newest) == ("Kim Test", datetime(2026, 2, 2, 13, 38, 50, tzinfo=UTC))
    assert read_connections(load("connections_empty")["data"]) == Listing((), 0)


def test_who_cannot_be_read_is_counted_among_those_whom_the_account_follows() -> None:
    data = load("connections")["data"]

    listing = read_connections([data[0], {"patientId": None}, 5])

    assert ([person.id for person in listing.people], listing.entries) == ([ALEX], 3)


@pytest.mark.parametrize("data", [None, {}, "text", [5], [{"patientId": "../../x"}], [{"patientId": ""}]])
def test_a_list_of_connections_that_cannot_be_read_is_no_empty_one(data: object) -> None:
    with pytest.raises(VendorChanged):
        read_connections(data)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"status": 0, "da', b"[]", b"\xff", b"[" * 1000])
def test_an_answer_that_is_no_json_object_is_an_outage(body: bytes) -> None:
    with pytest.raises(VendorTryLater):
        read_envelope(body)


@given(st.data(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}))
def test_whatever_one_field_becomes_nothing_but_a_change_of_the_vendor_is_raised(data: st.DataObject, new: Any) -> None:
    wire = load(data.draw(st.sampled_from(["graph_libre3", "logbook", "connections", "graph_new_patient"])))
    data.draw(st.sampled_from(places(wire)))(new)
    raw = json.dumps(wire).encode()

    try:
        envelope = read_envelope(raw)
    except VendorTryLater:
        return
    for read in (lambda d: read_graph(d, NOW, ALEX), lambda d: read_logbook(d, NOW), read_connections):
        try:
            read(envelope.data)
        except VendorChanged:
            continue
