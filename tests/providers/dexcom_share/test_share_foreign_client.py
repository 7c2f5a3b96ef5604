"""pydexcom, a client that others wrote and many use, against the simulated Share: it behaves as they recorded."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import TypeVar

import pydexcom.const
import pytest
from dexcom_share.share_world import NAME, PASSWORD, ShareWorld
from pydexcom import Dexcom, Region
from pydexcom.errors import AccountError, AccountErrorEnum, ArgumentError, ServerError, ServerErrorEnum, SessionError

from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS

T = TypeVar("T")


@pytest.fixture(autouse=True)
def base_url(share: ShareWorld) -> Iterator[None]:
    """The address that its own constants hold, for one test."""
    before = pydexcom.const.DEXCOM_BASE_URLS[Region.US]
    pydexcom.const.DEXCOM_BASE_URLS[Region.US] = f"{share.vendor.base_url}/ShareWebServices/Services/"
    yield
    pydexcom.const.DEXCOM_BASE_URLS[Region.US] = before


async def apart(work: Callable[[], T]) -> T:
    """It blocks, and the cloud answers on this loop."""
    return await asyncio.to_thread(work)


async def test_it_reads_a_day_that_is_ours_value_for_value(share: ShareWorld) -> None:
    readings = await apart(lambda: Dexcom(username=NAME, password=PASSWORD).get_glucose_readings())

    ours = await share.read(await share.sign_in())
    theirs = {(one.datetime.astimezone(UTC), one.value, one.trend_direction.lower()) for one in readings}
    # They ask for all that Share keeps and we for a little less, with a second more at its edge.
    since = share.window.start + timedelta(seconds=2)
    assert {
        (one.measured_at, one.glucose_mg_dl, str(one.trend).lower()) for one in ours.readings if one.measured_at > since
    } == {one for one in theirs if one[0] > since}
    assert len(ours.readings) > 270
    assert readings[0].datetime.utcoffset() == timedelta(hours=-8)
    assert share.calls() == {
        "AuthenticatePublisherAccount": 2,
        "LoginPublisherAccountById": 2,
        "ReadPublisherLatestGlucoseValues": 2,
    }


async def test_it_signs_in_by_id_with_one_call(share: ShareWorld) -> None:
    newest = await apart(lambda: Dexcom(account_id=ACCOUNTS[0].id, password=PASSWORD).get_current_glucose_reading())

    assert newest is not None
    assert share.calls() == {"LoginPublisherAccountById": 1, "ReadPublisherLatestGlucoseValues": 1}


async def test_it_asks_for_few_and_gets_the_newest(share: ShareWorld) -> None:
    def ask() -> tuple[int, int, int]:
        dexcom = Dexcom(username=NAME, password=PASSWORD)
        none = dexcom.get_glucose_readings(minutes=0, max_count=10)
        return len(none), len(dexcom.get_glucose_readings(max_count=1)), len(dexcom.get_glucose_readings(minutes=61))

    assert (await apart(ask))[:2] == (0, 1)
    assert (await apart(ask))[2] in (12, 13)


async def test_it_signs_in_again_by_id_and_once_when_its_session_is_gone(share: ShareWorld) -> None:
    dexcom = await apart(lambda: Dexcom(username=NAME, password=PASSWORD))
    share.trouble("session_ended", "not_found", count=1)

    assert len(await apart(dexcom.get_glucose_readings)) > 270
    assert share.calls() == {
        "AuthenticatePublisherAccount": 1,
        "LoginPublisherAccountById": 2,
        "ReadPublisherLatestGlucoseValues": 2,
    }
    share.trouble("session_ended", "not_valid")
    with pytest.raises(SessionError):
        await apart(dexcom.get_glucose_readings)


async def test_it_reads_an_account_without_readings_as_none(share: ShareWorld) -> None:
    found = await apart(lambda: Dexcom(username="SandboxUser1", password="evercgm-demo-1").get_latest_glucose_reading())

    assert found is None


async def test_it_is_told_of_a_wrong_password_and_then_of_the_lock(share: ShareWorld) -> None:
    async def refusal(password: str) -> AccountErrorEnum:
        with pytest.raises(AccountError) as refused:
            await apart(lambda: Dexcom(username=NAME, password=password))
        assert isinstance(refused.value.enum, AccountErrorEnum)
        return refused.value.enum

    assert [await refusal("not this") for _ in range(5)] == [AccountErrorEnum.FAILED_AUTHENTICATION] * 5
    assert await refusal(PASSWORD) is AccountErrorEnum.MAX_ATTEMPTS


async def test_it_knows_the_older_word_for_a_wrong_password(share: ShareWorld) -> None:
    share.trouble("refusal_code", "SSO_InternalError")

    with pytest.raises(AccountError) as refused:
        await apart(lambda: Dexcom(username=NAME, password="not this"))
    assert refused.value.enum is AccountErrorEnum.FAILED_AUTHENTICATION


async def test_it_refuses_ids_of_zeros(share: ShareWorld) -> None:
    share.trouble("zero_uuid", "always")

    with pytest.raises(ArgumentError):
        await apart(lambda: Dexcom(username=NAME, password=PASSWORD))


async def test_it_is_told_of_maintenance(share: ShareWorld) -> None:
    share.trouble("html", True)

    with pytest.raises(ServerError) as refused:
        await apart(lambda: Dexcom(username=NAME, password=PASSWORD))
    assert refused.value.enum is ServerErrorEnum.INVALID_JSON


async def test_it_cannot_read_the_older_form_so_that_this_is_only_for_us(share: ShareWorld) -> None:
    share.trouble("form", "legacy")

    with pytest.raises(ArgumentError):
        await apart(lambda: Dexcom(username=NAME, password=PASSWORD).get_glucose_readings())
