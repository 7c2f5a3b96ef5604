"""Our way in against the simulated Share, over real HTTP."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dexcom_share.share_world import DAY, NAME, PASSWORD, ShareWorld, open_share

from evercgm.core.errors import ReconnectNeeded, SignInLocked, VendorChanged, VendorDenied, VendorTryLater
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.providers.dexcom_share import PROVIDER
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS


async def test_a_day_of_readings_is_there_at_once(share: ShareWorld) -> None:
    batch = await share.read(await share.sign_in())

    assert len(batch.readings) == share.held > 270
    assert batch.rejected == ()
    assert batch.account_id == ACCOUNTS[0].id
    assert share.opened_at - batch.readings[-1].measured_at < timedelta(minutes=6)
    assert {reading.display_offset_min for reading in batch.readings} == {-480}


@pytest.mark.parametrize("name", ["User7", "user7@example.org", "+15550100007"])
async def test_each_name_of_an_account_opens_the_same(share: ShareWorld, name: str) -> None:
    survey = await PROVIDER.survey(share.http, share.vendor, (await share.sign_in(name)).access)

    assert survey.account_id == ACCOUNTS[0].id
    assert survey.first is not None
    assert survey.last is not None
    assert timedelta(hours=23) < survey.last - survey.first < DAY


async def test_an_account_without_readings_is_connected_and_empty(share: ShareWorld) -> None:
    tokens = await share.sign_in("SandboxUser1", "evercgm-demo-1")

    survey = await PROVIDER.survey(share.http, share.vendor, tokens.access)

    assert (survey.account_id, survey.first, survey.last) == (ACCOUNTS[2].id, None, None)
    assert (await share.read(tokens)).readings == ()


async def test_what_is_all_unreadable_is_to_be_read_all_the_same(share: ShareWorld) -> None:
    share.trouble("time_text", "no_times")

    survey = await PROVIDER.survey(share.http, share.vendor, (await share.sign_in()).access)

    assert survey.first is not None
    assert survey.last is None


async def test_windows_overlap_without_another_reading(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    middle = share.opened_at - timedelta(hours=12)
    windows = Window(share.window.start, middle), Window(middle - timedelta(seconds=1), share.window.end)

    older, newer = [await PROVIDER.read(share.http, share.vendor, tokens.access, window) for window in windows]
    both = await share.read(tokens)

    keys = {reading.record_key for reading in older.readings} | {reading.record_key for reading in newer.readings}
    assert keys == {reading.record_key for reading in both.readings}
    assert len(keys) == share.held
    assert min(len(older.readings), len(newer.readings)) > 100


async def test_a_wrong_password_is_said_at_once_and_the_fifth_locks(share: ShareWorld) -> None:
    for _ in range(5):
        with pytest.raises(ReconnectNeeded, match="wrong_password"):
            await share.sign_in(password="not this")
    with pytest.raises(SignInLocked) as locked:
        await share.sign_in()

    assert locked.value.retry_after_s == 600
    assert share.calls() == {"AuthenticatePublisherAccount": 6}
    share.cloud.desk.move_clock(by=timedelta(minutes=10))
    assert await share.sign_in()


@pytest.mark.parametrize(
    "code", ["SSO_AuthenticateAccountNotFound", "SSO_AuthenticatePasswordInvalid", "SSO_InternalError"]
)
async def test_older_words_for_a_wrong_password_mean_the_same(share: ShareWorld, code: str) -> None:
    share.trouble("refusal_code", code)

    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await share.sign_in(name="nobody")


async def test_a_password_that_was_changed_asks_the_person_after_one_try(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    share.trouble("password_changed", "another", username=NAME)
    before = share.calls()["LoginPublisherAccountById"]

    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await PROVIDER.refresh(share.http, share.vendor, tokens.refresh)

    assert share.calls()["LoginPublisherAccountById"] == before + 1
    assert (await share.read(tokens)).readings


@pytest.mark.parametrize("how", ["not_found", "not_valid"])
async def test_an_ended_session_is_renewed_with_what_was_kept(share: ShareWorld, how: str) -> None:
    tokens = await share.sign_in()
    share.trouble("session_ended", how, count=1)

    with pytest.raises(VendorDenied) as denied:
        await share.read(tokens)
    renewed = await PROVIDER.refresh(share.http, share.vendor, tokens.refresh)

    assert denied.value.expired_token is True
    assert len((await share.read(renewed)).readings) == share.held
    with pytest.raises(VendorDenied):
        await share.read(tokens)


async def test_a_session_ends_by_itself_after_a_day(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    share.cloud.desk.move_clock(by=timedelta(hours=23, minutes=59))
    await share.read(tokens)
    share.cloud.desk.move_clock(by=timedelta(minutes=2))

    with pytest.raises(VendorDenied):
        await share.read(tokens)


async def test_a_wrong_region_looks_like_a_wrong_password(tmp_path: Path) -> None:
    async with open_share(tmp_path, region="eu") as share:
        share.trouble("region", "eu")
        with pytest.raises(ReconnectNeeded, match="wrong_password"):
            await share.sign_in()
        share.trouble("region", None)
        assert await share.sign_in()


async def test_zeros_in_the_place_of_an_id_are_a_wrong_password(share: ShareWorld) -> None:
    share.trouble("zero_uuid", "refusals")
    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await share.sign_in(password="not this")
    assert await share.sign_in()
    share.trouble("zero_uuid", "always", path="LoginPublisherAccountById")
    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await share.sign_in()


async def test_nobody_who_shares_is_for_the_person_to_mend(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    share.trouble("no_receiver", True, username=NAME)

    with pytest.raises(ReconnectNeeded, match="nobody_followed"):
        await share.read(tokens)


async def test_the_older_form_gives_the_same_readings(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    newer = await share.read(tokens)
    share.trouble("form", "legacy")
    older = await share.read(tokens)

    assert older == newer


@pytest.mark.parametrize("how", ["number", "spaced"])
async def test_arrows_in_another_spelling_are_the_same(share: ShareWorld, how: str) -> None:
    tokens = await share.sign_in()
    plain = await share.read(tokens)
    share.trouble("trend_text", how)

    assert await share.read(tokens) == plain


@pytest.mark.parametrize(("how", "trend"), [("misspelt", "notComputable"), ("unknown", "unknown")])
async def test_an_arrow_that_nobody_knows_costs_no_reading(share: ShareWorld, how: str, trend: str) -> None:
    share.trouble("trend_text", how)

    batch = await share.read(await share.sign_in())

    assert len(batch.readings) == share.held
    assert {reading.trend for reading in batch.readings} == {trend}


@pytest.mark.parametrize(
    ("how", "readable"), [("no_st", True), ("no_offset", True), ("no_times", False), ("words", False)]
)
async def test_times_are_read_or_kept_aside(share: ShareWorld, how: str, readable: bool) -> None:
    share.trouble("time_text", how)

    batch = await share.read(await share.sign_in())

    assert len(batch.readings) == (share.held if readable else 0)
    assert bool(batch.rejected) is not readable
    assert {rejected.reason for rejected in batch.rejected} <= {"bad_time"}


@pytest.mark.parametrize(
    ("how", "reason"), [("text", "unreadable"), ("null", "no_value"), ("error_code", "sensor_error")]
)
async def test_one_odd_record_costs_no_other(share: ShareWorld, how: str, reason: str) -> None:
    share.trouble("odd_record", how)

    batch = await share.read(await share.sign_in())

    assert [rejected.reason for rejected in batch.rejected] == [reason]
    assert len(batch.readings) == share.held - 1


async def test_a_record_from_the_future_is_kept_aside(share: ShareWorld) -> None:
    share.trouble("future_time", 48)

    batch = await share.read(await share.sign_in())

    assert [rejected.reason for rejected in batch.rejected] == ["future_time"]
    assert len(batch.readings) == share.held - 1


async def test_what_a_phone_uploads_late_appears_then(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    all_of_it = await share.read(tokens)
    share.trouble("late_batch", {"last_hours": 6, "in_hours": 2}, username=NAME)
    held_back = await share.read(tokens)
    share.cloud.desk.move_clock(by=timedelta(hours=2))
    later = await share.read(tokens)

    assert 60 < len(all_of_it.readings) - len(held_back.readings) <= 73
    missing = {r.record_key for r in all_of_it.readings} - {r.record_key for r in held_back.readings}
    assert missing <= {reading.record_key for reading in later.readings}


@pytest.mark.parametrize(
    ("trouble", "value", "expected"),
    [
        ("html", True, VendorTryLater),
        ("server_error", 503, VendorTryLater),
        ("cut_body", "dropped", VendorTryLater),
        ("cut_body", "short", VendorTryLater),
        ("client_error", 404, VendorChanged),
        ("client_error", 403, VendorDenied),
        ("unknown_fault", 500, VendorTryLater),
        ("unknown_fault", 400, VendorChanged),
        ("limits", "refuse", None),
    ],
)
async def test_a_bad_day_at_a_read_says_whether_to_try_again(
    share: ShareWorld, trouble: str, value: object, expected: type[Exception] | None
) -> None:
    tokens = await share.sign_in()
    share.trouble(trouble, value)

    if expected is None:
        assert (await share.read(tokens)).readings
        return
    with pytest.raises(expected):
        await share.read(tokens)


async def test_a_403_waits_an_hour_as_readings_are_kept_for_a_day_only(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    share.trouble("client_error", 403)

    with pytest.raises(VendorDenied) as denied:
        await share.read(tokens)

    assert denied.value.wait_s == 3600


async def test_an_outage_of_the_sign_in_is_no_wrong_password(share: ShareWorld) -> None:
    share.trouble("sign_in_outage", True, count=1)

    with pytest.raises(VendorTryLater):
        await share.sign_in()
    assert await share.sign_in()


async def test_a_restart_forgets_no_session_and_moves_no_reading(tmp_path: Path) -> None:
    start = datetime.now(UTC)
    async with open_share(tmp_path, now=start) as share:
        tokens = await share.sign_in()
        share.trouble("st_shift_s", 2.5, username=NAME)
        before = await share.read(tokens)
    async with open_share(tmp_path, now=start + timedelta(minutes=20)) as share:
        after = await share.read(tokens)

    first, last = after.readings[0].measured_at, before.readings[-1].measured_at
    assert [one for one in after.readings if one.measured_at <= last] == [
        one for one in before.readings if one.measured_at >= first
    ]
    assert last.microsecond == 500_000


async def test_no_password_and_no_session_is_in_what_is_raised(share: ShareWorld) -> None:
    tokens = await share.sign_in()
    share.trouble("session_ended", "not_found")
    with pytest.raises(VendorDenied) as denied:
        await share.read(tokens)
    with pytest.raises(ReconnectNeeded) as refused:
        await share.sign_in(password="a-secret-of-anna")

    session = json.loads(tokens.access.reveal())["session"]
    told = repr((denied.value, denied.value.__cause__, refused.value, tokens, Secret(PASSWORD)))
    assert session not in told
    assert "a-secret-of-anna" not in told
    assert PASSWORD not in told
