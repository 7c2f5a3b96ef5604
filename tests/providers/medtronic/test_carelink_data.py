"""CareLink's readings, our client against the simulated cloud: what each trouble makes of them, and of nothing else."""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from carelink_world import CareLink, values

from evercgm.core.errors import (
    EvercgmError,
    ReconnectNeeded,
    VendorChanged,
    VendorDenied,
    VendorError,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.reading import Batch
from evercgm.core.tokens import Tokens
from evercgm.providers.medtronic import kept
from evercgm.providers.medtronic.simulator import message
from evercgm.providers.medtronic.simulator.faults import KINDS
from evercgm.simulator_kit.faults import FaultError, read_text

FIXTURES = Path(__file__).parent / "fixtures"
DOCS = Path(__file__).parents[3] / "docs" / "simulators.md"
AN_HOUR = timedelta(hours=1)
Json = dict[str, Any]


@pytest.fixture
async def carelink(tmp_path: Path) -> AsyncIterator[CareLink]:
    world = CareLink(tmp_path / "data")
    yield world
    await world.close()


@pytest.fixture
async def tokens(carelink: CareLink) -> Tokens:
    return await carelink.connect()


def aged(tokens: Tokens, by: timedelta) -> Tokens:
    """As if they had been given out so long ago."""
    known = kept.opened(tokens.access, kept.Access)
    old = kept.Access(known.token, known.issued_at - by, known.view)
    return Tokens(kept.sealed(old), tokens.refresh, tokens.expires_at, tokens.lifetime_s)


async def test_a_day_of_readings_is_what_the_sensor_measured(carelink: CareLink, tokens: Tokens) -> None:
    batch = await carelink.read(tokens)

    assert values(batch) == carelink.truth()
    assert len(batch.readings) > 200
    assert batch.rejected == ()
    assert {reading.display_offset_min for reading in batch.readings} == {60}
    assert {reading.device_id for reading in batch.readings} == {"NGP/MMT-1886"}
    assert len({reading.record_key for reading in batch.readings}) == len(batch.readings)


async def test_the_same_reading_has_the_same_key_hours_later(carelink: CareLink, tokens: Tokens) -> None:
    before = await carelink.read(tokens)
    carelink.cloud.move_clock(by=timedelta(hours=2))
    after = await carelink.read(tokens)

    keys = {reading.measured_at: reading.record_key for reading in before.readings}
    shared = [reading for reading in after.readings if reading.measured_at in keys]
    assert len(shared) > 150
    assert all(keys[reading.measured_at] == reading.record_key for reading in shared)


HARMLESS: list[tuple[str, object]] = [
    *(("time_text", form) for form in ("none", "z", "zero_offset", "real_offset", "words")),
    *(("pump_offset_min", minutes) for minutes in (330, 345, -480, 0, 765, -570)),
    ("phone_offset_min", -300),
    ("clocks_missing", "pump"),
    ("clocks_missing", "both"),
    ("order", "newest"),
    ("order", "shuffled"),
    ("form", "flat"),
    ("form", "legacy"),
    ("bg_units", "MMOL_L"),
    ("bg_units", "FURLONGS"),
    ("family", "CC"),
    ("family", "SOMETHING_NEW"),
    ("trend", "SOMETHING_NEW"),
    ("marker", "SOMETHING_NEW"),
    ("needs_app_version", True),
    ("no_details", True),
    ("slow", 0.01),
    ("clock_change", {"minutes": -60, "minutes_ago": 90}),
    ("clock_change", {"minutes": -60, "minutes_ago": 3}),
    ("clock_change", {"minutes": -60, "minutes_ago": 700, "marked": False}),
]


def sensor_without_gaps(folder: Path) -> Path:
    """Three days, a value each five minutes."""
    at = datetime(2026, 1, 1)  # noqa: DTZ001 - a trace is in local time
    rows = [f"{at + timedelta(minutes=5 * n):%Y-%m-%dT%H:%M:%S},{80 + n % 97}" for n in range(864)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.csv").write_text("\n".join(["local_time,glucose_mg_dl", *rows]) + "\n")
    return folder / "trace.csv"


@pytest.fixture
async def steady(tmp_path: Path) -> AsyncIterator[CareLink]:
    """The cloud with a sensor that never misses a value, since a gap and a clock that was set look alike."""
    world = CareLink(tmp_path / "data", trace=sensor_without_gaps(tmp_path / "traces"))
    yield world
    await world.close()


@pytest.mark.parametrize(("fault", "value"), HARMLESS, ids=lambda value: str(value))
async def test_no_reading_moves_or_is_lost_by_another_way_of_writing(
    steady: CareLink, fault: str, value: object
) -> None:
    tokens = await steady.connect()
    steady.cloud.set_fault(fault, value)

    batch = await steady.read(tokens)

    assert values(batch) == steady.truth()
    assert batch.rejected == ()


@pytest.mark.parametrize("minutes_ago", [10, 90, 600])
async def test_a_clock_that_was_set_ahead_moves_no_reading_where_the_pump_tells_it(
    steady: CareLink, minutes_ago: int
) -> None:
    tokens = await steady.connect()
    steady.cloud.set_fault("clock_change", {"minutes": 60, "minutes_ago": minutes_ago})

    assert values(await steady.read(tokens)) == steady.truth()


async def test_a_clock_that_runs_four_minutes_fast_stays_in_the_instants(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("pump_drift_s", 240)

    batch = await carelink.read(tokens)

    fast = timedelta(minutes=4)
    assert {at - fast for at in values(batch)} == set(carelink.truth())


async def test_times_of_no_known_zone_are_refused_loudly(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("clocks_missing", "all")

    with pytest.raises(VendorChanged, match="zone"):
        await carelink.read(tokens)


async def test_values_in_mmol_are_refused_loudly(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("mmol_values", True)
    carelink.cloud.set_fault("bg_units", "MMOL_L")

    with pytest.raises(VendorChanged, match="mmol"):
        await carelink.read(tokens)


@pytest.mark.parametrize("time", ["kept", "epoch", "empty", "absent"])
@pytest.mark.parametrize("state", ["WARM_UP", "NO_DATA_FROM_PUMP", "SOMETHING_NEW", "NO_ERROR_MESSAGE"])
async def test_slots_without_a_value_are_holes_and_nothing_else(
    carelink: CareLink, tokens: Tokens, time: str, state: str
) -> None:
    carelink.cloud.set_fault("no_values", {"rows": 24, "state": state, "time": time})

    batch = await carelink.read(tokens)

    assert list(values(batch).items()) == list(carelink.truth().items())[:-24]
    assert batch.rejected == ()


@pytest.mark.parametrize(("side", "expected"), [("low", (39, "low")), ("high", (401, "high"))])
async def test_a_value_beyond_the_range_is_no_hole(
    carelink: CareLink, tokens: Tokens, side: str, expected: tuple[int, str]
) -> None:
    carelink.cloud.set_fault("beyond", side)

    newest = (await carelink.read(tokens)).readings[-1]

    assert (newest.glucose_mg_dl, newest.flag) == expected


async def test_a_value_with_an_error_state_is_kept_aside(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("error_state", "CALIBRATION_REQUIRED")

    batch = await carelink.read(tokens)

    assert [rejected.reason for rejected in batch.rejected] == ["sensor_error"]
    assert len(batch.readings) == len(carelink.truth()) - 1


async def test_another_value_in_the_same_minute_has_the_same_key(carelink: CareLink, tokens: Tokens) -> None:
    before = (await carelink.read(tokens)).readings[-1]
    carelink.cloud.set_fault("changed_value", 7)

    after = (await carelink.read(tokens)).readings[-1]

    assert after.record_key == before.record_key
    assert after.glucose_mg_dl == before.glucose_mg_dl + 7


async def test_what_the_phone_uploads_late_comes_with_its_own_time(steady: CareLink) -> None:
    tokens = await steady.connect()
    steady.cloud.set_fault("backfill", {"from_minutes": 90, "to_minutes": 30, "in_minutes": 45})
    held = values(await steady.read(tokens))
    assert len(held) < len(steady.truth()) - 10

    steady.cloud.move_clock(by=timedelta(minutes=46))
    assert values(await steady.read(tokens)) == steady.truth()


async def test_a_phone_that_uploads_nothing_leaves_the_newest_out(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("stale_minutes", 45)
    limit = carelink.cloud.clock() - timedelta(minutes=45)

    assert values(await carelink.read(tokens)) == {at: value for at, value in carelink.truth().items() if at <= limit}


@pytest.mark.parametrize("rows", [0, 1, 12])
async def test_an_answer_may_hold_fewer_rows(carelink: CareLink, tokens: Tokens, rows: int) -> None:
    carelink.cloud.set_fault("rows", rows)

    assert (
        list(values(await carelink.read(tokens)).items())
        == list(carelink.truth().items())[len(carelink.truth()) - rows :]
    )


@pytest.mark.parametrize("form", ["no_content", "no_body", "null", "list", "no_sgs", "never_started"])
async def test_no_data_is_success(carelink: CareLink, tokens: Tokens, form: str) -> None:
    carelink.cloud.set_fault("empty", form)

    batch = await carelink.read(tokens)

    assert (batch.readings, batch.rejected, batch.account_id is not None) == ((), (), True)


async def test_a_patient_without_a_sensor_and_a_pump_out_of_reach_give_nothing(carelink: CareLink) -> None:
    assert (await carelink.read(await carelink.connect("follower.new"))).readings == ()

    carelink.cloud.set_fault("pump_lost", True)
    assert (await carelink.read(await carelink.connect("follower.one"))).readings == ()


async def test_the_region_of_the_us_reads_its_own_people(tmp_path: Path) -> None:
    world = CareLink(tmp_path / "data", region="us")

    batch = await world.read(await world.connect("follower.us"))

    assert values(batch) == world.truth("kim.beta")
    assert {reading.device_id for reading in batch.readings} == {"CGM/MMT-5120"}
    await world.close()


# What a call is answered with.


@pytest.mark.parametrize(
    ("fault", "value", "expected"),
    [
        ("rate_limited", "30", VendorRateLimited),
        ("server_error", 504, VendorTryLater),
        ("html", 200, VendorTryLater),
        ("html", 403, VendorTryLater),
        ("html", 503, VendorTryLater),
        ("gone", True, VendorTryLater),
        ("client_error", 400, VendorTryLater),
        ("client_error", 404, VendorChanged),
    ],
)
async def test_each_answer_without_data_says_what_must_be_done(
    carelink: CareLink, tokens: Tokens, fault: str, value: object, expected: type[EvercgmError]
) -> None:
    carelink.cloud.set_fault(fault, value, path="message")

    with pytest.raises(VendorError) as failed:
        await carelink.read(tokens)

    assert type(failed.value) is expected


async def test_a_login_elsewhere_is_an_expired_token_and_then_a_refused_one(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("tokens_ended", "access")
    with pytest.raises(VendorDenied) as denied:
        await carelink.read(tokens)
    assert denied.value.expired_token
    renewed = await carelink.refresh(tokens)
    assert values(await carelink.read(renewed)) == carelink.truth()

    assert carelink.cloud.set_fault("login_elsewhere", True).hits >= 2
    with pytest.raises(VendorDenied):
        await carelink.read(renewed)
    with pytest.raises(EvercgmError, match="refuses"):
        await carelink.refresh(renewed)


async def test_a_403_counts_as_an_expired_token_once_and_as_a_refusal_with_a_fresh_one(
    carelink: CareLink, tokens: Tokens
) -> None:
    carelink.cloud.set_fault("forbidden", True)

    with pytest.raises(VendorDenied) as old:
        await carelink.read(aged(tokens, AN_HOUR))
    with pytest.raises(VendorDenied) as fresh:
        await carelink.read(await carelink.refresh(tokens))

    assert (old.value.expired_token, fresh.value.expired_token) == (True, False)
    assert fresh.value.wait_s == 600


async def test_a_link_that_the_patient_has_ended_is_told_from_maintenance(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("link_removed", True)

    with pytest.raises(ReconnectNeeded) as ended:
        await carelink.read(tokens)

    assert ended.value.reason == "unfollowed"


async def test_trouble_with_the_list_of_links_ends_no_connection(carelink: CareLink, tokens: Tokens) -> None:
    carelink.cloud.set_fault("link_removed", True)
    carelink.cloud.set_fault("server_error", 503, path="patients")

    with pytest.raises(VendorTryLater):
        await carelink.read(tokens)


@pytest.mark.parametrize(
    "case",
    [c for c in json.loads((FIXTURES / "http_errors.json").read_text())["cases"] if c.get("on") != "discover"],
    ids=lambda case: case["case"],
)
async def test_each_documented_status_is_met_as_documented(carelink: CareLink, tokens: Tokens, case: Json) -> None:
    faults: dict[object, tuple[str, object]] = {
        401: ("unauthorized", True),
        403: ("forbidden", True),
        400: ("client_error", 400),
        204: ("empty", "no_content"),
        429: ("rate_limited", "30"),
        504: ("server_error", 504),
        None: ("gone", True),
    }
    fault, value = faults[case["status"]]
    carelink.cloud.set_fault(fault, value, path="message")
    if case["status"] == 204:
        assert await carelink.read(tokens) == Batch((), (), (await carelink.read(tokens)).account_id)
        return
    with pytest.raises(VendorError) as failed:
        await carelink.read(tokens)

    expected = {401: (True, None), 403: (False, None), 429: (None, 30)}.get(case["status"], (None, None))
    found = (getattr(failed.value, "expired_token", None), getattr(failed.value, "retry_after_s", None))
    assert found == expected
    assert isinstance(failed.value, VendorDenied | VendorTryLater)


# The simulator itself.


def shape(value: object) -> object:
    """Names and types, without the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__ if not isinstance(value, int | float) or isinstance(value, bool) else "number"


async def test_the_simulated_answer_has_the_shape_of_the_stored_one(carelink: CareLink) -> None:
    stored = json.loads((FIXTURES / "display_message_780g.json").read_text())["patientData"]

    told = json.loads(json.dumps(message.build(carelink.cloud, carelink.cloud.patients["pat.alpha"], "follower.one")))

    assert set(told) <= set(stored)
    for name in ("lastSG", "activeInsulin"):
        assert set(told[name]) <= set(stored[name])
    assert shape(told["sgs"][-1]) == shape(stored["sgs"][-1])
    assert set(told["markers"][0]) == set(stored["markers"][0])
    assert shape({n: v for n, v in told.items() if not isinstance(v, dict | list)}) == shape(
        {n: stored[n] for n, v in told.items() if not isinstance(v, dict | list)}
    )


async def test_the_simulated_documents_have_the_shape_of_the_stored_ones(carelink: CareLink) -> None:
    stored = json.loads((FIXTURES / "discovery_v13.json").read_text())
    sso = json.loads((FIXTURES / "sso_auth0.json").read_text())["EU"]
    base = carelink.app.base_url

    told = (await carelink.http.get(f"{base}/connect/carepartner/v13/discover/android/3.6")).json()
    assert set(told) == set(stored)
    assert told["supportedCountries"] == stored["supportedCountries"]
    assert [shape(entry) for entry in told["CP"]] == [shape(entry) for entry in stored["CP"]]
    configured = (await carelink.http.get(told["CP"][1]["Auth0SSOConfiguration"])).json()
    assert shape(configured) == shape(sso)


@pytest.mark.parametrize(("version", "index"), [("3.4", 0), ("3.5", 1), ("4.0", 2), ("10.0", 2)])
async def test_each_version_of_the_app_gets_its_track(carelink: CareLink, version: str, index: int) -> None:
    stored = json.loads((FIXTURES / "discovery_wrong_track.json").read_text())["cases"][index]["document"]
    url = f"{carelink.app.base_url}/connect/carepartner/v13/discover/android/{version}"

    told = (await carelink.http.get(url)).json()

    for entry, expected in zip(told["CP"], stored["CP"], strict=False):
        assert set(entry) == set(expected)
        assert entry["baseUrlCumulus"].rpartition("/")[2] == expected["baseUrlCumulus"].rpartition("/")[2]


@pytest.mark.parametrize(("base", "status"), [("v10", 204), ("v12", 401), ("v14", 403)])
async def test_no_other_base_path_has_a_document(carelink: CareLink, base: str, status: int) -> None:
    url = f"{carelink.app.base_url}/connect/carepartner/{base}/discover/android/3.6"

    assert (await carelink.http.get(url)).status_code == status


async def test_a_program_without_a_name_is_blocked(carelink: CareLink) -> None:
    url = f"{carelink.app.base_url}/connect/carepartner/v13/discover/android/3.6"

    answer = await carelink.http.get(url, headers={"User-Agent": ""})

    assert (answer.status_code, answer.text[:6]) == (403, "<html>")


async def test_a_wrong_password_or_an_open_captcha_shows_the_page_again(carelink: CareLink) -> None:
    for changes in ({"password": "wrong"}, {"captcha": ""}, {"username": "nobody"}):
        with pytest.raises(AssertionError, match="Simulated CareLink"):
            await carelink.sign_in(**{"username": "follower.one", **changes})


async def test_a_revoked_login_is_over(carelink: CareLink, tokens: Tokens) -> None:
    mine = kept.opened(tokens.refresh, kept.Refresh)
    url = mine.token_url.replace("/token", "/revoke")

    answer = await carelink.http.post(url, data={"token": mine.token.reveal(), "client_id": mine.client_id})

    assert answer.status_code == 200
    with pytest.raises(VendorDenied):
        await carelink.read(tokens)


async def test_the_websites_own_calls_lead_to_the_flat_answer(carelink: CareLink, tokens: Tokens) -> None:
    token = kept.opened(tokens.access, kept.Access).token.reveal()
    headers = {"Authorization": f"Bearer {token}"}
    site = carelink.app.base_url + "/patient"

    settings = (await carelink.http.get(f"{site}/countries/settings", headers=headers)).json()
    links = (await carelink.http.get(f"{site}/m2m/links/patients", headers=headers)).json()
    asked = {"username": "follower.one", "role": "carepartner", "patientId": links[0]["username"]}
    told = (await carelink.http.post(settings["blePereodicDataEndpoint"], json=asked, headers=headers)).json()

    stored = json.loads((FIXTURES / "recent_data_legacy.json").read_text())["cases"][0]["body"]
    assert shape(told["sgs"][-1]) == {
        name: kind for name, kind in shape(stored["sgs"][-1]).items() if name in told["sgs"][-1]
    }  # type: ignore[attr-defined]
    assert (await carelink.http.get(f"{site}/monitor/data", headers=headers)).json() == {"deviceFamily": "BLE_X"}
    assert (await carelink.http.get(f"{site}/users/me/profile", headers=headers)).json()["username"] == "follower.one"


async def test_the_settings_of_a_country_name_the_older_answer(carelink: CareLink, tokens: Tokens) -> None:
    stored = json.loads((FIXTURES / "country_settings.json").read_text())
    token = kept.opened(tokens.access, kept.Access).token.reveal()

    url = f"{carelink.app.base_url}/patient/countries/settings"
    told = (await carelink.http.get(url, headers={"Authorization": f"Bearer {token}"})).json()

    assert shape(told) == {name: shape(stored[name]) for name in told}
    assert (
        urlsplit(told["blePereodicDataEndpoint"]).path
        == "/medtronic" + urlsplit(stored["blePereodicDataEndpoint"]).path
    )


async def test_without_a_patient_a_care_partner_is_answered_400(carelink: CareLink, tokens: Tokens) -> None:
    token = kept.opened(tokens.access, kept.Access).token.reveal()
    url = f"{carelink.app.base_url}/connect/carepartner/v13/display/message"
    for asked in ({}, {"patientId": "kim.beta"}, {"username": "e@mail.test", "patientId": "pat.alpha"}):
        body = {"username": "follower.one", "role": "carepartner", **asked}
        answer = await carelink.http.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 400


async def test_a_restart_forgets_no_token_and_moves_no_reading(carelink: CareLink, tokens: Tokens) -> None:
    before = values(await carelink.read(tokens))
    again = CareLink(carelink.data_dir)
    again.app = carelink.app

    after = values(await again.read(tokens))

    assert set(list(before.items())[5:]) <= set(after.items())
    await again.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_fault_can_be_typed_as_its_example_says(kind: Any) -> None:
    found, value = read_text(KINDS, kind.example)

    assert found is kind
    assert value is not None


async def test_the_control_path_turns_faults_on_tells_them_and_clears_them(carelink: CareLink, tokens: Tokens) -> None:
    control = f"{carelink.app.base_url}/control"
    order = {"set": {"forbidden": True}, "count": 1, "path": "message", "username": "follower.one"}
    assert (await carelink.http.post(f"{control}/faults", json=order)).status_code == 200
    with pytest.raises(VendorDenied):
        await carelink.read(tokens)
    assert values(await carelink.read(tokens)) == carelink.truth()

    told = (await carelink.http.get(f"{control}/faults")).json()["faults"]
    assert [(fault["name"], fault["hits"], fault["count"]) for fault in told] == [("forbidden", 1, 0)]
    assert (await carelink.http.post(f"{control}/faults", json={})).json() == {"faults": []}
    truth = (await carelink.http.get(f"{control}/patients/pat.alpha/truth")).json()
    assert len(truth) == len(carelink.truth())
    assert (await carelink.http.get(f"{control}/stats")).json()["calls"]["message"] == 2
    moved = (await carelink.http.post(f"{control}/clock", json={"advance_s": 3600})).json()
    assert moved["shift_s"] == 3600


@pytest.mark.parametrize(
    "body", [{"set": {"snow": 1}}, {"set": {"slow": "long"}}, {"sett": {}}, {"set": {"empty": "x"}}]
)
async def test_a_wrong_fault_is_refused_and_nothing_is_on(carelink: CareLink, body: Json) -> None:
    answer = await carelink.http.post(f"{carelink.app.base_url}/control/faults", json=body)

    assert answer.status_code == 400
    assert carelink.cloud.faults.active == []


def test_a_fault_for_an_unknown_user_is_refused(carelink: CareLink) -> None:
    with pytest.raises(FaultError, match="user"):
        carelink.cloud.set_fault("forbidden", True, username="Bob")


def test_every_fault_has_a_row_in_the_documentation() -> None:
    text = DOCS.read_text().partition("## CareLink")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(.+?)` \| (.+?) \|$", text, re.MULTILINE)

    assert rows == [(kind.name, kind.values, kind.example, kind.meaning) for kind in KINDS]
