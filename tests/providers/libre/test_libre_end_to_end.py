"""Our client against the simulated LibreLinkUp cloud, a process of its own, over real HTTP."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from libre_process import DAY, Cloud, running, steady_trace

from evercgm.core.errors import (
    ChooseFirst,
    EvercgmError,
    OperatorMustAct,
    ReconnectNeeded,
    SignInLocked,
    SignInsBanned,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Survey
from evercgm.providers.libre import PROVIDER

ALEX, KIM = "2197178c-ec91-57c9-8823-7e6f48faa652", "fe685497-cdba-5800-a8c1-a571a8c7771e"
FOLLOWER, FAMILY = "follower@example.com", "family@example.com"
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("libre")
    with running(folder / "data", "--trace", str(steady_trace(folder / "trace.csv"))) as cloud:
        yield cloud


@pytest.fixture
async def cloud(running_cloud: Cloud) -> AsyncIterator[Cloud]:
    running_cloud.calm()
    async with running_cloud.http() as running_cloud.shared:
        yield running_cloud
    running_cloud.shared = None
    running_cloud.calm()


async def read(cloud: Cloud, tokens: Tokens, back: timedelta = HOUR) -> Batch:
    now = datetime.now(UTC)
    async with cloud.http() as http:
        return await PROVIDER.read(http, cloud.app, tokens.access, Window(now - back, now))


async def survey(cloud: Cloud, tokens: Tokens) -> Survey:
    async with cloud.http() as http:
        return await PROVIDER.survey(http, cloud.app, tokens.access)


async def failed(cloud: Cloud, tokens: Tokens) -> EvercgmError:
    with pytest.raises(EvercgmError) as caught:
        await read(cloud, tokens)
    return caught.value


def values(batch: Batch) -> dict[datetime, int]:
    return {reading.measured_at: reading.glucose_mg_dl for reading in batch.readings}


async def test_a_follower_gets_the_whole_history_and_the_present_value(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    before, batch, after = datetime.now(UTC), await read(cloud, tokens), datetime.now(UTC)

    truth = cloud.truth(ALEX)
    sure = (after - 12 * HOUR, before - timedelta(minutes=17))
    expected = {at: value for at, value in truth.items() if sure[0] < at < sure[1]}
    assert len(expected) > 130
    assert expected.items() <= values(batch).items() <= truth.items()
    (live,) = batch.live
    assert before - live.measured_at < timedelta(minutes=2)
    assert live.trend in ("singleDown", "fortyFiveDown", "flat", "fortyFiveUp", "singleUp")
    assert {reading.trend for reading in batch.readings} == {None}
    assert {(r.display_offset_min, r.device_id) for r in batch.readings} == {(60, "libre3")}
    assert {len(r.transmitter_hash or b"") for r in batch.readings} == {32}
    assert (batch.account_id, batch.rejected) == (ALEX, ())


async def test_the_account_is_found_on_its_own_host_and_its_survey_says_who_it_is(cloud: Cloud) -> None:
    before, asked_at = cloud.calls(), datetime.now(UTC)
    tokens = await cloud.sign_in(FOLLOWER)

    assert json.loads(tokens.access.reveal())["shard"] == "eu"
    assert cloud.calls()["login"] - before.get("login", 0) == 2
    found = await survey(cloud, tokens)
    assert (found.account_id, found.device_id) == (ALEX, "libre3")
    assert found.first is not None
    assert found.last is not None
    assert asked_at - found.last < timedelta(minutes=2)
    assert timedelta(days=13) < datetime.now(UTC) - found.first < timedelta(days=14, minutes=5)


async def test_of_a_family_the_chosen_one_is_read_in_mg_dl_each_15_minutes(cloud: Cloud) -> None:
    with pytest.raises(ChooseFirst) as caught:
        await cloud.sign_in(FAMILY)
    assert [choice.label for choice in caught.value.choices] == ["Alex Test", "Kim Test"]

    batch = await read(cloud, await cloud.sign_in(FAMILY, KIM))

    assert batch.account_id == KIM
    assert batch.readings
    assert values(batch).items() <= cloud.truth(KIM).items()
    assert {reading.device_id for reading in batch.readings} == {"libre2"}
    steps = {b.measured_at - a.measured_at for a, b in zip(batch.readings, batch.readings[1:], strict=False)}
    assert min(steps) > timedelta(minutes=14)


async def test_first_history_and_a_wide_gap_bring_the_scans_of_14_days_as_well(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)

    narrow, wide = await read(cloud, tokens, 11 * HOUR), await read(cloud, tokens, 14 * DAY)

    assert len(narrow.live) == 1
    # The trace is three days long before it began, and four scans a day.
    assert 10 <= len(wide.live) <= 14
    assert {reading.record_key.partition(":")[0] for reading in wide.live} == {"live"}
    assert wide.live[-1].measured_at == max(reading.measured_at for reading in wide.live)
    cloud.fault("logbook_alarms", True)
    again = await read(cloud, tokens, 14 * DAY)
    # A minute may begin between the two: the present value of the first is then a scan of the second, or gone.
    present = wide.live[-1].measured_at
    assert [one for one in again.live if one.measured_at < present] == list(wide.live[:-1])
    assert len(again.live) - len(wide.live) in (0, 1)


async def test_who_follows_nobody_or_somebody_without_readings_is_told_so(cloud: Cloud) -> None:
    with pytest.raises(ReconnectNeeded, match="nobody_followed"):
        await cloud.sign_in("nobody@example.com")

    tokens = await cloud.sign_in("new@example.com")

    batch, found = await read(cloud, tokens), await survey(cloud, tokens)
    assert (batch.readings, batch.live, batch.rejected) == ((), (), ())
    assert (found.first, found.last) == (None, None)


async def test_three_wrong_passwords_lock_the_account_and_the_lock_is_told(cloud: Cloud) -> None:
    cloud.fault("lock_rule", {"failures": 3, "interval": 60, "lockout": 300})
    for _ in range(3):
        with pytest.raises(ReconnectNeeded, match="wrong_password"):
            await cloud.sign_in(FAMILY, KIM, "wrong")

    with pytest.raises(SignInLocked) as caught:
        await cloud.sign_in(FAMILY, KIM)

    assert caught.value.retry_after_s == 300
    cloud.fault("lock_rule", {"failures": 100})
    await cloud.sign_in(FAMILY, KIM)


@pytest.mark.parametrize(
    ("name", "value", "expected", "said"),
    [
        ("login_step", "tou", ReconnectNeeded, "accept_terms"),
        ("login_step", "tou_pp", ReconnectNeeded, "accept_terms"),
        ("login_step", "pp", ReconnectNeeded, "accept_terms"),
        ("login_step", "verifyEmail", ReconnectNeeded, "verify_email"),
        ("login_step", "2faVerify", ReconnectNeeded, "two_factor"),
        ("login_step", "newStep", ReconnectNeeded, "vendor_step"),
        ("login_step", "no_ticket", ReconnectNeeded, "vendor_step"),
        ("wrong_password_word", "incorrect username/password", None, ""),
        ("locked", True, SignInLocked, "locked"),
        ("login_ban", {"status": 403}, OperatorMustAct, "gate"),
        ("login_ban", {"status": 429, "retry_after": 600}, VendorRateLimited, "limits"),
        ("login_ban", {"status": 430}, SignInsBanned, "address"),
        ("login_ban", {"status": 476, "retry_after": 65620}, SignInsBanned, "address"),
        ("login_redirect", "x/@evil.test", VendorChanged, "region"),
        ("login_redirect", "de", VendorChanged, "sent on"),
        ("maintenance", True, VendorTryLater, "maintenance"),
        ("html", True, VendorTryLater, "JSON"),
        ("cut_body", "short", VendorTryLater, "answer"),
        ("cut_body", "dropped", VendorTryLater, "answer"),
        ("server_error", 502, VendorTryLater, "502"),
        ("client_error", 404, VendorChanged, "404"),
        ("minimum_version", "4.17.0", OperatorMustAct, "no longer"),
        ("token_refused", "jwt", VendorTryLater, "token"),
    ],
)
async def test_a_sign_in_in_trouble_says_whose_turn_it_is(
    cloud: Cloud, name: str, value: object, expected: type[EvercgmError] | None, said: str
) -> None:
    cloud.fault(name, value)
    before = cloud.calls()

    if expected is None:
        await cloud.sign_in(FOLLOWER)
        return
    with pytest.raises(EvercgmError) as caught:
        await cloud.sign_in(FOLLOWER)

    assert type(caught.value) is expected
    assert said in str(caught.value)
    assert cloud.calls()["login"] - before.get("login", 0) <= 3
    assert cloud.calls().get("continue", 0) == before.get("continue", 0)


@pytest.mark.parametrize(
    ("name", "value", "expected", "expired"),
    [
        ("token_refused", "jwt", VendorDenied, True),
        ("token_refused", "session", VendorDenied, True),
        ("token_refused", "user", VendorDenied, True),
        ("data_redirect", "us", VendorDenied, True),
        ("data_redirect", "x/@evil.test", VendorDenied, True),
        ("cloudflare", 403, VendorDenied, False),
        ("minimum_version", "5", OperatorMustAct, None),
        ("unfollowed", "couldNotLoadPatient", ReconnectNeeded, None),
        ("unfollowed", "followerNotConnectToPatient", ReconnectNeeded, None),
        ("unfollowed", "follower not connect to patient", ReconnectNeeded, None),
        ("cloudflare", 429, VendorRateLimited, None),
        ("rate_limited", "120", VendorRateLimited, None),
        ("calls_per_minute", 0, VendorRateLimited, None),
        ("maintenance", True, VendorTryLater, None),
        ("html", True, VendorTryLater, None),
        ("cut_body", "short", VendorTryLater, None),
        ("server_error", 503, VendorTryLater, None),
        ("client_error", 400, VendorChanged, None),
    ],
)
async def test_a_data_call_in_trouble_says_whose_turn_it_is(
    cloud: Cloud, name: str, value: object, expected: type[EvercgmError], expired: bool | None
) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault(name, value)

    failure = await failed(cloud, tokens)

    assert type(failure) is expected
    assert getattr(failure, "expired_token", None) is expired


async def test_a_ban_of_sign_ins_leaves_the_readings_coming(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("login_ban", {"status": 476, "retry_after": 65620})

    batch = await read(cloud, tokens)

    assert len(batch.readings) > 130
    with pytest.raises(VendorTryLater, match="address"):
        async with cloud.http() as http:
            await PROVIDER.refresh(http, cloud.app, tokens.refresh)


@pytest.mark.parametrize("fault", [("tokens_ended", True), ("moved", "us")])
async def test_after_ended_tokens_and_a_move_one_sign_in_goes_on_with_the_same_person(
    cloud: Cloud, fault: tuple[str, object]
) -> None:
    tokens = await cloud.sign_in(FAMILY, KIM)
    cloud.fault(*fault)

    failure = await failed(cloud, tokens)
    async with cloud.http() as http:
        renewed = await PROVIDER.refresh(http, cloud.app, tokens.refresh)

    assert isinstance(failure, VendorDenied)
    assert failure.expired_token
    assert (await read(cloud, renewed)).account_id == KIM
    assert json.loads(renewed.access.reveal())["shard"] == ("us" if fault[0] == "moved" else "eu")


async def test_the_end_of_a_token_is_the_vendors(cloud: Cloud) -> None:
    cloud.fault("token_life_s", 3600)

    assert 3000 < (await cloud.sign_in(FOLLOWER)).lifetime_s <= 3600


async def test_the_data_of_somebody_whom_the_account_does_not_follow_stay_closed(cloud: Cloud) -> None:
    fresh = await cloud.sign_in(FOLLOWER)
    access = json.loads(fresh.access.reveal())
    strange = Secret(json.dumps(access | {"patient_id": KIM}))

    failure = await failed(cloud, Tokens(strange, fresh.refresh, fresh.expires_at))

    assert isinstance(failure, ReconnectNeeded)
    assert failure.reason == "unfollowed"


PRESENT = ["glucoseMeasurement", "glucoseItem"]


@pytest.mark.parametrize(
    "gone", [["sensor"], ["activeSensors"], ["patientDevice"], ["graphData"], PRESENT[:1], PRESENT[1:], PRESENT]
)
@pytest.mark.parametrize("name", ["nulls", "absent"])
async def test_fields_that_vanish_take_no_reading_with_them(cloud: Cloud, name: str, gone: list[str]) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault(name, gone)

    found = await survey(cloud, tokens)
    batch = await read(cloud, tokens)

    # A first sync reads from there on, and nothing where there is no such place.
    assert found.first is not None
    assert datetime.now(UTC) - found.first > 13 * DAY
    assert len(batch.readings) > 130 or gone == ["graphData"]
    # The present value comes twice.
    assert len(batch.live) == (0 if gone == PRESENT else 1)
    assert batch.rejected == ()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("low_flag", (39, "low")),
        ("low_limit", (40, None)),
        ("low_beyond", (39, "low")),
        ("low_zero", (39, "low")),
        ("low_null", (39, "low")),
        ("high_flag", (401, "high")),
        ("high_limit", (500, None)),
        ("high_beyond", (401, "high")),
        ("high_zero", (401, "high")),
        ("high_null", (401, "high")),
    ],
)
async def test_lo_and_hi_are_read_in_each_of_their_possible_forms(
    cloud: Cloud, how: str, expected: tuple[int, str | None]
) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("out_of_range", how)

    batch = await read(cloud, tokens)

    newest = (batch.readings[-1], batch.live[-1])
    assert [(reading.glucose_mg_dl, reading.flag) for reading in newest] == [expected] * 2


@pytest.mark.parametrize(("arrow", "expected"), [("0", "unknown"), ("6", "unknown"), ("null", None)])
async def test_an_arrow_that_says_nothing_is_no_flat_one(cloud: Cloud, arrow: str, expected: str | None) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("arrow", arrow)

    assert (await read(cloud, tokens)).live[-1].trend == expected


@pytest.mark.parametrize("kind", ["leading_zeros", "lower_case", "narrow_blank", "hours_24", "iso"])
async def test_each_way_of_writing_a_time_is_the_same_moment(cloud: Cloud, kind: str) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    before = await read(cloud, tokens)
    cloud.fault("time_text", kind)

    batch = await read(cloud, tokens)

    assert batch.rejected == ()
    assert values(before).items() & values(batch).items() >= set(list(values(before).items())[1:])


@pytest.mark.parametrize("kind", ["zero", "empty", "null", "absent"])
async def test_values_without_a_time_are_set_aside_and_counted(cloud: Cloud, kind: str) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("time_text", kind)

    batch = await read(cloud, tokens)

    assert (batch.readings, batch.live) == ((), ())
    assert {rejected.reason for rejected in batch.rejected} == {"bad_time"}


async def test_a_value_from_the_future_is_set_aside_alone(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("future_time", 3)

    batch = await read(cloud, tokens)

    assert [rejected.reason for rejected in batch.rejected] == ["future_time"]
    assert len(batch.readings) > 130


async def test_what_a_phone_measured_offline_comes_with_its_own_time(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("phone_offline", {"last_hours": 3, "in_hours": 1})
    offline = await read(cloud, tokens)
    cloud.calm()

    batch = await read(cloud, tokens)

    silent_since = datetime.now(UTC) - 3 * HOUR
    assert max(values(offline)) < silent_since
    assert max(reading.measured_at for reading in offline.live) <= silent_since
    assert values(offline).items() - values(batch).items() <= set(list(values(offline).items())[:1])
    assert len([at for at in values(batch) if at > silent_since]) >= 30


async def test_a_revised_history_keeps_its_keys_and_has_new_values(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    before = {reading.record_key: reading.glucose_mg_dl for reading in (await read(cloud, tokens)).readings}
    cloud.fault("revised", {"last_hours": 6, "add_mg_dl": 7})

    after = {reading.record_key: reading.glucose_mg_dl for reading in (await read(cloud, tokens)).readings}

    shared = before.keys() & after.keys()
    assert len(shared) >= len(before) - 1
    assert {after[key] - before[key] for key in shared} == {0, 7}


async def test_a_new_sensor_is_quiet_for_an_hour_and_then_another_one(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    first = await read(cloud, tokens)
    cloud.fault("sensor_change", {"last_hours": 3})

    batch = await read(cloud, tokens)

    changed_at = datetime.now(UTC) - 3 * HOUR
    warm = [at for at in values(batch) if changed_at + timedelta(minutes=1) < at < changed_at + timedelta(minutes=59)]
    assert warm == []
    hashes = {r.transmitter_hash for r in batch.readings if r.measured_at > changed_at + HOUR}
    assert len(hashes) == 1
    assert hashes.isdisjoint({reading.transmitter_hash for reading in first.readings} | {None})
    assert {r.transmitter_hash for r in batch.readings if r.measured_at < changed_at} == {None}


async def test_a_change_of_the_clocks_moves_the_offset_and_no_reading(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    before = await read(cloud, tokens)
    cloud.fault("clock_change", {"last_hours": 4})

    batch = await read(cloud, tokens)

    assert {reading.display_offset_min for reading in batch.readings} == {60, 120}
    assert len(values(before).items() & values(batch).items()) >= len(values(before)) - 1


async def test_a_sensor_at_rest_shows_one_old_value_and_costs_one_call(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("upload_delay_min", 2 * 24 * 60)
    before = cloud.calls()

    batch = await read(cloud, tokens, 2 * DAY + HOUR)

    assert batch.readings == ()
    assert [datetime.now(UTC) - reading.measured_at > 2 * DAY for reading in batch.live] == [True]
    assert cloud.calls().get("logbook", 0) == before.get("logbook", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gzip", True), ("ticket", "rotates"), ("reinvited", True), ("mmol_l", True), ("require_user_agent", True)],
)
async def test_what_is_only_another_form_changes_nothing(cloud: Cloud, name: str, value: Any) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    before = await read(cloud, tokens)
    cloud.fault(name, value)

    await read(cloud, tokens)
    # Once more with the same token, also where a newer one came beside the data.
    batch = await read(cloud, tokens)

    assert batch.account_id == ALEX
    assert len(values(before).items() & values(batch).items()) >= len(values(before)) - 1


async def test_a_slow_answer_is_waited_for(cloud: Cloud) -> None:
    tokens = await cloud.sign_in(FOLLOWER)
    cloud.fault("slow", 1.5)

    assert (await read(cloud, tokens)).readings
