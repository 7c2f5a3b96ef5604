"""Hostile token answers, codes of another sign-in, a rotated secret: nobody loses what works."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs
from sync_world import CALLBACK, CLIENT, World

from evercgm.actions import connect
from evercgm.actions.connect import Finished
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import VendorApp
from evercgm.providers.dexcom.simulator.state import Client

FAULTS = "http://cloud.test/dexcom/control/faults"
NO_PAIR = ["html", "no_refresh_token", "no_access_token", "oversize", "utf16"]
ODD_LIFE = ["expires_in_text", "expires_in_zero", "expires_in_negative", "expires_in_huge"]
PAIR = "select access_token, refresh_token from public.cgm_connections where person_id = %s"
EXPIRY = "select token_expires_at at time zone 'UTC' from public.cgm_connections where person_id = %s"


async def answer_oddly(world: World, kind: str | None) -> None:
    body: dict[str, Any] = {"set": {"token_answer": kind}} if kind else {}
    assert (await world.http.post(FAULTS, json=body)).status_code == 200


@pytest.mark.parametrize("kind", NO_PAIR)
async def test_a_first_consent_whose_answer_is_no_pair_connects_nothing(world: World, kind: str) -> None:
    await answer_oddly(world, kind)

    finished = await world.consent()

    assert (finished.outcome, finished.code) == ("error", "vendor_unavailable")
    assert world.sql("select count(*) from public.cgm_connections") == [(0,)]
    assert world.sql("select count(*) from cgm_private.oauth_attempts") == [(0,)]


@pytest.mark.parametrize("kind", NO_PAIR)
async def test_a_reconnect_whose_answer_is_no_pair_leaves_the_old_connection_syncing(world: World, kind: str) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = world.sql(PAIR, world.person_id)
    await answer_oddly(world, kind)

    finished = await world.consent()

    assert (finished.outcome, finished.code) == ("error", "vendor_unavailable")
    assert world.sql(PAIR, world.person_id) == before
    await answer_oddly(world, None)
    world.expire_access_token(connection_id)
    result = await world.sync(connection_id)
    assert result is not None
    assert (result.reason, world.status(connection_id)) == (None, ("connected", None))


@pytest.mark.parametrize("kind", ODD_LIFE)
async def test_a_lifetime_of_nonsense_connects_for_an_hour(world: World, kind: str) -> None:
    await answer_oddly(world, kind)
    before = datetime.now(UTC)

    connection_id = await world.connect()

    ((expires_at,),) = world.sql(EXPIRY, world.person_id)
    assert timedelta(minutes=59) < expires_at - before < timedelta(minutes=61)
    await answer_oddly(world, None)
    await world.sync(connection_id)
    assert world.status(connection_id) == ("connected", None)


@pytest.mark.parametrize("kind", ODD_LIFE)
async def test_a_refresh_with_a_lifetime_of_nonsense_holds_for_an_hour(world: World, kind: str) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    await answer_oddly(world, kind)
    before = datetime.now(UTC)

    await world.sync(connection_id)

    ((expires_at,),) = world.sql(EXPIRY, world.person_id)
    assert timedelta(minutes=59) < expires_at - before < timedelta(minutes=61)
    assert (world.status(connection_id), world.token_calls("refresh_token")) == (("connected", None), 1)


async def at_the_vendor(world: World) -> tuple[dict[str, str], str]:
    """A sign-in up to the vendor's answer: what it sends back, and the binding of the browser."""
    handover = await connect.begin(
        world.db, world.vendors, world.caller,
        person_id=world.person_id, route="dexcom", region="us", return_to="http://cgm.test/",
    )  # fmt: skip
    consent = await connect.go(world.db, world.vendors, handover.token)
    query = {name: values[0] for name, values in parse_qs(urlsplit(consent.url).query).items()}
    assert (query["redirect_uri"], query["code_challenge_method"]) == (CALLBACK, "S256")
    form = {**query, "username": "User7", "decision": "approve"}
    back = await world.http.post(consent.url.partition("?")[0], data=form)
    found = parse_qs(urlsplit(back.headers["location"]).query)
    return {name: values[0] for name, values in found.items()}, consent.binding


async def come_back(world: World, state: str, code: str, binding: str) -> Finished:
    return await connect.finish(
        world.db, world.vendors, state=state, code=code, error=None, binding=binding, session_owner=None
    )


async def test_a_code_of_another_sign_in_is_worth_nothing_though_state_and_browser_fit(world: World) -> None:
    mine, binding = await at_the_vendor(world)
    stolen, _elsewhere = await at_the_vendor(world)

    finished = await come_back(world, mine["state"], stolen["code"], binding)

    assert (finished.outcome, finished.code) == ("error", "code_refused")
    assert world.sql("select count(*) from public.cgm_connections") == [(0,)]


async def test_the_own_code_opens_with_the_own_verifier(world: World) -> None:
    mine, binding = await at_the_vendor(world)
    await at_the_vendor(world)

    assert (await come_back(world, mine["state"], mine["code"], binding)).outcome == "connected"


def our_secret(world: World, secret: str) -> None:
    """As after a restart with another DEXCOM_CLIENT_SECRET."""
    apps: Any = world.vendors.apps
    apps["dexcom", "us"] = VendorApp("us", "http://cloud.test/dexcom", CLIENT.client_id, Secret(secret), CALLBACK)


def alarms(logs: list[Any]) -> list[Any]:
    return [event["setting"] for event in logs if event["event"] == "operator_alarm"]


async def test_a_secret_rotated_at_the_vendor_calls_the_operator_expires_nobody_and_recovers_with_the_new_one(
    world: World,
) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = world.sql(PAIR, world.person_id)
    world.cloud.state.cloud.state.register([Client(CLIENT.client_id, "the-new-secret", CLIENT.redirect_uris)])
    world.expire_access_token(connection_id)

    with capture_logs() as logs:
        for _ in range(6):
            await world.sync(connection_id)
        reconnect = await world.consent()

    assert alarms(logs) == ["DEXCOM_CLIENT_SECRET"]
    assert "secret" not in str([{**event, "setting": ""} for event in logs])
    assert world.status(connection_id) == ("error", "operator_must_act")
    assert (reconnect.outcome, reconnect.code) == ("error", "operator_must_act")
    assert world.sql("select count(*) from public.cgm_connections where status = 'expired'") == [(0,)]
    assert world.sql(PAIR, world.person_id) == before
    our_secret(world, "the-new-secret")
    await world.sync(connection_id)
    assert (world.status(connection_id), world.reuses()) == (("connected", None), 0)
