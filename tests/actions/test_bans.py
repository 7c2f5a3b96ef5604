"""A ban or a gate of our address, and a floor of the version, stop all who would meet them; not one after another."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from followed_world import FAMILY, LIBRE, Followed
from structlog.testing import capture_logs
from sync_world import Weather, World

from evercgm.actions.checkup_load import check_load
from evercgm.api.error_responses import problem_of
from evercgm.core.errors import CallsHeldBack, EvercgmError, OperatorMustAct, SignInsBanned, SignInsHeldBack
from evercgm.core.limits import sign_in_place
from evercgm.provider_kit.contract import VendorApp
from evercgm.provider_kit.send import metered
from evercgm.provider_kit.vendors import meters_of
from evercgm.providers import PROVIDERS
from evercgm.providers.libre.simulator.app import create_app
from evercgm.storage.budgets import Budgets

LEFT = (
    "select region, extract(epoch from until - clock_timestamp())::float8 from cgm_private.provider_pauses order by 1"
)
HOUR, DAY = 3600, 86_400


@dataclass
class Held(Followed):
    """With each call counted and held back as in a process."""

    app: Any

    def restart(self) -> None:
        """Another process: it knows of nothing but what stands in the database."""
        place, sign_ins = meters_of(PROVIDERS["libre"], LIBRE, Budgets(self.world.db), self.world.vendors.counts)
        http = httpx2.AsyncClient(transport=metered(httpx2.ASGITransport(self.app), place, sign_ins))
        self.world.vendors = replace(
            self.world.vendors,
            apps={**self.world.vendors.apps, LIBRE: VendorApp("world", "http://libre.test/libre")},
            clients={**self.world.vendors.clients, LIBRE: http},
        )

    def end_the_pause(self) -> None:
        self.world.sql("update cgm_private.provider_pauses set until = now() - interval '1 second'")
        self.restart()


@pytest.fixture
async def followed(world: World, tmp_path: Path) -> AsyncIterator[Held]:
    app = create_app(tmp_path / "libre")
    weather = Weather(app)
    opened = Held(world, app.state.cloud, weather, weather)
    opened.restart()
    yield opened
    app.state.cloud.state.ledger.close()


def pauses(followed: Held) -> dict[str, float]:
    """Seconds left, by region."""
    return dict(followed.world.sql(LEFT))


async def refusal_of_sign_in(followed: Held, who: str = FAMILY) -> EvercgmError:
    with pytest.raises(EvercgmError) as refused:
        await followed.connect(who)
    return refused.value


@pytest.mark.parametrize(
    ("ban", "at_least", "at_most"),
    [
        ({"status": 430}, 840, 900),
        ({"status": 476, "retry_after": 60}, 840, 900),
        ({"status": 476, "retry_after": 65_620}, 65_560, 65_620),
        ({"status": 476, "retry_after": 10**6}, DAY - 60, DAY),
    ],
)
async def test_a_ban_stops_every_sign_in_until_it_ends_and_no_reading_by_a_good_session(
    followed: Held, ban: dict[str, int], at_least: int, at_most: int
) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("login_ban", ban)
    first = await refusal_of_sign_in(followed)
    before = followed.calls("login")

    others = [await refusal_of_sign_in(followed) for _ in range(3)]
    result = await followed.world.sync(connection_id)

    assert isinstance(first, SignInsBanned)
    assert [type(other) for other in others] == [SignInsHeldBack] * 3
    assert followed.calls("login") == before
    assert pauses(followed).keys() == {"sign-in world"}
    assert at_least <= pauses(followed)["sign-in world"] <= at_most
    assert result is not None
    assert result.outcome == "succeeded"


async def test_a_gate_that_one_persons_sign_in_met_closes_nobody_elses(followed: Held) -> None:
    followed.cloud.set_fault("login_ban", {"status": 403}, count=1)

    first = await refusal_of_sign_in(followed)

    assert isinstance(first, OperatorMustAct)
    assert pauses(followed) == {}
    assert await followed.connect()


async def test_during_a_ban_no_kept_password_is_sent_and_nobodys_refresh_has_failed(followed: Held) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.age_session()
    followed.cloud.set_fault("tokens_ended", True)
    followed.cloud.set_fault("login_ban", {"status": 476, "retry_after": 65_620})
    await refusal_of_sign_in(followed)
    before = followed.calls("login")

    for _ in range(3):
        await followed.world.sync(connection_id, trigger="person")

    assert followed.calls("login") == before
    assert followed.world.status(connection_id) == ("connected", "rate_limited")
    failed = "select count(*) from cgm_private.audit_events where action = 'refresh_failed'"
    assert followed.world.sql(failed) == [(0,)]


async def test_a_try_that_a_ban_held_back_counts_as_none_of_the_six_an_hour(followed: Held) -> None:
    followed.cloud.set_fault("login_ban", {"status": 430})
    await refusal_of_sign_in(followed)

    for _ in range(8):
        assert isinstance(await refusal_of_sign_in(followed), SignInsHeldBack)


async def test_who_signs_in_during_a_ban_is_told_for_how_long_and_that_it_is_not_the_password(
    followed: Held,
) -> None:
    followed.cloud.set_fault("login_ban", {"status": 476, "retry_after": 65_620})
    told = [problem_of(await refusal_of_sign_in(followed)) for _ in range(2)]

    assert {problem.code for problem in told} == {"sign_ins_banned"}
    for problem in told:
        assert 65_500 <= int(problem.headers["Retry-After"]) <= 65_620
        assert "address" in problem.detail
        assert "not your password" in problem.detail
        assert "18 hours" in problem.detail


async def test_once_a_ban_is_over_one_sign_in_goes_first_and_a_second_ban_is_longer(followed: Held) -> None:
    followed.cloud.set_fault("login_ban", {"status": 430})
    await refusal_of_sign_in(followed)
    followed.end_the_pause()
    await refusal_of_sign_in(followed)
    twice = pauses(followed)["sign-in world"]
    followed.cloud.clear_faults()
    followed.end_the_pause()

    assert await followed.connect()
    assert 1740 <= twice <= 1800


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [(("cloudflare", 403), HOUR), (("minimum_version", "4.17.0"), HOUR), (("cloudflare", 429), 600)],
)
async def test_a_gate_a_floor_and_a_silent_429_pause_the_whole_place(
    followed: Held, trouble: tuple[str, object], seconds: int
) -> None:
    connection_id = await followed.connect()
    await followed.world.sync(connection_id)
    followed.cloud.set_fault(*trouble)
    await followed.world.sync(connection_id)
    followed.cloud.clear_faults()
    before = followed.calls("graph")

    await followed.world.sync(connection_id)

    assert followed.calls("graph") == before
    assert pauses(followed).keys() == {"world"}
    assert seconds - 60 <= pauses(followed)["world"] <= seconds
    assert isinstance(await refusal_of_sign_in(followed), CallsHeldBack)


async def test_the_floor_stays_known_while_the_place_is_paused_for_it(followed: Held) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("minimum_version", "4.17.0")
    await followed.world.sync(connection_id)

    reasons = followed.world.sql("select region, reason, over from cgm_private.provider_pauses")

    assert reasons == [("world", "app_version 4.17.0", False)]


async def test_the_end_of_a_pause_after_a_gate_is_one_call_that_is_answered(followed: Held) -> None:
    connection_id = await followed.connect()
    followed.cloud.set_fault("cloudflare", 403)
    await followed.world.sync(connection_id)
    followed.cloud.clear_faults()
    followed.end_the_pause()

    with capture_logs() as logs:
        await followed.world.sync(connection_id)

    assert [line["event"] for line in logs if line["event"].startswith("vendor_")] == ["vendor_resumed"]
    assert followed.world.status(connection_id) == ("connected", None)


async def test_doctor_names_a_ban_of_sign_ins_while_it_lasts(followed: Held) -> None:
    quiet = {check.id for check in await check_load(followed.world.db, [LIBRE])}
    followed.cloud.set_fault("login_ban", {"status": 430})
    await refusal_of_sign_in(followed)

    lines: dict[str, Any] = {check.id: check for check in await check_load(followed.world.db, [LIBRE])}

    (name,) = lines.keys() - quiet
    assert name == "sign-ins/libre/world"
    assert lines[name].status == "warn"
    assert "password" in lines[name].found


def test_no_connection_can_have_the_region_of_the_sign_ins() -> None:
    for provider in PROVIDERS.values():
        for region in provider.regions:
            assert sign_in_place((provider.route, region))[1] not in provider.regions
