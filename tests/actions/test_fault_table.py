"""One table: fault of the vendor, what the person sees, what happens next, and that nothing is lost or doubled."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sync_world import World, hours

from evercgm.core.connection import MESSAGES

SOON = (timedelta(0), timedelta(minutes=2))
POLL = (timedelta(minutes=4), timedelta(minutes=6))
SLOWLY = (hours(0.9), hours(1.3))
# While these last the cloud's own truth is already the changed one.
CHANGES_OF_DATA = ("corrected_values", "new_record_ids", "receiver_dump", "order", "end_inclusive", "future_time")
HALF_A_DAY = (hours(11.9), hours(12.1))
FIRST_RUNG = (hours(1.9), hours(2.1))


@dataclass(frozen=True)
class Case:
    """``at_refresh``: the access token has run out first. ``ends``: the person must reconnect when it is over.

    ``reused``: the vendor has ended the stored refresh token by its own fault, so the person must as well.
    """

    name: str
    value: Any
    status: str
    reason: str | None
    wait: tuple[timedelta, timedelta] | None
    at_refresh: bool = False
    ends: bool = False
    reused: bool = False
    limits: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}={self.value}{' at a refresh' if self.at_refresh else ''}"


CASES = [
    # Passing failures: connected, tried again soon.
    Case("server_error", 503, "connected", "vendor_unavailable", SOON),
    Case("server_error", 500, "connected", "vendor_unavailable", SOON, at_refresh=True, limits={"path": "token"}),
    Case("cut_body", "dropped", "connected", "vendor_unavailable", SOON, limits={"path": "egvs"}),
    Case("rate_limited", "", "connected", "rate_limited", SOON),
    Case("rate_limited", "1800", "connected", "rate_limited", (hours(0.49), hours(0.7))),
    Case("rate_limited", "999999", "connected", "rate_limited", (hours(0.99), hours(1.3))),
    Case("token_error", "html", "connected", "vendor_unavailable", SOON, at_refresh=True),
    # Answers that nobody can read: our matter.
    Case("html", True, "error", "vendor_changed", SLOWLY, limits={"path": "egvs"}),
    Case("client_error", 404, "error", "vendor_changed", SLOWLY, limits={"path": "egvs"}),
    Case("client_error", 422, "error", "vendor_changed", SLOWLY, limits={"path": "egvs"}),
    # Records that nobody can read are set aside, and the window is read again.
    Case("unknown_enums", ["unit"], "error", "vendor_changed", SLOWLY),
    Case("system_time_text", "cut_short", "error", "vendor_changed", SLOWLY),
    # Refusals of data calls: never the person's matter.
    Case("unauthorized", "apigee", "error", "vendor_denied", SLOWLY),
    Case("forbidden", True, "error", "vendor_denied", HALF_A_DAY),
    # Refusals at the token endpoint.
    Case("client_secret_rotated", 400, "error", "operator_must_act", SLOWLY, at_refresh=True),
    Case("client_secret_rotated", 401, "error", "operator_must_act", SLOWLY, at_refresh=True),
    Case("token_error", "unauthorized_client", "error", "operator_must_act", SLOWLY, at_refresh=True),
    Case("token_error", "invalid_grant", "error", "sign_in_refused", FIRST_RUNG, at_refresh=True),
    Case("region", "eu", "error", "sign_in_refused", FIRST_RUNG, at_refresh=True),
    # The vendor rotated and its answer is no pair of tokens: the old one is a used one now.
    Case("token_answer", "no_refresh_token", "error", "vendor_changed", SLOWLY, at_refresh=True, reused=True),
    Case("token_answer", "oversize", "error", "vendor_changed", SLOWLY, at_refresh=True, reused=True),
    Case("token_answer", "utf16", "error", "vendor_changed", SLOWLY, at_refresh=True, reused=True),
    Case("token_answer", "expires_in_text", "connected", None, POLL, at_refresh=True),
    Case("token_answer", "expires_in_huge", "connected", None, POLL, at_refresh=True),
    # The person's own doing: the ladder first (tested elsewhere to its end), tokens kept till then.
    Case("consent_revoked", "at_once", "error", "sign_in_refused", FIRST_RUNG, ends=True),
    Case("password_changed", True, "error", "sign_in_refused", FIRST_RUNG, at_refresh=True, ends=True),
    # What an ordinary sync gets over by itself.
    Case("unauthorized", "empty", "connected", None, POLL, limits={"count": 1}),
    Case("slow", 0.3, "connected", None, POLL),
    Case("order", "oldest", "connected", None, POLL),
    Case("order", "shuffled", "connected", None, POLL),
    Case("end_inclusive", True, "connected", None, POLL),
    Case("empty", True, "connected", None, POLL),
    Case("delay_hours", 3, "connected", None, POLL),
    Case("unknown_enums", True, "connected", None, POLL),
    Case("future_time", 48, "connected", None, POLL),
    Case("system_time_text", "every", "connected", None, POLL),
    Case("display_time_text", "every", "connected", None, POLL),
    Case("late_batch", {"last_hours": 6, "in_hours": 2}, "connected", None, POLL),
    Case("corrected_values", {"last_hours": 6, "add_mg_dl": 7}, "connected", None, POLL),
    Case("new_record_ids", {"last_hours": 6}, "connected", None, POLL),
    Case("new_record_ids", {"last_hours": 6, "both": True}, "connected", None, POLL),
    Case("receiver_dump", {"days": 14, "in_hours": 0}, "connected", None, POLL),
    Case("zone_change", {"last_hours": 6, "in_hours": 2, "utc_offset_min": 330}, "connected", None, POLL),
    Case("window_limit_days", 29, "connected", None, POLL),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_fault_is_named_waited_out_and_leaves_the_whole_series(world: World, case: Case) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    tokens = sealed(world, connection_id)

    await set_fault(world, case)
    if case.at_refresh:
        world.expire_access_token(connection_id)
    await world.sync(connection_id)

    assert world.status(connection_id) == (case.status, case.reason)
    assert message(world, connection_id) == (MESSAGES[case.reason] if case.reason else None)
    assert_waits(world, connection_id, case.wait)
    assert all(sealed(world, connection_id))
    if case.reason in ("sign_in_refused", "operator_must_act"):
        assert sealed(world, connection_id) == tokens
    if case.name in CHANGES_OF_DATA:
        await assert_series_is_whole(world)
    await end_fault(world, case)
    await world.sync(connection_id)
    assert world.status(connection_id) == ("connected", None)
    await assert_series_is_whole(world)
    assert world.reuses() == 0


@pytest.mark.parametrize("case", [case for case in CASES if not case.at_refresh], ids=str)
async def test_a_fault_from_the_first_sync_on_loses_nothing_either(world: World, case: Case) -> None:
    connection_id = await world.connect()
    await set_fault(world, case)

    for _ in range(2):
        await world.sync(connection_id)

    assert world.status(connection_id)[0] in ("connected", "error")
    await end_fault(world, case)
    for _ in range(2):
        await world.sync(connection_id)
    assert world.status(connection_id) == ("connected", None)
    await assert_series_is_whole(world)


@pytest.mark.parametrize("path", ["egvs", "dataRange"])
async def test_an_account_that_seems_empty_at_first_is_read_whole_later(world: World, path: str) -> None:
    connection_id = await world.connect()
    await world.http.post("http://cloud.test/dexcom/control/faults", json={"set": {"empty": True}, "path": path})
    for _ in range(3):
        await world.sync(connection_id)

    await world.http.post("http://cloud.test/dexcom/control/faults", json={})
    await world.sync(connection_id)

    await assert_series_is_whole(world)


async def set_fault(world: World, case: Case) -> None:
    body = {"set": {case.name: case.value}, **case.limits}
    answer = await world.http.post("http://cloud.test/dexcom/control/faults", json=body)
    assert answer.status_code == 200, answer.text


async def end_fault(world: World, case: Case) -> None:
    await world.http.post("http://cloud.test/dexcom/control/faults", json={})
    if case.ends or case.reused:
        await world.connect()


def sealed(world: World, connection_id: str) -> tuple[str, str]:
    query = "select access_token, refresh_token from public.cgm_connections where id = %s"
    access, refresh = world.sql(query, connection_id)[0]
    return access, refresh


def message(world: World, connection_id: str) -> str | None:
    query = "select error_message from public.cgm_connections where id = %s"
    text: str | None = world.sql(query, connection_id)[0][0]
    return text


def assert_waits(world: World, connection_id: str, wait: tuple[timedelta, timedelta] | None) -> None:
    query = "select next_sync_at from cgm_private.sync_state where connection_id = %s"
    next_sync_at = world.sql(query, connection_id)[0][0]
    if wait is None:
        assert next_sync_at is None
        return
    assert wait[0] <= next_sync_at - datetime.now(UTC) + timedelta(seconds=2)
    assert next_sync_at - datetime.now(UTC) <= wait[1]


async def assert_series_is_whole(world: World) -> None:
    query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
    held = await world.truth()
    stored = [(at.replace(microsecond=0), value) for at, value in world.sql(query, world.person_id)]
    # A reading may have appeared since the sync.
    assert stored == held[: len(stored)]
    assert len(held) - len(stored) <= 1
