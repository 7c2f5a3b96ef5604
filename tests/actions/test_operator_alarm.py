"""A refused client secret: one alarm for a region, nobody expired, and a check-up that says what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from sync_world import World, refusal

from evercgm.actions import checkup
from evercgm.storage.checkup import look


def alarms(logs: list[Any]) -> list[Any]:
    return [event for event in logs if event["event"] == "operator_alarm"]


async def refused_sync(world: World, connection_id: str) -> list[Any]:
    world.expire_access_token(connection_id)
    with capture_logs() as logs:
        await world.sync(connection_id)
    return alarms(logs)


async def other_connection(world: World) -> str:
    """A second person of the same owner, connected too."""
    first = world.person_id
    world.person_id = first[::-1]
    world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', world.person_id, world.caller.owner_id)
    connection_id = await world.connect("User6")
    world.person_id = first
    return connection_id


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
async def test_a_refused_client_secret_alarms_once_per_change_and_expires_nobody(world: World, code: str) -> None:
    one, two = await world.connect(), await other_connection(world)
    await world.sync(one)
    await world.sync(two)
    world.weather.answers["token"] = refusal(code)

    first = await refused_sync(world, one)
    again = await refused_sync(world, one)
    other = await refused_sync(world, two)

    assert [(event["provider"], event["region"], event["setting"]) for event in first] == [
        ("dexcom", "us", "DEXCOM_CLIENT_SECRET")
    ]
    assert first[0]["log_level"] == "error"
    assert "client-secret" not in str(first)
    assert (again, other) == ([], [])
    assert [world.status(id_) for id_ in (one, two)] == [("error", "operator_must_act")] * 2

    lines = {check.id: check for check in checkup.check_connections((await look(world.db)).groups, {("dexcom", "us")})}
    assert lines["connections/dexcom/us"].status == "fail"
    assert "DEXCOM_CLIENT_SECRET" in lines["connections/dexcom/us"].found

    del world.weather.answers["token"]
    for connection_id in (one, two):
        await world.sync(connection_id)
    assert [world.status(id_) for id_ in (one, two)] == [("connected", None)] * 2
    world.weather.answers["token"] = refusal(code)
    assert len(await refused_sync(world, one)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal("invalid_request"),
        refusal("unsupported_grant_type"),
        refusal("invalid_scope"),
        (404, b""),
        (403, b'{"error": "invalid_grant"}'),
        (200, b"<html></html>"),
        (302, b""),
    ],
    ids=str,
)
async def test_every_other_failure_of_the_token_endpoint_alarms_once_and_expires_nobody(
    world: World, answer: tuple[int, bytes]
) -> None:
    one, two = await world.connect(), await other_connection(world)
    world.weather.answers["token"] = answer

    told = [await refused_sync(world, id_) for id_ in (one, one, one, one, one, one, two)]

    assert [[event["reason"] for event in alarms] for alarms in told] == [["vendor_changed"], [], [], [], [], [], []]
    assert [world.status(id_) for id_ in (one, two)] == [("error", "vendor_changed")] * 2
    del world.weather.answers["token"]
    await world.sync(one)
    assert world.status(one) == ("connected", None)


async def test_one_refused_client_secret_is_a_failure_of_the_whole_region(world: World) -> None:
    one, two = await world.connect(), await other_connection(world)
    await world.sync(two)
    world.weather.answers["token"] = refusal("invalid_client")
    await refused_sync(world, one)

    seen = await look(world.db)

    assert [(check.id, check.status) for check in checkup.check_connections(seen.groups, {("dexcom", "us")})] == [
        ("connections/dexcom/us", "fail")
    ]
    assert checkup.exit_code(checkup.check_connections(seen.groups, {("dexcom", "us")})) == 1


async def test_rows_that_no_key_opens_are_counted_by_key_id(world: World) -> None:
    await world.connect()
    seen = await look(world.db)
    (mine,) = seen.sealed

    assert mine is not None
    assert checkup.check_sealed(seen, [mine]).status == "ok"
    lost = checkup.check_sealed(replace(seen, sealed={mine: 2, "0a1b2c3d": 7}), [mine])
    assert lost.status == "fail"
    assert "7 with 0a1b2c3d" in lost.found


async def test_a_region_that_is_not_set_up_is_called_so(world: World) -> None:
    one = await world.connect()
    world.vendors.apps.clear()  # type: ignore[attr-defined]
    await world.sync(one)

    (line,) = checkup.check_connections((await look(world.db)).groups, {("dexcom", "eu")})

    assert (line.status, world.status(one)) == ("fail", ("error", "operator_must_act"))
    assert "not set up" in line.found
    assert "DEXCOM_CLIENT_SECRET" in str(line.mend)


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (-6, "warn"), (6, "warn"), (61, "fail"), (-3600, "fail")])
def test_a_clock_that_is_off_is_told(seconds: int, status: str) -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)

    assert status == checkup.check_clock(now, now + timedelta(seconds=seconds), now).status


@pytest.mark.parametrize("off", [timedelta(hours=-3), timedelta(hours=3), timedelta(days=400)])
async def test_a_clock_that_is_off_expires_nobody_and_leaves_no_harm(world: World, off: timedelta) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)

    for _ in range(3):
        await world.sync(connection_id, clock=lambda: datetime.now(UTC) + off)
        assert world.status(connection_id)[0] in ("connected", "error")
        world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = %s", connection_id)
    await world.sync(connection_id)

    assert world.status(connection_id) == ("connected", None)
    assert world.reuses() == 0


@pytest.mark.parametrize(("pending", "status"), [([], "ok"), (["20261124000004"], "fail"), (None, "unknown")])
def test_missing_migrations_are_told(pending: list[str] | None, status: str) -> None:
    assert status == checkup.check_migrations(pending).status


async def test_an_account_that_the_vendor_closes_to_us_is_told_once(world: World) -> None:
    connection_id = await world.connect()
    world.weather.answers["egvs"] = (403, b"")

    told = await refused_sync(world, connection_id)
    again = await refused_sync(world, connection_id)

    assert [(event["connection_id"], event["status"]) for event in told] == [(connection_id, 403)]
    assert again == []
