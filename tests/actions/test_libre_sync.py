"""LibreLinkUp as a person meets it: a sign-in, whole syncs, and each trouble as a status of the connection."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from followed_world import FAMILY, FOLLOWER, Followed, open_followed
from sync_world import World

from evercgm.actions import sign_in
from evercgm.core.errors import ChooseFirst, ReconnectNeeded
from evercgm.providers.libre.simulator.people import KIM


@pytest.fixture
async def followed(world: World, tmp_path: Path) -> AsyncIterator[Followed]:
    async with open_followed(world, tmp_path / "libre") as opened:
        yield opened


async def test_the_first_sync_stores_history_scans_and_the_present_value_and_the_next_one_nothing_twice(
    followed: Followed,
) -> None:
    connection_id = await followed.connect()

    first = await followed.world.sync(connection_id)
    stored = followed.stored()
    await followed.world.sync(connection_id)

    assert first is not None
    assert (first.outcome, followed.world.status(connection_id)) == ("succeeded", ("connected", None))
    by_stream = followed.by_stream()
    assert by_stream["libre", "history"] >= 100
    assert by_stream["libre.live", "live"] >= 20
    assert len({at for at, _value in stored}) == len(stored)
    # At most one more value of history and one more minute came between the two.
    assert set(stored) <= set(followed.stored())
    assert len(followed.stored()) <= len(stored) + 2
    # The logbook is asked for at the first sync, and not again.
    assert followed.calls("logbook") == 1


async def test_while_the_logbook_fails_the_graph_is_stored_and_its_scans_come_afterwards(followed: Followed) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("server_error", 503, path="logbook")

    result = await followed.world.sync(connection_id)
    without = followed.by_stream()
    followed.cloud.clear_faults()
    await followed.world.sync(connection_id)

    assert result is not None
    assert (result.outcome, followed.world.status(connection_id)) == ("succeeded", ("connected", None))
    assert without["libre", "history"] >= 100
    assert without["libre.live", "live"] == 1
    assert followed.by_stream()["libre.live", "live"] >= 20


async def test_a_logbook_that_always_fails_is_given_up_after_some_polls(followed: Followed) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("client_error", 404, path="logbook")

    for _ in range(8):
        await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("connected", None)
    assert 4 <= followed.calls("logbook") <= 6


@pytest.mark.parametrize("logbook_fails", [False, True])
async def test_a_sensor_at_rest_is_connected_with_its_one_last_value(
    followed: Followed, *, logbook_fails: bool
) -> None:
    followed.cloud.set_fault("upload_delay_min", 3 * 24 * 60)
    if logbook_fails:
        followed.cloud.set_fault("client_error", 404, path="logbook")
    connection_id = await followed.connect("entry@example.com")

    result = await followed.world.sync(connection_id)

    assert result is not None
    assert (result.outcome, followed.world.status(connection_id)) == ("succeeded", ("connected", None))
    assert followed.by_stream().keys() == {("libre.live", "live")}


@pytest.mark.parametrize("how", ["nulls", "absent"])
async def test_a_history_without_a_present_value_is_stored_and_goes_on(followed: Followed, how: str) -> None:
    followed.cloud.set_fault(how, ["glucoseMeasurement", "glucoseItem"])
    connection_id = await followed.connect()

    result = await followed.world.sync(connection_id)
    await followed.world.sync(connection_id)

    assert result is not None
    assert (result.outcome, followed.world.status(connection_id)) == ("succeeded", ("connected", None))
    assert followed.by_stream()["libre", "history"] >= 100
    # The scans of the logbook, but no present value.
    assert followed.by_stream()["libre.live", "live"] >= 20
    assert followed.calls("logbook") == 1


async def test_a_person_without_readings_is_connected_and_costs_two_calls_a_poll(followed: Followed) -> None:
    connection_id = await followed.connect("new@example.com")
    before = followed.calls("connections") + followed.calls("graph") + followed.calls("logbook")

    for _ in range(3):
        result = await followed.world.sync(connection_id)
        assert result is not None
        assert (result.outcome, followed.world.status(connection_id)) == ("nothing_new", ("connected", None))

    assert followed.calls("connections") + followed.calls("graph") + followed.calls("logbook") - before == 6


async def test_of_a_family_the_chosen_one_is_read_and_one_sign_in_was_enough(followed: Followed) -> None:
    with pytest.raises(ChooseFirst) as several:
        await followed.connect(FAMILY)
    assert several.value.attempt is not None
    signed_in = followed.calls("login")

    world = followed.world
    connection_id = await sign_in.choose(world.db, world.vendors, world.caller, several.value.attempt, KIM.patient_id)
    await world.sync(connection_id)

    assert followed.calls("login") == signed_in
    assert world.status(connection_id) == ("connected", None)
    assert followed.by_stream()["libre", "history"] <= 49


@pytest.mark.parametrize("trouble", [("tokens_ended", True), ("moved", "us")])
async def test_ended_tokens_and_a_move_cost_one_sign_in_where_the_password_is_kept(
    followed: Followed, trouble: tuple[str, object]
) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault(*trouble)
    before = followed.calls("login")

    result = await followed.world.sync(connection_id)

    assert result is not None
    assert result.outcome in ("succeeded", "nothing_new")
    # One sign-in: the entry, and the host that it names.
    assert followed.calls("login") - before == 2
    assert followed.world.status(connection_id) == ("connected", None)


@pytest.mark.parametrize("ban", [{"status": 430}, {"status": 476, "retry_after": 60}, {"status": 476}])
async def test_a_ban_of_our_address_expires_nobody_however_often_it_is_tried_and_then_it_goes_on(
    followed: Followed, ban: dict[str, int]
) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("tokens_ended", True)
    followed.cloud.set_fault("login_ban", ban)
    before = followed.calls("login")

    for turn in range(1, 6):
        await followed.world.sync(connection_id)
        assert followed.world.status(connection_id) == ("connected", "vendor_unavailable")
        assert followed.waits(connection_id) >= timedelta(minutes=14)
        # Tries during a ban make it longer.
        assert 1 <= followed.calls("login") - before <= turn
    followed.cloud.clear_faults()
    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("connected", None)


async def test_a_gate_that_refuses_us_is_tried_again_in_time_for_what_the_vendor_keeps(followed: Followed) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.cloud.set_fault("cloudflare", 403)

    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("error", "vendor_denied")
    assert timedelta(minutes=59) <= followed.waits(connection_id) <= timedelta(minutes=73)


async def test_a_session_that_stays_refused_costs_one_sign_in_in_four_hours_and_is_an_outage(
    followed: Followed,
) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("token_refused", "session")
    before = followed.calls("login")

    for _ in range(5):
        await followed.world.sync(connection_id)
    refused, status = followed.calls("login") - before, followed.world.status(connection_id)
    followed.age_session(timedelta(hours=3))
    await followed.world.sync(connection_id)
    too_soon = followed.calls("login") - before
    followed.age_session(timedelta(hours=2))
    await followed.world.sync(connection_id)
    later = followed.calls("login") - before
    followed.cloud.clear_faults()
    await followed.world.sync(connection_id)

    # A sign-in: the entry, and the host that it names.
    assert (refused, too_soon, later) == (2, 2, 4)
    assert status == ("connected", "vendor_unavailable")
    assert followed.world.status(connection_id) == ("connected", None)
    assert followed.calls("login") - before == later


async def test_a_session_that_is_refused_just_after_the_sign_in_asks_for_no_other(followed: Followed) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("token_refused", "jwt")
    before = followed.calls("login")

    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("connected", "vendor_unavailable")
    assert followed.calls("login") == before
    failed_refreshes = "select count(*) from cgm_private.audit_events where action = 'refresh_failed'"
    assert followed.world.sql(failed_refreshes) == [(0,)]


async def test_sessions_of_an_hour_are_used_up_to_the_last_and_then_renewed_at_most_six_times_a_day(
    followed: Followed,
) -> None:
    followed.cloud.set_fault("token_life_s", 3600)
    connection_id = await followed.connect()
    before = followed.calls("login")

    followed.age_session(timedelta(minutes=57))
    result = await followed.world.sync(connection_id)
    kept = followed.calls("login") - before
    followed.age_session(timedelta(hours=3, minutes=5))
    await followed.world.sync(connection_id)

    assert result is not None
    assert (result.outcome, kept) == ("succeeded", 0)
    assert followed.calls("login") - before == 2
    assert followed.world.status(connection_id) == ("connected", None)


async def test_whoever_signs_in_again_is_not_made_to_wait_for_the_session_before(followed: Followed) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.cloud.set_fault("tokens_ended", True)
    await followed.world.sync(connection_id)
    waiting = followed.world.status(connection_id)

    assert await followed.connect() == connection_id
    await followed.world.sync(connection_id)

    assert waiting == ("connected", "vendor_unavailable")
    assert followed.world.status(connection_id) == ("connected", None)


async def test_ended_tokens_ask_for_the_password_where_it_is_not_kept(followed: Followed) -> None:
    connection_id = await followed.connect(keep=False)
    await followed.world.sync(connection_id)
    followed.cloud.set_fault("tokens_ended", True)
    before = followed.calls("login")

    for _ in range(4):
        await followed.world.sync(connection_id)
        followed.world.sql("update cgm_private.sync_state set next_sync_at = now()")

    assert followed.world.status(connection_id) == ("expired", "password_needed")
    assert followed.calls("login") == before


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("unfollowed", "followerNotConnectToPatient", ("error", "unfollowed")),
        ("minimum_version", "4.17.0", ("error", "operator_must_act")),
        ("cloudflare", 403, ("error", "vendor_denied")),
        ("cloudflare", 429, ("connected", "rate_limited")),
        ("maintenance", True, ("connected", "vendor_unavailable")),
        ("html", True, ("connected", "vendor_unavailable")),
        ("token_refused", "jwt", ("error", "vendor_denied")),
        ("login_ban", {"status": 476, "retry_after": 65620}, ("connected", None)),
    ],
)
async def test_each_trouble_of_the_data_is_a_status_that_says_whose_turn_it_is(
    followed: Followed, name: str, value: object, status: tuple[str, str | None]
) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault(name, value)

    await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == status


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("login_step", "tou", "accept_terms"),
        ("login_step", "2faVerify", "two_factor"),
        ("wrong_password_word", "incorrect username/password", "wrong_password"),
    ],
)
async def test_a_new_sign_in_that_only_the_person_can_mend_is_tried_once(
    followed: Followed, name: str, value: object, reason: str
) -> None:
    connection_id = await followed.connect()
    followed.age_session()
    followed.cloud.set_fault("tokens_ended", True)
    followed.cloud.set_fault(name, value)
    if reason == "wrong_password":
        followed.cloud.accounts[FOLLOWER] = replace(followed.cloud.accounts[FOLLOWER], password="another")
    before = followed.calls("login")

    for _ in range(3):
        await followed.world.sync(connection_id)

    assert followed.world.status(connection_id) == ("expired", reason)
    assert followed.calls("login") - before <= 2


async def test_a_wrong_password_connects_nobody(followed: Followed) -> None:
    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await followed.connect(password="wrong")

    assert followed.world.sql("select count(*) from public.cgm_connections") == [(0,)]
