"""CareLink's answers into readings: every documented quirk of a row, of an answer, and of its clocks."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evercgm.core.errors import VendorChanged
from evercgm.core.reading import Batch, Reading
from evercgm.providers.medtronic import times
from evercgm.providers.medtronic.mapping import TRENDS, account_id_of, read_message
from evercgm.providers.medtronic.times import Clocks

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 2, 13, 58, 18, tzinfo=UTC)
PUMP_AN_HOUR_AHEAD = {
    "currentServerTime": 1793627898000,
    "medicalDeviceTime": 1793631481000,
    "lastMedicalDeviceDataUpdateServerTime": 1793627849000,
}
Json = dict[str, Any]


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def cases(name: str) -> list[Json]:
    found: list[Json] = fixture(name)["cases"]
    return found


def read(message: object, now: datetime = NOW) -> Batch:
    return read_message(json.dumps(message).encode(), "account-1", now)


def answer(*rows: object, **changes: object) -> Json:
    return {"patientData": {**PUMP_AN_HOUR_AHEAD, "bgUnits": "MGDL", "sgs": list(rows), **changes}}


def row(local: str, sg: float = 140, **changes: object) -> Json:
    return {"kind": "SG", "sg": sg, "sensorState": "NO_ERROR_MESSAGE", "timestamp": local, **changes}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


def instants(batch: Batch) -> list[datetime]:
    return [reading.measured_at for reading in batch.readings]


def test_a_780g_gives_its_readings_and_the_trend_of_the_last() -> None:
    batch = read(fixture("display_message_780g"))

    assert [reading.glucose_mg_dl for reading in batch.readings] == [
        112, 114, 117, 121, 126, 131, 137, 143, 150, 157,
    ]  # fmt: skip
    assert batch.readings[-1] == Reading(
        record_key=f"sg:{int(utc('2026-11-02T13:56:00Z').timestamp()) // 60}",
        measured_at=utc("2026-11-02T13:56:00Z"),
        glucose_mg_dl=157,
        trend="fortyFiveUp",
        display_offset_min=60,
        device_id="NGP/MMT-1886",
    )
    assert {reading.trend for reading in batch.readings[:-1]} == {None}
    assert batch.rejected == ()
    assert batch.account_id == "account-1"


def test_a_sensor_without_a_pump_is_read_though_no_pump_is_there() -> None:
    batch = read(fixture("display_message_simplera"), utc("2026-11-02T14:05:18Z"))

    assert [reading.glucose_mg_dl for reading in batch.readings] == [182, 176, 169, 161, 152, 142, 131, 119]
    assert instants(batch)[-1] == utc("2026-11-02T14:03:00Z")
    assert (batch.readings[-1].display_offset_min, batch.readings[-1].trend) == (-300, "singleDown")


def test_nothing_of_a_serial_number_or_a_name_is_in_a_reading() -> None:
    batch = read(fixture("display_message_780g"))

    for personal in ("FIXTURE-CONDUIT", "NG0000000X", "B000000000", "Example"):
        assert personal not in repr(batch)


@pytest.mark.parametrize("case", cases("display_message_empty"), ids=lambda case: case["case"])
def test_every_form_of_no_data_is_success_without_readings(case: Json) -> None:
    body = case["body"]
    raw = b"" if body in (None, "") else json.dumps(body).encode()

    assert read_message(raw, "account-1", NOW) == Batch((), (), "account-1")


def test_an_empty_list_as_the_whole_answer_is_no_data() -> None:
    assert read([]) == Batch((), (), "account-1")


@pytest.mark.parametrize("body", [b"nothing", b'"text"', b"{", b'{"patientData": 5}', b"[1]"])
def test_an_answer_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(VendorChanged):
        read_message(body, "account-1", NOW)


@pytest.mark.parametrize("case", cases("sgs_quirks"), ids=lambda case: case["case"])
def test_each_quirk_of_a_row_is_read_as_documented(case: Json) -> None:
    batch = read(answer(case["record"]))

    kept = [(r.glucose_mg_dl, r.flag, r.measured_at) for r in batch.readings]
    expected = [(case["value_mgdl"], case["flag"], utc(case["instant_utc"]))] if case["keep"] else []
    assert kept == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "unreadable"),
        (row("2026-11-02T14:56:00", kind="BG"), "other_kind"),
        (row("2026-11-02T14:56:00", sensorState="CALIBRATION_REQUIRED"), "sensor_error"),
        (row("2026-11-02T16:00:00"), "future_time"),
        (row("", 140), "bad_time"),
        (row("2026-11-02T14:56:00", 20), "implausible_value"),
        (row("2026-11-02T14:56:00", 1001), "implausible_value"),
        (row("2026-11-02T14:56:00", -1), "implausible_value"),
        (row("2026-11-02T14:56:00") | {"sg": "high"}, "unreadable"),
        (row("2026-11-02T14:56:00") | {"sg": True}, "unreadable"),
        (row("2026-11-02T14:56:00") | {"sg": "nan"}, "unreadable"),
    ],
)
def test_a_row_that_is_no_reading_is_kept_aside_once_with_its_reason(record: object, reason: str) -> None:
    batch = read(answer(row("2026-11-02T14:51:00"), record, record))

    assert [rejected.reason for rejected in batch.rejected] == [reason]
    assert len(batch.readings) == 1


def test_a_slot_without_a_value_is_not_even_kept_aside() -> None:
    rows = [row("2026-11-02T14:56:00", 0, sensorState=state) for state in ("WARM_UP", "SENSOR_OFF", "SOMETHING_NEW")]

    assert read(answer(*rows, {"kind": "SG", "version": 1})) == Batch((), (), "account-1")


@pytest.mark.parametrize(
    ("sg", "expected"),
    [(38, (39, "low")), (40, (40, None)), (400, (400, None)), (401, (401, "high")), (99.5, (100, None))],
)
def test_values_beyond_the_range_get_the_flag_of_their_side(sg: float, expected: tuple[int, str | None]) -> None:
    reading = read(answer(row("2026-11-02T14:56:00", sg))).readings[0]

    assert (reading.glucose_mg_dl, reading.flag) == expected


def test_rows_come_out_by_time_whatever_their_order_and_the_last_said_of_a_minute_counts() -> None:
    batch = read(
        answer(
            row("2026-11-02T14:56:00", 157),
            row("2026-11-02T14:46:00", 140),
            row("2026-11-02T14:51:00", 150),
            row("2026-11-02T14:51:30", 152),
        )
    )

    assert [reading.glucose_mg_dl for reading in batch.readings] == [140, 152, 157]


@pytest.mark.parametrize("case", cases("trends"), ids=lambda case: case["word"])
def test_a_trend_word_is_read_by_its_rate_not_by_its_arrows(case: Json) -> None:
    last = row("2026-11-02T14:56:00")

    reading = read(answer(last, lastSG=last, lastSGTrend=case["word"])).readings[0]

    assert reading.trend == case["dexcom"]
    assert (case["word"] in TRENDS) == (case["dexcom"] != "unknown")


@pytest.mark.parametrize(
    "last",
    [row("2026-11-02T14:56:00", 141), row("2026-11-02T14:51:00"), row("2026-11-02T14:56:00", 0), None, "text"],
)
def test_a_trend_of_another_reading_is_attached_to_none(last: object) -> None:
    batch = read(answer(row("2026-11-02T14:51:00"), row("2026-11-02T14:56:00"), lastSG=last, lastSGTrend="UP"))

    assert {reading.trend for reading in batch.readings} == {None}


def test_a_trend_is_not_attached_where_the_newest_slot_has_no_value() -> None:
    last = row("2026-11-02T14:51:00")

    batch = read(answer(last, row("2026-11-02T14:56:00", 0), lastSG=last, lastSGTrend="UP"))

    assert [reading.trend for reading in batch.readings] == [None]


@pytest.mark.parametrize("units", ["MMOL_L", "MMOLL"])
def test_an_answer_that_may_be_in_mmol_is_refused_and_never_converted(units: str) -> None:
    with pytest.raises(VendorChanged, match="mmol"):
        read(answer(row("2026-11-02T14:51:00", 7.8), row("2026-11-02T14:56:00", 22.2), bgUnits=units))


@pytest.mark.parametrize("units", ["MMOL_L", "MMOLL", "MGDL", "MG_DL", None, "FURLONGS"])
def test_values_in_mg_are_read_whatever_the_phone_shows(units: str | None) -> None:
    batch = read(answer(row("2026-11-02T14:51:00", 0), row("2026-11-02T14:56:00", 140), bgUnits=units))

    assert [reading.glucose_mg_dl for reading in batch.readings] == [140]


def test_a_pump_that_the_phone_has_lost_is_not_believed() -> None:
    lost = answer(row("2026-11-02T14:56:00"), medicalDeviceFamily="NGP", pumpCommunicationState=False)

    assert read(lost) == Batch((), (), "account-1")


@pytest.mark.parametrize("case", cases("recent_data_legacy"), ids=lambda case: case["case"])
def test_older_answers_are_read_in_their_flat_form(case: Json) -> None:
    assert instants(read(case["body"])) == [utc(text) for text in case["instants_utc"]]


@pytest.mark.parametrize("case", cases("time_parsing"), ids=lambda case: case["case"])
def test_each_text_and_clock_gives_the_documented_instant(case: Json) -> None:
    message = {"patientData": {**case["message"], "sgs": [row(case["timestamp"])]}}
    offset = times.offset_of(Clocks(**case["message"]), NOW)
    text = times.parse(case["timestamp"])

    if case["offset_minutes"] is None:
        assert offset is None
        with pytest.raises(VendorChanged, match="unknown zone"):
            read(message)
        return
    if case["offset_from"] == "text":
        assert text is not None
        assert text.offset_min == case["offset_minutes"]
    else:
        assert offset is not None
        assert (offset.minutes, offset.source) == (case["offset_minutes"], case["offset_from"])
    assert instants(read(message)) == ([utc(case["instant_utc"])] if case["instant_utc"] else [])


def test_the_future_is_judged_by_their_clock_unless_that_is_a_day_off() -> None:
    ahead = int(timedelta(hours=3) / timedelta(milliseconds=1))
    sent = {**PUMP_AN_HOUR_AHEAD, "currentServerTime": PUMP_AN_HOUR_AHEAD["currentServerTime"] + ahead}
    assert len(read(answer(row("2026-11-02T16:00:00"), **sent)).readings) == 1

    sent["currentServerTime"] += 8 * ahead
    assert read(answer(row("2026-11-02T16:00:00"), **sent)).rejected[0].reason == "future_time"


def set_back_rows() -> list[Json]:
    """From summer to winter time while the sensor goes on: 02:50, 02:55, then 02:00, 02:05."""
    locals_ = ("02:45", "02:50", "02:55", "02:00", "02:05")
    return [row(f"2026-10-25T{local}:00", 100 + n) for n, local in enumerate(locals_)]


def clocks_at(local: str, instant: str) -> Json:
    return {
        "currentServerTime": ms(instant),
        "medicalDeviceTime": ms(local + "Z"),
        "lastMedicalDeviceDataUpdateServerTime": ms(instant),
    }


def ms(text: str) -> int:
    return int(utc(text).timestamp() * 1000)


FIVE_MINUTES_APART = [utc(f"2026-10-25T{text}:00Z") for text in ("00:45", "00:50", "00:55", "01:00", "01:05")]


@pytest.mark.parametrize("turned", [False, True], ids=["oldest first", "newest first"])
def test_a_clock_that_was_set_back_within_the_answer_moves_no_older_reading(turned: bool) -> None:
    rows = set_back_rows()[:: -1 if turned else 1]

    batch = read(answer(*rows, **clocks_at("2026-10-25T02:06:00", "2026-10-25T01:06:00Z")), FIVE_MINUTES_APART[-1])

    assert instants(batch) == FIVE_MINUTES_APART
    assert [reading.display_offset_min for reading in batch.readings] == [120, 120, 120, 60, 60]


def test_one_broken_time_among_good_ones_is_no_clock_that_was_set() -> None:
    locals_ = ("14:31", "14:36", "16:00", "14:46", "14:51")

    batch = read(answer(*(row(f"2026-11-02T{local}:00") for local in locals_)))

    assert instants(batch) == [utc(f"2026-11-02T13:{minute}:00Z") for minute in (31, 36, 46, 51)]
    assert [rejected.reason for rejected in batch.rejected] == ["future_time"]


def test_a_clock_that_was_set_back_after_the_newest_reading_moves_none() -> None:
    clocks = clocks_at("2026-10-25T01:58:00", "2026-10-25T00:58:00Z")

    batch = read(answer(*set_back_rows()[:3], **clocks), FIVE_MINUTES_APART[2])

    assert instants(batch) == FIVE_MINUTES_APART[:3]


def set_ahead_rows() -> list[Json]:
    return [row(f"2026-03-29T{local}:00", 100) for local in ("01:50", "01:55", "03:00", "03:05")]


def test_a_clock_that_was_set_ahead_moves_no_older_reading_where_the_pump_says_so() -> None:
    clocks = clocks_at("2026-03-29T03:06:00", "2026-03-29T01:06:00Z")
    marker = {"type": "TIME_CHANGE", "timestamp": "2026-03-29T03:00:00", "data": {}}

    batch = read(answer(*set_ahead_rows(), markers=[marker], **clocks), utc("2026-03-29T01:06:00Z"))

    assert instants(batch) == [utc(f"2026-03-29T{text}:00Z") for text in ("00:50", "00:55", "01:00", "01:05")]


def test_a_gap_of_an_hour_is_a_gap_where_no_clock_was_set() -> None:
    clocks = clocks_at("2026-03-29T03:06:00", "2026-03-29T01:06:00Z")

    batch = read(answer(*set_ahead_rows(), **clocks), utc("2026-03-29T01:06:00Z"))

    assert instants(batch)[1:3] == [utc("2026-03-28T23:55:00Z"), utc("2026-03-29T01:00:00Z")]


ROWS_OF_A_TRAVEL = ("2026-11-02T12:00:00", "2026-11-02T12:05:00", "2026-11-02T18:10:00", "2026-11-02T18:15:00")
INSTANTS_OF_A_TRAVEL = [utc(f"2026-11-02T12:{minute}:00Z") for minute in ("00", "05", "10", "15")]


@pytest.mark.parametrize("marked_at", ["2026-11-02T18:07:00", "2026-11-02T12:07:00"], ids=["new time", "former time"])
@pytest.mark.parametrize("turned", [False, True], ids=["oldest first", "newest first"])
def test_a_clock_that_was_set_ahead_by_any_hours_moves_no_older_reading(turned: bool, marked_at: str) -> None:
    marker = {"type": "TIME_CHANGE", "timestamp": marked_at, "data": {}}
    rows = [row(local) for local in ROWS_OF_A_TRAVEL][:: -1 if turned else 1]

    batch = read(
        answer(*rows, markers=[marker], **clocks_at("2026-11-02T18:16:00", "2026-11-02T12:16:00Z")),
        utc("2026-11-02T12:16:00Z"),
    )

    assert instants(batch) == INSTANTS_OF_A_TRAVEL
    assert [reading.display_offset_min for reading in batch.readings] == [0, 0, 360, 360]


def test_a_clock_that_was_set_ahead_by_quarter_hours_moves_no_older_reading() -> None:
    """From Delhi to Kathmandu."""
    marker = {"type": "TIME_CHANGE", "timestamp": "2026-11-02T18:02:00", "data": {}}
    rows = [row(f"2026-11-02T{local}:00") for local in ("17:40", "17:45", "18:05", "18:10")]

    batch = read(
        answer(*rows, markers=[marker], **clocks_at("2026-11-02T18:11:00", "2026-11-02T12:26:00Z")),
        utc("2026-11-02T12:26:00Z"),
    )

    assert [f"{at:%H:%M}" for at in instants(batch)] == ["12:10", "12:15", "12:20", "12:25"]


def test_a_clock_that_was_set_ahead_after_the_newest_reading_moves_none() -> None:
    marker = {"type": "TIME_CHANGE", "timestamp": "2026-11-02T18:07:00", "data": {}}
    rows = [row(local) for local in ROWS_OF_A_TRAVEL[:2]]

    batch = read(
        answer(*rows, markers=[marker], **clocks_at("2026-11-02T18:08:00", "2026-11-02T12:08:00Z")),
        utc("2026-11-02T12:08:00Z"),
    )

    assert instants(batch) == INSTANTS_OF_A_TRAVEL[:2]


def test_a_gap_in_whose_middle_the_clock_was_put_right_is_a_gap() -> None:
    marker = {"type": "TIME_CHANGE", "timestamp": "2026-11-02T15:00:00", "data": {}}
    rows = [row(local) for local in ROWS_OF_A_TRAVEL]

    batch = read(
        answer(*rows, markers=[marker], **clocks_at("2026-11-02T18:16:00", "2026-11-02T18:16:00Z")),
        utc("2026-11-02T18:16:00Z"),
    )

    assert instants(batch) == [utc(f"{local}Z") for local in ROWS_OF_A_TRAVEL]


@pytest.mark.parametrize(
    ("name", "summer", "winter"),
    [
        ("Central European Standard Time", 120, 60),
        ("Central European Summer Time", 120, 60),
        ("Mitteleuropäische Zeit", 120, 60),
        ("Mitteleuropäische Sommerzeit", 120, 60),
        ("heure normale d’Europe centrale", 120, 60),
        ("heure d'été d'Europe centrale", 120, 60),
        ("Ora standard dell’Europa centrale", 120, 60),
        ("Eastern Standard Time", -240, -300),
        ("Pacific Daylight Time", -420, -480),
        ("India Standard Time", 330, 330),
        ("Nepal Time", 345, 345),
        ("GMT Standard Time", 60, 0),
        ("GMT Daylight Time", 60, 0),
        ("British Summer Time", 60, 0),
        ("Greenwich Mean Time", 0, 0),
        ("GMT", 0, 0),
        ("Keski-Euroopan normaaliaika", 120, 60),
        ("Keski-Euroopan kesäaika", 120, 60),
        ("Itä-Euroopan kesäaika", 180, 120),
        ("Gulf Standard Time", 240, 240),
        ("Arab Standard Time", 180, 180),
        # Dubai to Windows, Riyadh to a phone; and Apia or Pago Pago, a day apart.
        ("Arabian Standard Time", None, None),
        ("Samoa Standard Time", None, None),
        ("Coordinated Universal Time", 0, 0),
        ("Europe/Berlin", 120, 60),
        ("GMT+05:30", 330, 330),
        ("UTC-3", -180, -180),
        ("Zona desconocida", None, None),
        ("Europe/Nowhere", None, None),
        ("", None, None),
        ("../../etc/passwd", None, None),
        ("E" * 81, None, None),
    ],
)
def test_the_name_of_a_zone_gives_its_offset_at_that_time_of_year(
    name: str, summer: int | None, winter: int | None
) -> None:
    for month, expected in ((7, summer), (1, winter)):
        said = Clocks(clientTimeZoneName=name, currentServerTime=ms(f"2026-{month:02}-15T12:00:00Z"))
        found = times.offset_of(said, NOW)
        assert (found.minutes if found else None) == expected


def test_every_zone_of_the_table_is_one_that_python_knows() -> None:
    from evercgm.providers.medtronic import zones

    unknown = [name for name in zones._BY_NAME if zones.offset_min(name, NOW) is None]

    assert unknown == []


def test_an_account_is_named_by_a_hash_of_both_names() -> None:
    named = account_id_of("fixture.follower", "fixture.patient")

    assert "fixture" not in named
    assert len({named, account_id_of("fixture.follower", "fixture.child"), account_id_of("other", "x")}) == 3
