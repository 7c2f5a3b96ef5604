"""Each way in without a consent page of ours answers each bad input by status, code and field, and changes nothing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_person, make_owner
from sign_in_clouds import SignInClouds, open_clouds

from evercgm.api.app import create_app
from evercgm.core.errors import VendorTryLater
from evercgm.providers.libre.simulator.people import ALEX, DEMO_PASSWORD, KIM
from evercgm.providers.medtronic import discovery
from evercgm.providers.medtronic.paste import REFUSALS
from evercgm.runtime import Runtime

FOLLOWER, FAMILY, NOBODY = "follower@example.com", "family@example.com", "nobody@example.com"
SHARE_USER, SHARE_PASSWORD = "User7", "evercgm-demo-7"
SSO = "com.medtronic.carepartner:/sso"


@dataclass
class Household:
    """Ada and Bob at the REST door of a service that offers the three clouds."""

    client: httpx2.AsyncClient
    clouds: SignInClouds
    database: Any
    ada: Owner
    bob: Owner

    async def post(self, path: str, body: dict[str, Any], owner: Owner | None = None) -> httpx2.Response:
        return await self.client.post(f"{BASE}{path}", json=body, headers=(owner or self.ada).bearer)

    async def libre(self, username: str = FOLLOWER, password: str = DEMO_PASSWORD, **more: Any) -> httpx2.Response:
        return await self.post("/libre/login", {"username": username, "password": password, **more})

    async def share(self, username: str = SHARE_USER, password: str = SHARE_PASSWORD) -> httpx2.Response:
        return await self.post("/dexcom/share/login", {"region": "us", "username": username, "password": password})

    async def address(self, username: str = "follower.one", owner: Owner | None = None) -> str:
        """What CareLink's page leads to."""
        page = await self.post("/medtronic/oauth", {"region": "eu"}, owner)
        assert page.status_code == 200, page.text
        return await self.clouds.leave_page(page.json()["authorization_url"], username)

    async def paste(self, owner: Owner | None = None, **body: str) -> httpx2.Response:
        return await self.post("/medtronic/callback", body, owner)

    async def connections(self, owner: Owner | None = None) -> list[str]:
        """The providers that an owner is connected to."""
        answer = await self.client.get(f"{BASE}/connections", headers=(owner or self.ada).bearer)
        return [row["provider"] for row in answer.json()["connections"]]


@pytest.fixture
async def household(runtime: Runtime, admin: Run, database: Any, tmp_path: Path) -> AsyncIterator[Household]:
    async with open_clouds(tmp_path / "clouds") as clouds:
        wired = replace(runtime, vendors=clouds.vendors)
        transport = httpx2.ASGITransport(app=create_app(wired))
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            ada, bob = await make_owner(wired, admin, "Ada"), await make_owner(wired, admin, "Bob")
            yield Household(client, clouds, database, ada, bob)


def said(answer: httpx2.Response) -> tuple[int, str, list[str]]:
    """Status, code, and the fields that are named."""
    problem = answer.json()
    return answer.status_code, problem["code"], [one["field"] for one in problem.get("errors") or []]


# By user name and password.


async def test_a_wrong_password_is_one_answer_and_one_try(household: Household) -> None:
    answers = [await household.libre(password="wrong"), await household.share(password="wrong")]

    assert [said(answer) for answer in answers] == [(409, "wrong_password", [])] * 2
    assert await household.connections() == []
    assert all("wrong" not in answer.json()["detail"].replace("wrong_password", "") for answer in answers)


async def test_a_locked_account_is_no_wrong_password_and_says_when_to_ask_again(household: Household) -> None:
    household.clouds.libre.set_fault("locked", True)
    household.clouds.share.desk.set_fault("lock_after", 1)
    await household.share(password="wrong")

    answers = [await household.libre(), await household.share()]

    assert [said(answer) for answer in answers] == [(409, "sign_in_locked", [])] * 2
    assert int(answers[0].headers["retry-after"]) == 300
    assert await household.connections() == []


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("tou", "accept_terms"),
        ("pp", "accept_terms"),
        ("tou_pp", "accept_terms"),
        ("verifyEmail", "verify_email"),
        ("2faVerify", "two_factor"),
        ("newStep", "vendor_step"),
    ],
)
async def test_each_step_that_the_vendor_wants_first_is_told_by_its_own_code(
    household: Household, step: str, code: str
) -> None:
    household.clouds.libre.set_fault("login_step", step)

    assert said(await household.libre()) == (409, code, [])
    assert await household.connections() == []


async def test_an_account_that_follows_nobody_is_told_so(household: Household) -> None:
    answers = [
        await household.libre(NOBODY),
        await household.paste(redirect_url=await household.address("follower.none")),
    ]

    assert [said(answer) for answer in answers] == [(409, "nobody_followed", [])] * 2
    assert await household.connections() == []


async def test_the_fields_of_a_sign_in_are_named_and_their_texts_are_not_repeated(household: Household) -> None:
    for body, field in (
        ({"username": FOLLOWER}, "password"),
        ({"password": "marked"}, "username"),
        ({"username": FOLLOWER, "password": "marked\nmarked"}, "password"),
        ({"username": "marked\x07", "password": "p"}, "username"),
        ({"username": FOLLOWER, "password": "marked" * 100}, "password"),
        ({"username": FOLLOWER, "password": "marked", "region": "mars"}, "region"),
        ({"username": FOLLOWER, "password": "marked", "pasword": "marked"}, "pasword"),
    ):
        answer = await household.post("/libre/login", body)
        assert said(answer) == (422, "bad_input", [field]), body
        assert "marked" not in answer.text


# Several people.


@pytest.mark.parametrize(
    ("way", "people"), [("libre", (ALEX.patient_id, KIM.patient_id)), ("medtronic", ("pat.alpha", "kim.beta"))]
)
async def test_of_several_people_one_is_chosen_and_somebody_else_is_refused_by_the_field(
    household: Household, way: str, people: tuple[str, str]
) -> None:
    if way == "libre":
        asked = await household.libre(FAMILY)
    else:
        asked = await household.paste(redirect_url=await household.address("follower.two"))
    assert said(asked) == (409, "choose_person", [])
    attempt = asked.json()["attempt"]
    assert [one["id"] for one in asked.json()["choices"]] == list(people)

    wrong = await household.post("/connections/confirm", {"attempt": attempt, "who": "somebody.else"})
    assert said(wrong) == (422, "bad_input", ["who"])
    assert wrong.json()["errors"][0]["choices"] == list(people)
    mere_yes = await household.post("/connections/confirm", {"attempt": attempt})
    assert said(mere_yes) == (422, "bad_input", ["who"])
    assert await household.connections() == []
    foreign = await household.post("/connections/confirm", {"attempt": attempt, "who": people[1]}, household.bob)
    assert said(foreign) == (404, "not_found", [])
    unnamed = await household.post("/connections/confirm", {"attempt": str(uuid4()), "who": people[1]})
    assert said(unnamed) == (404, "not_found", [])

    right = await household.post("/connections/confirm", {"attempt": attempt, "who": people[1]})
    assert right.status_code == 200, right.text
    assert await household.connections() == [way]
    again = await household.post("/connections/confirm", {"attempt": attempt, "who": people[1]})
    assert said(again) == (404, "not_found", [])


async def test_a_choice_while_the_vendor_is_silent_may_be_made_once_more(household: Household) -> None:
    attempt = (await household.libre(FAMILY)).json()["attempt"]
    household.clouds.libre.set_fault("maintenance", True)
    choice = {"attempt": attempt, "who": KIM.patient_id}

    assert said(await household.post("/connections/confirm", choice)) == (503, "vendor_unavailable", [])

    assert await household.connections() == []
    household.clouds.libre.clear_faults()
    assert (await household.post("/connections/confirm", choice)).status_code == 200


# What is pasted.


async def test_neither_and_both_fields_are_refused(household: Household) -> None:
    for body in ({}, {"redirect_url": f"{SSO}?code=c&state=s", "token_bundle": "{}"}):
        answer = await household.paste(**body)
        assert said(answer) == (422, "bad_input", ["redirect_url"])
        assert "token_bundle" in answer.json()["detail"]


NO_SIGN_INS = (
    (f"{SSO}?code=c&state=never-given", "was begun here within ten minutes"),
    (f"{SSO}?code=c", REFUSALS["state"]),
    ("https://carelink-login.minimed.eu/u/login?state=hKFo2SBfixture", REFUSALS["not_a_redirect"]),
    ("https://example.org/?code=c&state=never-given", REFUSALS["not_a_redirect"]),
    ("a word", REFUSALS["not_json"]),
    ("{", REFUSALS["not_json"]),
    ('{"access_token": "marked"}', REFUSALS["no_refresh_token"]),
    ('{"refresh_token": "marked", "client_secret": "marked"}', REFUSALS["legacy_mag"]),
    ('{"refresh_token": "marked", "token_url": "http://evil.test/token"}', REFUSALS["host"]),
    ('{"refresh_token": "marked", "client_id": "marked"}', REFUSALS["client"]),
    ('{"refresh_token": "marked"}', "was used already or is too old"),
)


@pytest.mark.parametrize("field", ["redirect_url", "token_bundle"])
async def test_whatever_is_no_sign_in_is_refused_by_the_name_of_the_field_that_it_came_in(
    household: Household, field: str
) -> None:
    for text, words in NO_SIGN_INS:
        answer = await household.paste(**{field: text})
        assert said(answer) == (422, "bad_input", [field]), text
        assert words in answer.json()["errors"][0]["message"]
        assert "marked" not in answer.text

    assert await household.connections() == []


async def test_an_address_is_good_once_for_the_owner_who_began_and_for_ten_minutes(
    household: Household, admin: Run
) -> None:
    used, foreign, late = [await household.address() for _ in range(3)]
    assert (await household.paste(redirect_url=used)).status_code == 201
    answers = [await household.paste(redirect_url=used), await household.paste(household.bob, redirect_url=foreign)]
    await admin("update cgm_private.oauth_attempts set expires_at = now() where state_hash is not null")
    answers.append(await household.paste(redirect_url=late))

    assert [said(answer) for answer in answers] == [(422, "bad_input", ["redirect_url"])] * 3
    assert await household.connections(household.bob) == []


async def test_another_address_than_the_one_it_ends_at_uses_no_sign_in_up(household: Household) -> None:
    address = await household.address()
    other = f"https://carelink-login.minimed.eu/u/login?{urlsplit(address).query}"

    wrong = await household.paste(redirect_url=other)
    right = await household.paste(redirect_url=address)

    assert said(wrong) == (422, "bad_input", ["redirect_url"])
    assert right.status_code == 201, right.text


async def test_a_code_that_the_vendor_no_longer_takes_is_the_fault_of_the_paste(household: Household) -> None:
    household.clouds.carelink.desk.set_fault("code_life_s", 0)

    answer = await household.paste(redirect_url=await household.address())

    assert said(answer) == (422, "bad_input", ["redirect_url"])
    assert "too old" in answer.json()["errors"][0]["message"]


async def test_a_sign_in_that_was_declined_at_the_vendor_is_told_so(household: Household) -> None:
    state = (await household.address()).partition("state=")[2]

    answer = await household.paste(redirect_url=f"{SSO}?error=access_denied&state={state}")

    assert said(answer) == (422, "bad_input", ["redirect_url"])
    assert answer.json()["errors"][0]["message"] == REFUSALS["access_denied"]


async def test_another_tools_bundle_connects_once(household: Household) -> None:
    bundle = await household.clouds.bundle()

    assert (await household.paste(token_bundle=bundle)).status_code == 201
    assert await household.connections() == ["medtronic"]
    assert said(await household.paste(token_bundle=bundle)) == (422, "bad_input", ["token_bundle"])


# What is pasted works once: it is not lost where the vendor stumbles one call later.

HINDRANCES = [("server_error", 503, 3, 503), ("needs_consent", True, None, 409), ("html", 200, 3, 503)]


async def pasted(household: Household, what: str) -> dict[str, str]:
    if what == "token_bundle":
        return {what: await household.clouds.bundle()}
    return {what: await household.address()}


@pytest.mark.parametrize("what", ["token_bundle", "redirect_url"])
@pytest.mark.parametrize(("fault", "value", "count", "status"), HINDRANCES, ids=[one[0] for one in HINDRANCES])
async def test_what_was_pasted_once_goes_on_where_the_vendor_stumbled(
    household: Household, what: str, fault: str, value: object, count: int | None, status: int
) -> None:
    text = await pasted(household, what)
    cloud = household.clouds.carelink
    cloud.set_fault(fault, value, path=None if count is None else "me", count=count)
    first = await household.paste(**text)
    calls = cloud.state.ledger.counts("token_calls")
    cloud.clear_faults()
    # Nobody else has these tokens by knowing what was pasted.
    others = await household.paste(household.bob, **text)

    again = await household.paste(**text)

    assert (first.status_code, others.status_code, again.status_code) == (status, 422, 201), again.text
    assert await household.connections() == ["medtronic"]
    assert cloud.state.ledger.counts("token_calls")["authorization_code"] == calls["authorization_code"]
    assert (await household.paste(**text)).status_code == 422


@pytest.mark.parametrize(
    ("fault", "value", "told"), [(None, None, True), ("server_error", 503, False), ("html", 200, False)]
)
async def test_whoever_disconnects_has_the_vendor_end_the_login_where_it_can(
    household: Household, fault: str | None, value: int | None, told: bool
) -> None:
    assert (await household.paste(redirect_url=await household.address())).status_code == 201
    cloud = household.clouds.carelink
    if fault is not None:
        cloud.set_fault(fault, value, path="revoke")
    answer = await household.client.get(f"{BASE}/connections", headers=household.ada.bearer)
    connection_id = answer.json()["connections"][0]["id"]

    gone = await household.client.delete(f"{BASE}/connections/{connection_id}", headers=household.ada.bearer)

    assert (gone.status_code, gone.json()) == (200, {"readings_kept": 0, "vendor_revoked": told})
    assert await household.connections() == []
    # One refresh token was given out: whether it still lives there.
    assert cloud.state.end_tokens(None, ["refresh"]) == (0 if told else 1)


async def test_a_disconnect_ends_no_login_that_another_connection_of_the_owner_may_live_by(
    household: Household, admin: Run
) -> None:
    other = str(uuid4())
    await add_person(admin, household.ada.owner_id, other, "Ben")
    for person_id in (household.ada.person_id, other):
        page = await household.post("/medtronic/oauth", {"region": "eu", "person_id": person_id})
        address = await household.clouds.leave_page(page.json()["authorization_url"], "follower.one")
        assert (await household.paste(redirect_url=address, person_id=person_id)).status_code == 201
    answer = await household.client.get(f"{BASE}/connections", headers=household.ada.bearer)
    first, second = [row["id"] for row in answer.json()["connections"]]

    gone = [
        (await household.client.delete(f"{BASE}/connections/{one}", headers=household.ada.bearer)).json()
        for one in (first, second)
    ]

    assert [one["vendor_revoked"] for one in gone] == [False, True]


async def test_what_only_a_sign_in_meets_pauses_nobodys_readings(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a process that has not asked yet.
    monkeypatch.setattr(discovery, "_kept", {})
    household.clouds.carelink.set_fault("client_error", 404, path="discover")

    answer = await household.post("/medtronic/oauth", {"region": "eu"})

    assert (answer.status_code, answer.json()["code"]) == (502, "operator_must_act")
    with psycopg.connect(household.database.admin_dsn) as admin:
        assert admin.execute("select provider, region from cgm_private.provider_pauses").fetchall() == []


@pytest.mark.parametrize("failure", [psycopg.OperationalError("gone"), TimeoutError(), VendorTryLater("no answer")])
async def test_whatever_fails_at_the_end_of_a_disconnect_it_has_happened(
    household: Household, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def revoke(*_: object) -> None:
        raise failure

    assert (await household.paste(redirect_url=await household.address())).status_code == 201
    providers: Any = household.clouds.vendors.providers
    monkeypatch.setitem(providers, "medtronic", replace(providers["medtronic"], revoke=revoke))
    answer = await household.client.get(f"{BASE}/connections", headers=household.ada.bearer)

    gone = await household.client.delete(
        f"{BASE}/connections/{answer.json()['connections'][0]['id']}", headers=household.ada.bearer
    )

    assert (gone.status_code, gone.json()["vendor_revoked"]) == (200, False)
    assert await household.connections() == []
