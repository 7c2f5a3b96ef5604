"""What holds for every way in: each registered provider against its simulated cloud, over real HTTP, by its record."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from suite import TROUBLES, Order, World, adapter_of, keys_of, open_world, refused, values_of, with_trouble

from evercgm.actions.windows import hides_readings
from evercgm.core.errors import (
    GrantRefused,
    OperatorMustAct,
    ReconnectNeeded,
    SignInLocked,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens, is_due
from evercgm.provider_kit.contract import Password
from evercgm.providers import PROVIDERS

SECOND = timedelta(seconds=1)
every_way_in = pytest.mark.parametrize("route", list(PROVIDERS))


@pytest.fixture
async def world(route: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(route, tmp_path / "cloud") as opened:
        yield opened


@every_way_in
def test_a_way_in_has_each_trouble_or_a_reason_why_its_vendor_cannot(route: str) -> None:
    adapter = adapter_of(route)

    assert set(adapter.TROUBLES) | set(adapter.CANNOT) == set(TROUBLES)
    assert set(adapter.TROUBLES) & set(adapter.CANNOT) == set()
    assert all(adapter.TROUBLES.values())
    assert all(len(reason) > 20 for reason in adapter.CANNOT.values())


@every_way_in
def test_a_record_is_of_its_folder_and_says_what_a_person_must_know(route: str) -> None:
    provider = PROVIDERS[route]

    assert provider.route == route
    assert adapter_of(route).REGION in provider.regions
    assert all(region.base_url.startswith("https://") for region in provider.regions.values())
    assert not any(url.endswith("/") for region in provider.regions.values() for url in provider.hosts(region.base_url))
    assert provider.official is (provider.terms is None)


@every_way_in
async def test_a_sign_in_gives_tokens_that_last_and_read_one_account(world: World) -> None:
    tokens = await world.sign_in()

    survey = await world.provider.survey(world.http, world.vendor, tokens.access)
    batch = await world.read(tokens)

    assert tokens.access
    assert not is_due(tokens, datetime.now(UTC))
    assert survey.account_id
    assert batch.account_id in (None, survey.account_id)
    assert survey.first is None or survey.first.utcoffset() == timedelta(0)
    assert len(batch.readings) > 30


TOKENS_TELL_THE_ACCOUNT = ("dexcom_share", "libre", "medtronic")


@every_way_in
async def test_tokens_that_tell_their_account_tell_the_one_that_is_read_and_so_do_renewed_ones(world: World) -> None:
    tokens = await world.sign_in()
    told = world.provider.account_of(tokens)

    survey = await world.provider.survey(world.http, world.vendor, tokens.access)
    batch = await world.read(tokens)

    # A consent page names no account, so that only the vendor can tell.
    assert (told is not None) is (world.provider.route in TOKENS_TELL_THE_ACCOUNT)
    assert told in (None, survey.account_id)
    assert told in (None, batch.account_id)
    assert world.provider.account_of(await world.refresh(tokens)) == told
    assert world.provider.account_of(replace(tokens, access=Secret("of another form"))) is None


@every_way_in
async def test_readings_are_what_was_measured(world: World) -> None:
    batch = await world.read(await world.sign_in())

    values, truth = values_of(batch), await world.truth()
    until = world.opened_at - world.adapter.SHOWN_AFTER
    asked_for = {at for at in truth if world.window.start + 2 * SECOND <= at <= until}
    assert batch.rejected == ()
    assert values.items() <= truth.items()
    assert len(asked_for) > 30
    assert asked_for <= set(values)


@every_way_in
async def test_readings_have_the_form_of_the_house(world: World) -> None:
    batch = await world.read(await world.sign_in())

    for reading in (*batch.readings, *batch.live):
        assert reading.measured_at.utcoffset() == timedelta(0)
        assert isinstance(reading.glucose_mg_dl, int)
        assert 39 <= reading.glucose_mg_dl <= 401
        assert (reading.flag == "low") is (reading.glucose_mg_dl == 39)
        assert (reading.flag == "high") is (reading.glucose_mg_dl == 401)
        assert reading.transmitter_hash is None or len(reading.transmitter_hash) == 32
        assert 0 < len(reading.record_key) <= 128
        assert reading.record_key.isprintable()
    times = [reading.measured_at for reading in batch.readings]
    assert times == sorted(times)
    assert len(keys_of(batch)) == len(batch.readings)


@every_way_in
async def test_the_same_records_have_the_same_keys_at_each_read(world: World) -> None:
    tokens = await world.sign_in()

    first, second = await world.read(tokens), await world.read(tokens)
    again = await world.read(await world.sign_in())

    assert first == second == again


@every_way_in
async def test_windows_that_overlap_make_the_whole_and_nothing_twice(world: World) -> None:
    tokens = await world.sign_in()
    middle = world.opened_at - timedelta(hours=5)
    halves = Window(world.window.start, middle + SECOND), Window(middle, world.window.end)

    whole = await world.read(tokens)
    older, newer = await world.read(tokens, halves[0]), await world.read(tokens, halves[1])

    by_key = {reading.record_key: reading for batch in (older, newer) for reading in batch.readings}
    assert {key: by_key.get(key) for key in keys_of(whole)} == {one.record_key: one for one in whole.readings}
    if world.provider.shows_all:
        assert set(by_key) == keys_of(whole)
        for batch, window in zip((older, newer), halves, strict=True):
            assert all(window.start - SECOND <= one.measured_at <= window.end + SECOND for one in batch.readings)


@every_way_in
async def test_a_refresh_gives_tokens_that_read_the_same(world: World) -> None:
    tokens = await world.sign_in()
    before = await world.read(tokens)

    renewed = await world.refresh(tokens)

    assert not is_due(renewed, datetime.now(UTC))
    assert renewed.refresh
    assert await world.read(renewed) == before
    assert await world.read(await world.refresh(renewed)) == before


@every_way_in
async def test_a_token_whose_time_is_over_is_renewed(world: World) -> None:
    tokens = await world.sign_in()
    await world.move(tokens.expires_at - world.opened_at + timedelta(hours=2))

    ended: VendorDenied | None = None
    try:
        await world.read(tokens)
    except VendorDenied as denied:
        ended = denied

    # A vendor may be kinder than its word; where it is not, it says so that a refresh mends it.
    assert ended is None or ended.expired_token
    await world.read(await world.refresh(tokens))


@pytest.mark.parametrize(("route", "order"), with_trouble("ended"))
async def test_an_access_token_that_has_ended_says_so_and_is_renewed(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    before = await world.read(tokens)
    await world.bring(order)

    denied = await refused(world.read(tokens), VendorDenied)
    renewed = await world.refresh(tokens)

    assert isinstance(denied, VendorDenied)
    assert denied.expired_token
    assert await world.read(renewed) == before
    assert_tells_nothing(denied, tokens)


@pytest.mark.parametrize(("route", "order"), with_trouble("forbidden"))
async def test_a_call_that_is_forbidden_is_no_ended_token(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    denied = await refused(world.read(tokens), VendorDenied)

    assert isinstance(denied, VendorDenied)
    assert not denied.expired_token
    assert_tells_nothing(denied, tokens)


@pytest.mark.parametrize(("route", "order"), with_trouble("rate_limited", "rate_limited_in_silence"))
async def test_too_many_calls_are_told_with_the_wait_that_is_asked(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    limited = await refused(world.read(tokens), VendorRateLimited)

    assert isinstance(limited, VendorRateLimited)
    assert limited.retry_after_s == (120 if order in world.adapter.TROUBLES.get("rate_limited", ()) else None)
    assert_tells_nothing(limited, tokens)


@pytest.mark.parametrize(("route", "order"), with_trouble("outage", "cut"))
async def test_an_outage_is_tried_again_and_is_nobodys_fault(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    before = await world.read(tokens)
    await world.bring(order)

    failure = await refused(world.read(tokens), VendorTryLater)
    await world.clear()

    assert_tells_nothing(failure, tokens)
    assert await world.read(tokens) == before


@pytest.mark.parametrize(("route", "order"), with_trouble("page", "not_found"))
async def test_what_is_no_answer_is_never_taken_for_an_empty_one(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    for ask in (world.read(tokens), world.provider.survey(world.http, world.vendor, tokens.access)):
        assert_tells_nothing(await refused(ask, VendorTryLater, VendorChanged), tokens)


@pytest.mark.parametrize(("route", "order"), with_trouble("unknown_words"))
async def test_words_that_nobody_knows_cost_no_reading(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    before = values_of(await world.read(tokens))
    await world.bring(order)

    batch = await world.read(tokens)

    assert values_of(batch) == before
    assert batch.rejected == ()


@pytest.mark.parametrize(("route", "order"), with_trouble("odd_times"))
async def test_a_time_is_read_rightly_or_the_record_kept_aside(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    before = await world.read(tokens)
    await world.bring(order)

    batch = await world.read(tokens)

    wrong = {at: value for at, value in values_of(batch).items() if not is_near(at, value, values_of(before))}
    assert wrong == {}
    assert len(batch.readings) + len(batch.rejected) > 30
    assert all(rejected.reason and rejected.record_key for rejected in batch.rejected)


@pytest.mark.parametrize(("route", "order"), with_trouble("future", "odd_record"))
async def test_one_bad_record_costs_no_other(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    before = await world.read(tokens)
    await world.bring(order)

    batch = await world.read(tokens)

    missing = set(values_of(before)) - set(values_of(batch))
    assert set(values_of(batch)) <= set(values_of(before))
    assert len(missing) <= 1
    assert len(batch.rejected) <= 1


@pytest.mark.parametrize(("route", "order"), with_trouble("empty"))
async def test_an_empty_answer_is_no_error(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    batch = await world.read(tokens)

    assert (batch.readings, batch.rejected) == ((), ())


@pytest.mark.parametrize(("route", "order"), with_trouble("empty"))
async def test_an_account_that_shows_nothing_is_connected_and_no_outage(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    survey = await world.provider.survey(world.http, world.vendor, tokens.access)

    assert survey.account_id
    if survey.first is not None:
        # A sync reads from there on, and takes nothing where something is claimed for an outage.
        window = Window(survey.first, datetime.now(UTC) + timedelta(minutes=5))
        assert not hides_readings(window, await world.read(tokens, window), survey)


@pytest.mark.parametrize(("route", "order"), with_trouble("late"))
async def test_what_comes_late_is_read_with_the_keys_it_would_have_had(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    in_time = await world.read(tokens)
    await world.bring(order)
    held_back = await world.read(tokens)
    await world.move(timedelta(hours=3, minutes=1))

    later = await world.read(await world.refresh(tokens))

    late = keys_of(in_time) - keys_of(held_back)
    assert len(late) > 5
    assert keys_of(held_back) < keys_of(in_time)
    assert late <= keys_of(later)
    assert {at: value for at, value in values_of(in_time).items() if at not in values_of(held_back)}.items() <= (
        values_of(later).items()
    )


@pytest.mark.parametrize(("route", "order"), with_trouble("wrong_credentials"))
async def test_wrong_credentials_are_said_and_not_tried_again(world: World, order: Order) -> None:
    await world.bring(order)
    before = await world.calls()
    failure = await refused(
        world.adapter.sign_in_wrongly(world.http, world.vendor), ReconnectNeeded, GrantRefused, OperatorMustAct
    )

    assert max((await world.calls() - before).values()) == 1
    assert isinstance(failure, ReconnectNeeded if isinstance(world.provider.login, Password) else GrantRefused)
    assert getattr(failure, "reason", "wrong_password") == "wrong_password"
    assert await world.sign_in()


@pytest.mark.parametrize(("route", "order"), with_trouble("locked"))
async def test_a_locked_sign_in_says_how_long_to_rest(world: World, order: Order) -> None:
    await world.bring(order)
    for _ in range(10):
        try:
            await world.adapter.sign_in_wrongly(world.http, world.vendor)
        except ReconnectNeeded:
            continue
        except SignInLocked:
            break

    locked = await refused(world.sign_in(), SignInLocked)

    assert isinstance(locked, SignInLocked)
    assert locked.retry_after_s is None or locked.retry_after_s >= 30


@pytest.mark.parametrize(("route", "order"), with_trouble("sign_in_outage", "sign_in_page"))
async def test_a_bad_day_of_the_sign_in_is_no_wrong_password(world: World, order: Order) -> None:
    await world.bring(order)
    await refused(world.sign_in(), VendorTryLater, VendorChanged)

    await world.clear()
    assert await world.sign_in()


@pytest.mark.parametrize(("route", "order"), with_trouble("renewal_outage"))
async def test_a_bad_day_of_the_renewal_ends_no_access(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)
    failure = await refused(world.refresh(tokens), VendorTryLater)

    await world.clear()
    assert_tells_nothing(failure, tokens)
    assert await world.read(await world.refresh(tokens))


@pytest.mark.parametrize(("route", "order"), with_trouble("revoked"))
async def test_an_access_that_was_ended_at_the_vendor_is_for_the_person(world: World, order: Order) -> None:
    tokens = await world.sign_in()
    await world.bring(order)

    async def renew_and_read() -> None:
        await world.read(await world.refresh(tokens))

    failure = await refused(renew_and_read(), GrantRefused, ReconnectNeeded)

    assert_tells_nothing(failure, tokens)


def is_near(at: datetime, value: int, measured: dict[datetime, int]) -> bool:
    """Whether this was measured then, or within the minute where a text has no seconds."""
    return any(measured.get(at + n * SECOND) == value for n in range(-60, 61))


def secrets_of(tokens: Tokens) -> set[str]:
    """Each part of the tokens that must never be told."""
    found: set[str] = set()
    for secret in (tokens.access, tokens.refresh):
        text = secret.reveal()
        try:
            inner = json.loads(text)
        except ValueError:
            inner = None
        parts = inner.values() if isinstance(inner, dict) else [text]
        found |= {part for part in parts if isinstance(part, str) and len(part) > 8}
    return found


def assert_tells_nothing(failure: BaseException, tokens: Tokens) -> None:
    """No part of a token in an error, its causes, or what it would print."""
    told, at = "", failure
    while at is not None:
        told += f"{at!r} {at} {vars(at)!r}"
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)  # type: ignore[assignment]
    assert [secret for secret in secrets_of(tokens) if secret in told] == []


def test_the_search_for_secrets_finds_one() -> None:
    class Tell(Exception):
        pass

    tokens = Tokens(Secret('{"session": "a-marked-session"}'), Secret("a-marked-token"), datetime.now(UTC))

    for text in ("a-marked-session", "a-marked-token"):
        with pytest.raises(AssertionError):
            assert_tells_nothing(Tell(f"about {text}"), tokens)
    assert_tells_nothing(Tell("about nothing"), tokens)
