"""What the operator is told is what mends it: at a sync, at a person's sign-in, at another way in, and by doctor."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from followed_world import LIBRE, Followed, open_followed
from structlog.testing import capture_logs
from sync_world import World
from two_ways import TwoWays, open_two_ways

from evercgm.actions import alarm, checkup
from evercgm.core.errors import OperatorMustAct, ReconnectNeeded, VendorDenied
from evercgm.storage.checkup import look

SET_UP = {LIBRE, ("dexcom", "us")}


@pytest.fixture
async def followed(world: World, tmp_path: Path) -> AsyncIterator[Followed]:
    async with open_followed(world, tmp_path / "libre") as opened:
        yield opened


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        yield opened


def alarms(logs: list[Any]) -> list[dict[str, Any]]:
    return [event for event in logs if event["event"] == "operator_alarm"]


async def told_at_sync(world: World, connection_id: str) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        await world.sync(connection_id)
    return alarms(logs)


async def told_at_sign_in(followed: Followed) -> list[dict[str, Any]]:
    with capture_logs() as logs, pytest.raises(OperatorMustAct):
        await followed.connect()
    return alarms(logs)


async def doctor(world: World) -> checkup.Check:
    seen = await look(world.db)
    return next(
        line
        for line in checkup.check_connections(seen.groups, SET_UP, seen.pauses)
        if line.id == "connections/libre/world"
    )


async def test_a_floor_of_the_version_names_its_setting_and_the_floor_in_the_log_and_in_doctor(
    followed: Followed,
) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("minimum_version", "4.17.0")

    (told,) = await told_at_sync(followed.world, connection_id)
    again = await told_at_sync(followed.world, connection_id)
    line = await doctor(followed.world)

    assert (told["setting"], told["cure"], told["floor"]) == ("EVERCGM_APP_VERSIONS", "app_version", "4.17.0")
    assert again == []
    assert line.status == "fail"
    assert "EVERCGM_APP_VERSIONS=libre=4.17.0" in str(line.mend)
    assert "secret" not in f"{line.found} {line.mend}"


async def test_a_sign_in_that_meets_the_floor_calls_the_operator_too(followed: Followed) -> None:
    followed.cloud.set_fault("minimum_version", "4.17.0")

    (told,) = await told_at_sign_in(followed)

    assert (told["setting"], told["floor"]) == ("EVERCGM_APP_VERSIONS", "4.17.0")
    assert (told["provider"], told["region"]) == LIBRE


async def test_a_sign_in_adds_no_alarm_to_that_of_a_connection(followed: Followed) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("minimum_version", "4.17.0")
    await followed.world.sync(connection_id)
    followed.world.sql("update cgm_private.provider_pauses set until = now()")

    assert await told_at_sign_in(followed) == []


async def test_a_gate_at_the_sign_in_is_told_as_one_and_names_no_setting(followed: Followed) -> None:
    followed.cloud.set_fault("cloudflare", 403)

    (told,) = await told_at_sign_in(followed)

    assert (told["cure"], told["setting"]) == ("address", None)


async def test_a_persons_own_mistake_calls_no_operator(followed: Followed) -> None:
    with capture_logs() as logs, pytest.raises(ReconnectNeeded):
        await followed.connect(password="wrong")

    assert alarms(logs) == []


async def test_where_no_floor_is_known_doctor_says_where_to_look(followed: Followed) -> None:
    await followed.connect()
    followed.world.sql("update cgm_private.sync_state set reason = 'operator_must_act'")

    line = await doctor(followed.world)

    assert line.status == "fail"
    assert "EVERCGM_APP_VERSIONS" in str(line.mend)
    assert "operator_alarm" in str(line.mend)


async def test_a_way_that_is_not_offered_any_more_is_told_by_the_setting_that_offers_it(followed: Followed) -> None:
    connection_id = await followed.connect()
    del followed.world.vendors.apps[LIBRE]  # type: ignore[attr-defined]

    (told,) = await told_at_sync(followed.world, connection_id)
    lines = checkup.check_connections((await look(followed.world.db)).groups, {("dexcom", "us")})

    assert (told["cure"], told["setting"]) == ("not_set_up", "EVERCGM_UNOFFICIAL")
    (line,) = [line for line in lines if line.id == "connections/libre/world"]
    assert "not set up" in line.found
    assert "EVERCGM_UNOFFICIAL" in str(line.mend)


async def test_another_way_in_that_answers_strangely_calls_the_operator_once(ways: TwoWays) -> None:
    await ways.world.connect()
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)
    ways.weather.answers["ReadPublisherLatestGlucoseValues"] = (200, b'{"x": 1}')

    told = [event for _ in range(3) for event in await told_at_sync(ways.world, connection_id)]

    assert [(event["provider"], event["region"], event["reason"]) for event in told] == [
        ("dexcom_share", "us", "vendor_changed")
    ]


async def test_a_way_in_that_is_the_only_one_is_told_once_and_not_as_the_official_cloud(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    await ways.world.sync(connection_id)
    ways.weather.answers["ReadPublisherLatestGlucoseValues"] = (200, b'{"x": 1}')

    told = [event for _ in range(3) for event in await told_at_sync(ways.world, connection_id)]

    assert [(event["provider"], event["reason"]) for event in told] == [("dexcom_share", "vendor_changed")]


@pytest.mark.parametrize("floor", ["4.17.0\nDEXCOM_CLIENT_SECRET", "<b>", "9" * 400, "4", "٤.١٧"])
def test_no_other_text_of_the_vendor_than_a_version_goes_with_the_error(floor: str) -> None:
    assert OperatorMustAct("x", cure="app_version", floor=floor).floor is None


@pytest.mark.parametrize("reason", ["rate_limited", "app_version", "app_version <b>", "", "address", "app_version 4.x"])
def test_what_stands_as_the_reason_of_a_pause_names_a_floor_only_where_it_is_one(reason: str) -> None:
    assert alarm.floor_in(reason) is None
    assert alarm.floor_in("app_version 4.17.0") == "4.17.0"


def test_a_refusal_of_one_account_is_none_of_a_region() -> None:
    failure = VendorDenied("x", expired_token=False)

    assert alarm.cure_of("dexcom", "us", failure).setting is None
