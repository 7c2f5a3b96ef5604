"""Dexcom's answers, fixture by fixture, and the calls that fetch them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import EvercgmError, VendorChanged, VendorDenied, VendorRateLimited, VendorTryLater
from evercgm.core.reading import Batch, Reading, Rejected
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Survey, VendorApp
from evercgm.providers.dexcom import PROVIDER
from evercgm.providers.dexcom.mapping import read_data_range, read_devices, read_egvs, within
from evercgm.providers.dexcom.times import display_offset_min, parse_time

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ACCOUNT = "b644f093718b9a0e2c202a68162f6b7637556297b2d0556f9292e81fc1bf9f35"
APP = VendorApp("us", "http://dexcom.test", "client-1", Secret("key-1"), "https://app.test/callback")
RECORD: dict[str, object] = {
    "recordId": "id-1",
    "systemTime": "2025-01-30T23:49:55Z",
    "displayTime": "2025-01-30T15:49:55-08:00",
    "transmitterId": "f449",
    "transmitterTicks": 85273,
    "value": 101,
    "status": None,
    "trend": "flat",
    "trendRate": 0.5,
    "unit": "mg/dL",
    "rateUnit": "mg/dL/min",
    "displayDevice": "iOS",
    "transmitterGeneration": "g7",
}


def load(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def batch_of(*records: object) -> Batch:
    return read_egvs(json.dumps({"records": records}).encode(), NOW)


def one(**changes: object) -> Reading | Rejected:
    """What becomes of a sound record with these fields changed."""
    batch = batch_of(RECORD | changes)
    (result,) = batch.readings + batch.rejected
    return result


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("case", json.loads(load("time_parsing")), ids=lambda case: case["text"] or "empty")
def test_every_kind_of_time_text_is_read_as_the_table_says(case: dict[str, str | int | None]) -> None:
    parsed = parse_time(str(case["text"]))

    expected = at(str(case["instant_utc"])) if case["instant_utc"] else None
    assert (parsed.instant if parsed else None) == expected
    assert (parsed.offset_min if parsed else None) == case["offset_minutes"]


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-30T23:49:5",
        "2025-01-30T23:4",
        "2025-01-30T23",
        "2025-01-30T23:49:55+0",
        "2025-13-30T23:49:55Z",
        "2025-01-30T25:49:55Z",
        "2025-01-30T23:49:55+23:00",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-08:00",
        "٢٠٢٥-01-30T23:49:55Z",
        "2" * 10_000,
    ],
)
def test_a_time_text_cut_short_or_impossible_is_no_time(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("system", "display", "expected"),
    [
        ("2025-03-09T10:05:08", "2025-03-09T02:05:49", -480),
        ("2025-03-09T10:05:08", "2025-03-09T15:34:30", 330),
        ("2025-03-09T10:05:08", "2025-03-09T10:20:00", 0),
        ("2025-03-09T10:05:08", "2025-03-10T00:05:08", 840),
        ("2025-03-09T10:05:08", "2025-03-08T02:05:08", -480),
        ("2025-03-09T10:05:08", "2025-03-11T10:05:08", 0),
        ("2025-03-09T10:05:08Z", "2025-03-07T02:05:08-08:00", -480),
        ("2025-03-09T10:05:08Z", "never", None),
    ],
)
def test_the_display_offset_is_the_texts_own_or_the_next_half_hour(
    system: str, display: str, expected: int | None
) -> None:
    parsed = parse_time(system)

    assert parsed is not None
    assert display_offset_min(parsed, display) == expected


def test_a_phone_answer_becomes_readings_by_time_with_low_and_high_flagged() -> None:
    batch = read_egvs(load("egvs_g7_mobile"), NOW)

    assert batch.account_id == ACCOUNT
    assert batch.rejected == ()
    assert [(r.glucose_mg_dl, r.flag) for r in batch.readings] == [
        *((value, None) for value in (101, 104, 111, 124, 143, 150, 148, 139, 127, 109)),
        (39, "low"),
        (39, "low"),
        (44, None),
        (401, "high"),
    ]
    assert [r.measured_at for r in batch.readings] == sorted(r.measured_at for r in batch.readings)
    assert {(r.device_id, r.display_offset_min) for r in batch.readings} == {("g7/iOS", -480)}
    last = batch.readings[-1]
    assert last.record_key == "0f051cd8-24c5-5d3f-9d01-f7f458648fd7"
    assert last.measured_at == at("2025-01-31T01:04:55Z")
    assert (last.trend, last.trend_rate, last.transmitter_ticks) == ("singleUp", 2.2, 89773)
    assert last.transmitter_hash is not None
    assert len(last.transmitter_hash) == 32


def test_a_receiver_answer_without_zones_is_read_as_utc() -> None:
    batch = read_egvs(load("egvs_g6_receiver"), NOW)

    assert [(r.measured_at, r.glucose_mg_dl, r.display_offset_min, r.device_id) for r in batch.readings] == [
        (at("2025-03-09T09:50:08Z"), 181, -480, "g6/receiver"),
        (at("2025-03-09T09:55:08Z"), 176, -480, "g6/receiver"),
        (at("2025-03-09T10:00:08Z"), 172, -480, "g6/receiver"),
        (at("2025-03-09T10:05:08Z"), 170, -480, "g6/receiver"),
    ]


def test_an_empty_answer_is_an_empty_batch() -> None:
    assert read_egvs(load("egvs_empty"), NOW) == Batch((), (), ACCOUNT)


QUIRKS: dict[str, tuple[object, ...] | str] = {
    "time without seconds": ("2021-02-03T14:15:00Z", 120, -480, "g7/iOS"),
    "offset with seconds, nearest minute is right": ("2025-01-31T23:54:55Z", 120, -420, "g7/iOS"),
    "fractional seconds": ("2025-02-01T15:49:01.964Z", 120, -480, "g7/iOS"),
    "space instead of T": ("2025-02-01T15:54:01Z", 120, -480, "g7/iOS"),
    "null value": "no_value",
    "status ok (older enum)": ("2025-02-01T00:14:55Z", 120, -480, "g7/iOS"),
    "unknown enums": "unknown_unit",
    "undocumented generation spelling": ("2025-02-01T00:24:55Z", 120, -480, "g6 pro/touchscreenReceiver"),
    "generation never seen before": ("2025-02-01T00:29:55Z", 120, -480, "g8/iOS"),
    "empty transmitterId": ("2025-02-01T00:34:55Z", 120, -480, "g7/iOS"),
    "null transmitterId, fields absent": ("2025-02-01T00:39:55Z", 120, -480, "g7/iOS"),
    "systemTime in the future": "future_time",
    "displayTime off by a day from systemTime (wrong device date)": ("2025-02-01T00:49:55Z", 120, -480, "g7/iOS"),
    "mmol/L unit (documented, never seen)": ("2025-02-01T00:54:55Z", 121, -480, "g7/iOS"),
    "new field": ("2025-02-01T00:59:55Z", 120, -480, "g7/iOS"),
    "same reading again under a new recordId": ("2025-01-30T23:49:55Z", 101, -480, "g7/iOS"),
    "value zero": "sensor_error",
}


@pytest.mark.parametrize("case", json.loads(load("egvs_quirks")), ids=lambda case: case["case"])
def test_each_quirk_seen_is_a_reading_or_kept_aside(case: dict[str, dict[str, object]]) -> None:
    name, record = str(case["case"]), case["record"]
    expected = QUIRKS[name]
    batch = batch_of(record)

    if isinstance(expected, str):
        assert batch.readings == ()
        assert batch.rejected == (Rejected(str(record["recordId"]), expected, str(record["systemTime"])),)
    else:
        (reading,) = batch.readings
        seen = (reading.measured_at, reading.glucose_mg_dl, reading.display_offset_min, reading.device_id)
        assert seen == (at(str(expected[0])), *expected[1:])
        assert (reading.transmitter_hash is None) == (not record["transmitterId"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": 40}, (40, None)),
        ({"value": 400}, (400, None)),
        ({"value": 39}, (39, "low")),
        ({"value": 401}, (401, "high")),
        ({"value": 38}, (39, "low")),
        ({"value": 450}, (401, "high")),
        ({"value": 40, "status": "low"}, (39, "low")),
        ({"value": 400, "status": "high"}, (401, "high")),
        ({"value": 120, "status": "low"}, (120, None)),
        ({"value": 120.5}, (121, None)),
        ({"value": 2.1, "unit": "mmol/L"}, (39, "low")),
        ({"value": 10, "unit": "mmol/L"}, (180, None)),
    ],
)
def test_values_beyond_the_range_become_its_ends_with_a_flag(
    changes: dict[str, object], expected: tuple[int, str | None]
) -> None:
    reading = one(**changes)

    assert isinstance(reading, Reading)
    assert (reading.glucose_mg_dl, reading.flag) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": None}, "no_value"),
        ({"value": 0}, "sensor_error"),
        ({"value": 12}, "sensor_error"),
        ({"value": -1}, "implausible_value"),
        ({"value": 1001}, "implausible_value"),
        ({"value": 400, "unit": "mmol/L"}, "implausible_value"),
        ({"value": "101"}, "unreadable"),
        ({"value": True}, "unreadable"),
        ({"value": 10**400}, "unreadable"),
        ({"unit": "unknown"}, "unknown_unit"),
        ({"unit": None}, "unknown_unit"),
        ({"systemTime": "0001-01-01T00:00:00"}, "bad_time"),
        ({"systemTime": ""}, "bad_time"),
        ({"systemTime": None}, "unreadable"),
        ({"systemTime": "2026-11-25T12:00:01Z"}, "future_time"),
    ],
)
def test_what_is_no_reading_is_kept_aside_with_its_reason(changes: dict[str, object], reason: str) -> None:
    record = RECORD | changes
    text = record["systemTime"] or None

    assert one(**changes) == Rejected("id-1", reason, str(text) if text else None)


def test_a_record_exactly_a_day_ahead_is_still_a_reading() -> None:
    assert isinstance(one(systemTime="2026-11-25T12:00:00Z"), Reading)


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"trend": "doubleUp"}, "trend", "doubleUp"),
        ({"trend": "NotComputable"}, "trend", "notComputable"),
        ({"trend": "sideways"}, "trend", "unknown"),
        ({"trend": 4}, "trend", "unknown"),
        ({"trend": None}, "trend", None),
        ({"trendRate": -1}, "trend_rate", -1.0),
        ({"trendRate": 0.1, "rateUnit": "mmol/L/min"}, "trend_rate", 1.8),
        ({"rateUnit": "unknown"}, "trend_rate", None),
        ({"trendRate": "fast"}, "trend_rate", None),
        ({"trendRate": 1e300}, "trend_rate", None),
        ({"transmitterTicks": None}, "transmitter_ticks", None),
        ({"transmitterTicks": -1}, "transmitter_ticks", None),
        ({"transmitterTicks": 2**63}, "transmitter_ticks", None),
        ({"transmitterTicks": "7"}, "transmitter_ticks", None),
        ({"transmitterId": ["x"]}, "transmitter_hash", None),
        ({"transmitterGeneration": None}, "device_id", "unknown/iOS"),
        ({"transmitterGeneration": None, "displayDevice": ""}, "device_id", None),
        ({"displayDevice": "i\x00OS"}, "device_id", "g7/unknown"),
        ({"displayTime": 7}, "display_offset_min", None),
        ({"recordId": None}, "record_key", "egv:1738280995000"),
        ({"recordId": ""}, "record_key", "egv:1738280995000"),
        ({"recordId": "a\x00b"}, "record_key", "egv:1738280995000"),
        ({"recordId": "x" * 1000}, "record_key", "egv:1738280995000"),
    ],
)
def test_an_odd_field_beside_time_and_value_never_loses_the_reading(
    changes: dict[str, object], field: str, expected: object
) -> None:
    reading = one(**changes)

    assert isinstance(reading, Reading)
    assert reading.glucose_mg_dl == 101
    assert (
        getattr(reading, field) == pytest.approx(expected) if expected == 1.8 else expected == getattr(reading, field)
    )


def test_one_bad_record_does_not_cost_the_others() -> None:
    batch = batch_of("no record", RECORD, None, RECORD | {"recordId": "id-2", "value": None}, [])

    assert [reading.record_key for reading in batch.readings] == ["id-1"]
    assert sorted(record.reason for record in batch.rejected) == ["no_value", "unreadable", "unreadable", "unreadable"]


def test_a_record_without_an_id_is_kept_aside_under_one_name() -> None:
    assert batch_of(None, None).rejected == batch_of(None).rejected


def test_the_last_word_on_a_record_counts() -> None:
    batch = batch_of(RECORD, RECORD | {"value": 140})

    assert [reading.glucose_mg_dl for reading in batch.readings] == [140]


def test_readings_that_were_not_asked_for_are_left_to_their_own_window() -> None:
    batch = batch_of(*(RECORD | {"recordId": str(n), "systemTime": f"2025-01-30T23:4{n}:00Z"} for n in range(5)))

    asked = within(batch, Window(at("2025-01-30T23:41:01Z"), at("2025-01-30T23:42:59Z")))

    assert [reading.record_key for reading in asked.readings] == ["1", "2", "3"]


JUNK = [b"", b"<html></html>", b'{"records": [', b"[]", b"{}", b'{"records": null}', b"[" * 100_000]


@pytest.mark.parametrize("body", [*JUNK, b'{"recordType": "event", "records": []}', b'{"userId": 7, "records": []}'])
def test_an_answer_that_is_none_is_a_changed_vendor(body: bytes) -> None:
    with pytest.raises(VendorChanged):
        read_egvs(body, NOW)
    with pytest.raises(VendorChanged):
        read_devices(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(RECORD)), VALUES))
def test_no_record_whatever_is_in_it_raises(changes: dict[str, object]) -> None:
    try:
        batch = batch_of(RECORD | changes)
    except VendorChanged:
        # NaN and Infinity are no JSON: then the whole answer is none.
        assert any(word in json.dumps(changes) for word in ("NaN", "Infinity"))
        return

    assert len(batch.readings) + len(batch.rejected) == 1
    assert all(39 <= reading.glucose_mg_dl <= 401 for reading in batch.readings)


def test_a_data_range_gives_the_first_and_last_reading() -> None:
    held = read_data_range(load("data_range"))

    expected = (ACCOUNT, at("2024-10-28T04:15:02Z"), at("2025-01-31T01:04:55Z"))
    assert (held.account_id, held.first, held.last) == expected


def test_a_receivers_data_range_is_read_as_utc() -> None:
    held = read_data_range(load("data_range_egvs_only_receiver"))

    assert (held.first, held.last) == (at("2025-03-01T08:00:03Z"), at("2025-03-09T10:05:08Z"))


def test_a_new_account_holds_nothing_and_that_is_no_error() -> None:
    held = read_data_range(load("data_range_new_user"))

    assert (held.account_id, held.first, held.last) == (ACCOUNT, None, None)


def data_range(start: str, end: str) -> bytes:
    return json.dumps({"egvs": {"start": {"systemTime": start}, "end": {"systemTime": end}}}).encode()


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00", "1980-01-06T00:00:00", ""])
def test_a_history_that_begins_in_nonsense_begins_in_2015(start: str) -> None:
    assert read_data_range(data_range(start, "2025-01-31T01:04:55Z")).first == at("2015-01-01T00:00:00Z")


@pytest.mark.parametrize("body", [*JUNK[:4], data_range("2025-01-31T01:04:55Z", "soon"), b'{"egvs": {}}'])
def test_a_history_that_cannot_be_read_is_never_taken_for_none(body: bytes) -> None:
    with pytest.raises(VendorChanged):
        read_data_range(body)


def test_the_device_of_the_latest_upload_is_named() -> None:
    assert read_devices(load("devices")) == "g7/iOS"
    assert read_devices(b'{"records": []}') is None
    assert read_devices(b'{"records": [7, {"transmitterGeneration": "g6"}]}') == "g6/unknown"


@pytest.mark.parametrize("case", json.loads(load("devices_quirks")), ids=lambda case: case["case"])
def test_odd_alert_schedules_do_not_hide_a_device(case: dict[str, dict[str, object]]) -> None:
    record = case["record"]
    expected = f"{record['transmitterGeneration']}/{record['displayDevice']}"

    assert read_devices(json.dumps({"records": [record]}).encode()) == expected


class Cloud:
    """A vendor that gives fixtures, or one status to every call, and remembers what it was asked."""

    def __init__(self, status: int = 200, **bodies: bytes):
        self.status, self.bodies, self.asked = status, bodies, list[tuple[str, dict[str, str], str | None]]()

    async def answer(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        self.asked.append((kind, dict(request.query_params), request.headers.get("authorization")))
        return Response(self.bodies.get(kind, b"<html></html>"), self.status, {"Retry-After": "120"})

    def client(self) -> httpx2.AsyncClient:
        app = Starlette(routes=[Route("/v3/users/self/{kind}", self.answer)])
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))


async def test_a_window_is_asked_in_whole_seconds_of_utc_without_a_zone() -> None:
    cloud = Cloud(egvs=load("egvs_g7_mobile"))
    end = at("2025-01-31T01:04:55.2+01:00")
    async with cloud.client() as http:
        batch = await PROVIDER.read(http, APP, Secret("token-1"), Window(end - timedelta(minutes=10), end))

    query = {"startDate": "2025-01-30T23:54:55", "endDate": "2025-01-31T00:04:56"}
    assert cloud.asked == [("egvs", query, "Bearer token-1")]
    assert [reading.glucose_mg_dl for reading in batch.readings] == [104, 111, 124]


async def test_a_survey_asks_for_the_range_and_the_devices() -> None:
    cloud = Cloud(dataRange=load("data_range"), devices=load("devices"))
    async with cloud.client() as http:
        survey = await PROVIDER.survey(http, APP, Secret("token-1"))

    first, last = at("2024-10-28T04:15:02Z"), at("2025-01-31T01:04:55Z")
    assert survey == Survey(ACCOUNT, first, last, "g7/iOS")


async def test_unreadable_devices_only_leave_the_device_out() -> None:
    async with Cloud(dataRange=load("data_range_new_user")).client() as http:
        survey = await PROVIDER.survey(http, APP, Secret("token-1"))

    assert survey == Survey(ACCOUNT, None, None, None)


async def news(cloud: Cloud) -> datetime | None:
    assert PROVIDER.news is not None
    async with cloud.client() as http:
        return await PROVIDER.news.ask(http, APP, Secret("token-1"), at("2025-01-31T01:04:55.2+01:00"))


async def test_news_are_asked_for_with_a_zone_and_begin_with_the_first_new_reading() -> None:
    cloud = Cloud(dataRange=load("data_range"))

    assert await news(cloud) == at("2024-10-28T04:15:02Z")
    assert cloud.asked == [("dataRange", {"lastSyncTime": "2025-01-31T00:04:55Z"}, "Bearer token-1")]


async def test_no_news_and_a_question_that_is_not_understood_are_no_error() -> None:
    assert await news(Cloud(dataRange=load("data_range_new_user"))) is None
    assert await news(Cloud(400)) is None
    assert (
        await news(Cloud(dataRange=load("data_range").replace(b"2024-10-28T04:15:02Z", b"2001-01-01T00:00:00Z")))
        is None
    )
    with pytest.raises(VendorTryLater):
        await news(Cloud(503))


STATUSES: dict[int, type[EvercgmError]] = {
    200: VendorChanged,
    400: VendorChanged,
    401: VendorDenied,
    403: VendorDenied,
    404: VendorChanged,
    422: VendorChanged,
    429: VendorRateLimited,
    500: VendorTryLater,
    503: VendorTryLater,
}


@pytest.mark.parametrize("case", json.loads(load("http_errors")), ids=lambda case: case["case"])
async def test_each_error_of_a_data_call_says_what_must_be_done(case: dict[str, object]) -> None:
    status = int(str(case["http_status"]))
    async with Cloud(status).client() as http:
        with pytest.raises(EvercgmError) as caught:
            await PROVIDER.read(http, APP, Secret("token-1"), Window(NOW - timedelta(days=1), NOW))

    assert type(caught.value) is STATUSES[status]
