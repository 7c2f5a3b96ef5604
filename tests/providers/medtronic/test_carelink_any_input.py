"""Whatever a cloud or a person sends: an answer, or the one error that says so, and never a reading of nonsense."""

import contextlib
import json
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from evercgm.core.errors import BadInput, EvercgmError
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import VendorApp
from evercgm.providers.medtronic import accounts, claims, discovery, paste, times
from evercgm.providers.medtronic.hosts import EU, is_allowed
from evercgm.providers.medtronic.mapping import read_message
from evercgm.providers.medtronic.times import Clocks

NOW = datetime(2026, 11, 2, 13, 58, 18, tzinfo=UTC)
WORDS = [
    "SG",
    "UP",
    "NGP",
    "TIME_CHANGE",
    "NO_ERROR_MESSAGE",
    "SG_BELOW_40_MGDL",
    "MMOL_L",
    "Eastern Standard Time",
    "",
]
TIMES = [
    "2026-11-02T14:56:00", "2026-11-02T14:51:00.000Z", "Nov 2, 2026 14:56:00", "9999-12-31T23:59:59-14:00",
    "2026-11-02T14:56:00+14:00", "1970-01-01T00:00:00.000Z", "0001-01-01T00:00:00+14:00", "2026-02-30T10:00:00", "",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 20, 140, 400, 10**18, 10**30, 10**400, 1793627898000, 1793631481000, -1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*WORDS, *TIMES])
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
ROW = st.dictionaries(st.sampled_from(["kind", "sg", "sensorState", "timestamp", "datetime"]), SCALARS) | JSON
MARKER = st.dictionaries(st.sampled_from(["type", "timestamp", "dateTime"]), SCALARS) | JSON
FIELDS = [
    *Clocks.__struct_fields__, "medicalDeviceFamily", "medicalDeviceInformation", "pumpCommunicationState", "bgUnits",
    "lastSGTrend",
]  # fmt: skip
MESSAGE = st.builds(
    lambda fields, rows, last, markers: {**fields, "sgs": rows, "lastSG": last, "markers": markers},
    st.dictionaries(st.sampled_from(FIELDS), SCALARS | JSON, max_size=8),
    st.lists(ROW, max_size=8),
    ROW,
    st.lists(MARKER, max_size=2),
)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@given(MESSAGE | JSON, st.booleans())
@example({"sgs": [{"sg": 1}], "bgUnits": []}, False)
@example({"sgs": [{"sg": 10**400}]}, False)
def test_any_answer_gives_sound_readings_or_is_refused(message: object, nested: bool) -> None:
    with contextlib.suppress(EvercgmError):
        batch = read_message(as_json({"patientData": message} if nested else message), "account", NOW)
        for reading in batch.readings:
            assert 39 <= reading.glucose_mg_dl <= 401
            assert datetime(1999, 12, 31, tzinfo=UTC) < reading.measured_at <= NOW + timedelta(days=1, minutes=5)
            assert reading.display_offset_min is not None
            assert abs(reading.display_offset_min) <= 26 * 60
        assert len({reading.record_key for reading in batch.readings}) == len(batch.readings)


@given(st.text(max_size=45) | st.sampled_from(TIMES) | st.integers())
def test_any_text_is_a_time_of_our_century_or_none(text: object) -> None:
    found = times.parse(text)

    assert found is None or times.EARLIEST <= found.wall < times.LATEST


@given(
    st.text(max_size=200) | st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.text()
)
@example("com.medtronic.carepartner:/sso?code=a&state=\ud800", "\ud800")
@example("com.medtronic.carepartner://[/sso?code=a&state=s", "s")
@example('{"refresh_token": "r", "token_url": "https://[x"}', "s")
@example('{"refresh_token": "r", "access_token": "a.W10.b", "client_id": 5}', "s")
def test_any_pasted_text_is_read_or_refused_by_its_field(text: str, state: str) -> None:
    pasted = Secret(text)
    with contextlib.suppress(BadInput):
        if paste.is_bundle(pasted):
            read = paste.read_bundle(pasted, EU)
            assert read.token_url is None or is_allowed(read.token_url, EU)
        else:
            assert paste.read_code(pasted, Secret(state), "com.medtronic.carepartner:/sso")


@given(st.text(max_size=80))
def test_any_token_claims_something_or_nothing(token: str) -> None:
    assert isinstance(claims.read_claims(token), claims.Claims)


ENTRY = st.dictionaries(
    st.sampled_from(["region", "UseSSOConfiguration", "baseUrlCareLink", "baseUrlCumulus", "a"]),
    st.sampled_from(["EU", "a", EU + "/v13", "https://example.org/v13"]),
)


@given(JSON | st.fixed_dictionaries({"CP": st.lists(ENTRY)}))
def test_any_discovery_document_leads_to_allowed_hosts_or_is_refused(document: object) -> None:
    with contextlib.suppress(EvercgmError):
        for url in discovery.read_discovery(as_json(document), VendorApp("eu", EU)):
            assert is_allowed(url, EU)


@given(JSON)
def test_any_list_of_links_is_read_or_refused(links: object) -> None:
    with contextlib.suppress(EvercgmError):
        accounts.only_one(accounts.read_links(as_json(links)))
