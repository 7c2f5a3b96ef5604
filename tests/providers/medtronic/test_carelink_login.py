"""CareLink's login, our client against the simulated cloud: addresses, pasted texts, tokens, whom an account reads."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import msgspec
import pytest
from carelink_world import LOGIN, VERIFIER, CareLink, values
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import (
    BadInput,
    ChooseFirst,
    EvercgmError,
    GrantRefused,
    OperatorMustAct,
    ReconnectNeeded,
    VendorChanged,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import VendorApp
from evercgm.providers.medtronic import PROVIDER, accounts, auth, claims, discovery, kept, paste
from evercgm.providers.medtronic.hosts import EU, US, hosts, is_allowed

FIXTURES = Path(__file__).parent / "fixtures"
VENDOR = VendorApp("eu", EU)
Json = dict[str, Any]


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def cases(name: str) -> list[Json]:
    found: list[Json] = fixture(name)["cases"]
    return found


def raw(document: object) -> bytes:
    return document.encode() if isinstance(document, str) else json.dumps(document).encode()


@pytest.fixture
async def carelink(tmp_path: Path) -> AsyncIterator[CareLink]:
    world = CareLink(tmp_path / "data")
    yield world
    await world.close()


# Hosts and documents.


@pytest.mark.parametrize(("region", "base_url"), [("us", US), ("eu", EU)])
def test_the_discovery_document_leads_to_each_regions_own_hosts(region: str, base_url: str) -> None:
    app = VendorApp(region, base_url)

    sso_url, care_url, data_url = discovery.read_discovery(raw(fixture("discovery_v13")), app)
    places = discovery.read_sso(raw(fixture("sso_auth0")[region.upper()]), app, care_url, data_url)

    tld = {"us": "com", "eu": "eu"}[region]
    assert sso_url == f"https://carelink.minimed.{tld}/configs/v1/carepartner_auth0_example.json"
    assert places == discovery.Places(
        care_url=f"https://carelink.minimed.{tld}/api/carepartner/v2",
        data_url=f"https://clcloud.minimed.{tld}/connect/carepartner/v13",
        authorize_url=f"https://carelink-login.minimed.{tld}/authorize",
        token_url=f"https://carelink-login.minimed.{tld}/oauth/token",
        client_id=f"FixtureClientId{region.title()}0000000000000001",
        scope="profile openid offline_access",
        audience={"us": "carepartner.patient.us", "eu": "carepartner.patient.ous"}[region],
        redirect_uri="com.medtronic.carepartner:/sso",
        revoke_url=f"https://carelink-login.minimed.{tld}/oauth/revoke",
    )


@pytest.mark.parametrize("case", cases("discovery_wrong_track"), ids=lambda case: case["case"])
@pytest.mark.parametrize("region", ["us", "eu"])
def test_a_document_of_another_track_is_the_operators_matter(case: Json, region: str) -> None:
    with pytest.raises(OperatorMustAct):
        discovery.read_discovery(raw(case["document"]), VendorApp(region, {"us": US, "eu": EU}[region]))


def test_a_login_configuration_of_the_old_kind_is_not_taken_for_the_new() -> None:
    with pytest.raises(VendorChanged):
        discovery.read_sso(raw(fixture("sso_legacy_mag")), VENDOR, "", "")


@pytest.mark.parametrize("key", ["Auth0SSOConfiguration", "baseUrlCareLink", "baseUrlCumulus"])
@pytest.mark.parametrize(
    "url",
    [
        "https://clcloud.minimed.eu.example.org/v13",
        "http://clcloud.minimed.eu/v13",
        "https://clcloud.minimed.eu:8443/v13",
        "https://user@clcloud.minimed.eu/v13",
        "https://clcloud.minimed.com/v13",
        "https://[/v13",
        "/v13",
    ],
)
def test_no_address_of_a_document_leads_outside_the_table(key: str, url: str) -> None:
    document = fixture("discovery_v13")
    document["CP"][1][key] = url

    with pytest.raises(OperatorMustAct):
        discovery.read_discovery(raw(document), VENDOR)


def test_a_login_host_outside_the_table_is_refused() -> None:
    document = fixture("sso_auth0")["EU"]
    document["server"]["hostname"] = "mdtlogin-ocl.medtronic.com"

    with pytest.raises(OperatorMustAct):
        discovery.read_sso(raw(document), VENDOR, "", "")


def test_the_table_of_a_simulator_is_the_simulator_alone() -> None:
    assert hosts("http://127.0.0.1:8401/medtronic") == ("http://127.0.0.1:8401/medtronic",)
    assert hosts(EU) == (EU, "https://carelink.minimed.eu", "https://carelink-login.minimed.eu")
    assert not is_allowed("https://carelink-login.minimed.com/oauth/token", EU)


@pytest.mark.parametrize(
    ("fault", "value", "path", "expected"),
    [
        ("track", "3.5", None, OperatorMustAct),
        ("track", "4.0", None, OperatorMustAct),
        ("sso_key_renamed", True, None, OperatorMustAct),
        ("host_moved", "carelink.example.org", None, OperatorMustAct),
        ("host_moved", "carelink.example.org", "sso", OperatorMustAct),
        ("client_error", 403, "discover", OperatorMustAct),
        ("client_error", 404, "sso", OperatorMustAct),
        ("html", 403, "discover", VendorTryLater),
        ("html", 200, "sso", VendorTryLater),
        ("server_error", 503, "discover", VendorTryLater),
        ("rate_limited", "30", "sso", VendorRateLimited),
        ("gone", True, "discover", VendorTryLater),
    ],
)
async def test_trouble_with_the_documents_is_never_a_persons_fault(
    carelink: CareLink, fault: str, value: object, path: str | None, expected: type[EvercgmError]
) -> None:
    carelink.cloud.set_fault(fault, value, path=path)

    with pytest.raises(expected):
        await carelink.begin()


@pytest.mark.parametrize("case", [case for case in cases("http_errors") if case.get("on") == "discover"])
async def test_a_base_path_that_is_not_there_is_the_operators_matter(case: Json) -> None:
    async with answering(case["status"], case["body"]) as http:
        with pytest.raises(OperatorMustAct):
            await discovery.find(http, VendorApp("eu", f"http://{case['status']}.test"))


async def test_the_documents_are_kept_for_a_day(carelink: CareLink) -> None:
    now = datetime(2026, 11, 2, tzinfo=UTC)
    for hours in (0, 1, 23.9):
        await discovery.find(carelink.http, carelink.app, lambda at=now + timedelta(hours=hours): at)  # type: ignore[misc]
    assert (carelink.calls("discover"), carelink.calls("sso")) == (1, 1)

    await discovery.find(carelink.http, carelink.app, lambda: now + timedelta(hours=24))
    assert carelink.calls("discover") == 2


async def test_another_version_of_the_app_is_asked_for_by_name(tmp_path: Path) -> None:
    world = CareLink(tmp_path / "data", version="3.4")
    with pytest.raises(OperatorMustAct):
        await world.begin()
    await world.close()


# The address of the login page, and what is pasted back.


async def test_the_login_page_is_asked_with_every_documented_field(carelink: CareLink) -> None:
    url = urlsplit(await carelink.begin("S 1&2"))

    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{carelink.app.base_url}/login/authorize"
    asked = dict(parse_qsl(url.query))
    assert (asked.pop("client_id"), len(asked.pop("code_challenge"))) == ("SimulatedCareLinkClientEu0000001", 43)
    assert asked == {
        "response_type": "code",
        "scope": "profile openid offline_access",
        "audience": "carepartner.patient.ous",
        "redirect_uri": "com.medtronic.carepartner:/sso",
        "code_challenge_method": "S256",
        "state": "S 1&2",
    }


@pytest.mark.parametrize("case", cases("oauth_callbacks"), ids=lambda case: case["case"])
def test_what_people_paste_is_read_as_documented(case: Json) -> None:
    text, state = Secret(case["pasted"]), Secret("FixtureState0001")
    assert not paste.is_bundle(text)

    if case["code"] is not None:
        assert paste.read_code(text, state, "com.medtronic.carepartner:/sso") == Secret(case["code"])
        return
    with pytest.raises(BadInput) as refused:
        paste.read_code(text, state, "com.medtronic.carepartner:/sso")
    assert (refused.value.field, refused.value.message) == ("pasted", paste.REFUSALS[case["error"]])


@pytest.mark.parametrize("case", cases("token_bundles"), ids=lambda case: case["case"])
def test_other_tools_tokens_are_taken_or_refused_with_the_reason(case: Json) -> None:
    text = Secret(case["bundle"] if isinstance(case["bundle"], str) else json.dumps(case["bundle"]))
    assert paste.is_bundle(text)

    if case["accept"]:
        read = paste.read_bundle(text, EU)
        assert read.refresh == Secret("v1.FixtureRefreshToken0001")
        assert read.token_url == case["bundle"].get("token_url")
        assert read.client_id == case["bundle"].get("client_id")
        return
    with pytest.raises(BadInput) as refused:
        paste.read_bundle(text, EU)
    assert (refused.value.field, refused.value.message) == ("pasted", paste.REFUSALS[case["reason"]])


@pytest.mark.parametrize("case", [case for case in cases("token_bundles") if case.get("region") == "EU"])
def test_other_tools_tokens_of_another_region_are_refused(case: Json) -> None:
    with pytest.raises(BadInput) as refused:
        paste.read_bundle(Secret(json.dumps(case["bundle"])), US)
    assert refused.value.message in (paste.REFUSALS["host"], paste.REFUSALS["region"])


@pytest.mark.parametrize(
    "text", ["", "   ", "hello", "{", "[1]", "{}", '{"refresh_token": 5}', "{" * 100_000, "x" * 70_000]
)
async def test_any_other_text_is_refused_by_its_field_and_nothing_is_sent(carelink: CareLink, text: str) -> None:
    with pytest.raises(BadInput) as refused:
        await carelink.finish(text)

    assert refused.value.field == "pasted"
    assert carelink.calls("token") == 0


# Tokens.


@pytest.mark.parametrize("case", cases("access_token_claims"), ids=lambda case: case["case"])
def test_an_access_token_tells_its_end_and_the_accounts_name_if_it_can(case: Json) -> None:
    said = claims.read_claims(case["jwt"])

    expected = case["claims"] or {}
    assert (said.exp, said.iss) == (expected.get("exp"), expected.get("iss"))
    assert said.username == expected.get("token_details", {}).get("preferred_username")


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "a.bm90IGpzb24.c", "a.W10.c", "a.*.c", "a.eyJhIjoxfQ.c"])
def test_a_token_that_is_none_claims_nothing(token: str) -> None:
    assert (claims.read_claims(token).username, claims.issuer_of(token)) == (None, None)


def answering(status: int, body: object, seen: Json | None = None) -> httpx2.AsyncClient:
    """A host that gives this answer to every call."""

    async def handle(request: Request) -> Response:
        if seen is not None:
            seen.update(parse_qsl((await request.body()).decode()))
            seen["user-agent"] = request.headers.get("user-agent")
        if status == 204:
            return Response(status_code=204)
        return Response(raw(body) if body is not None else b"", status, {"Retry-After": "25"} if status == 429 else {})

    app = Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "POST"])])
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app))


REFUSED: dict[str, type[EvercgmError]] = {
    "refresh token dead, reused or revoked": GrantRefused,
    "same, status as reported by a bridge": GrantRefused,
    "code expired or used twice": GrantRefused,
    "wrong verifier": GrantRefused,
    "client id of the other region": OperatorMustAct,
    "too many": VendorRateLimited,
    "blocked in front of the login (empty User-Agent)": VendorTryLater,
    "maintenance": VendorTryLater,
}


@pytest.mark.parametrize(
    "case", [case for case in cases("oauth_token_errors") if case["status"] != 200], ids=lambda case: case["case"]
)
async def test_each_documented_refusal_says_what_must_be_done(case: Json) -> None:
    async with answering(case["status"], case["body"]) as http:
        with pytest.raises(REFUSED[case["case"]]) as refused:
            await auth.ask_tokens(http, "http://login.test/oauth/token", {"grant_type": "refresh_token"})

    assert case["permanent"] == isinstance(refused.value, GrantRefused)
    if isinstance(refused.value, VendorRateLimited):
        assert refused.value.retry_after_s == 25


async def test_an_answer_without_a_refresh_token_leaves_the_old_one_good() -> None:
    case = next(case for case in cases("oauth_token_errors") if case["status"] == 200)
    places = discovery.Places("", "", "", "http://login.test/oauth/token", "client", "", "", "redirect")

    async with answering(200, case["body"]) as http:
        exchanged = await auth._exchange_refresh(http, Secret("old-token"), "client", places.token_url)
        assert exchanged.grant.refresh == Secret("old-token")
        with pytest.raises(VendorChanged):
            await auth._exchange_code(http, places, Secret("code"), VERIFIER)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("body", ['{"error": "something_new"}', "", "{", "[]"])
async def test_a_refusal_that_does_not_say_invalid_grant_never_ends_a_login(status: int, body: str) -> None:
    async with answering(status, body) as http:
        with pytest.raises(VendorTryLater):
            await auth.ask_tokens(http, "http://login.test/oauth/token", {"grant_type": "refresh_token"})


@pytest.mark.parametrize(
    ("name", "refresh"),
    [
        ("oauth_token_authorization_code", "v1.FixtureRefreshToken0001"),
        ("oauth_token_refresh", "v1.FixtureRefreshToken0002"),
    ],
)
async def test_a_documented_answer_becomes_tokens(name: str, refresh: str) -> None:
    seen: Json = {}
    now = datetime.fromtimestamp(1793620800, UTC)
    async with answering(200, fixture(name), seen) as http:
        grant = await auth.ask_tokens(http, "http://login.test/oauth/token", {"code": "a+b/c"}, lambda: now)

    assert (grant.refresh, grant.lifetime_s, grant.issued_at) == (Secret(refresh), 10_800, now)
    assert (seen["code"], seen["user-agent"]) == ("a+b/c", "evercgm")


@pytest.mark.parametrize(
    ("expires_in", "left_s", "expected"),
    [(10_800, 600, 600), (600, 10_800, 600), (None, 7200, 7200), (None, -5, 3600), (900, -5, 900), ("abc", 600, 600)],
)
async def test_the_smaller_of_two_lifetimes_counts(expires_in: object, left_s: int, expected: int) -> None:
    now = datetime(2026, 11, 2, tzinfo=UTC)
    token = jwt({"exp": int(now.timestamp()) + left_s})
    body = {"access_token": token, "refresh_token": "r"} | ({} if expires_in is None else {"expires_in": expires_in})

    async with answering(200, body) as http:
        grant = await auth.ask_tokens(http, "http://login.test/oauth/token", {}, lambda: now)

    assert grant.lifetime_s == expected


def jwt(claimed: Json) -> str:
    return f"e30.{base64.urlsafe_b64encode(raw(claimed)).decode().rstrip('=')}.sig"


@pytest.mark.parametrize("body", ["{}", '{"access_token": ""}', '{"access_token": "a b\\u0000"}', "nothing"])
async def test_an_answer_without_a_usable_token_is_not_taken(body: str) -> None:
    async with answering(200, body) as http:
        with pytest.raises(VendorChanged):
            await auth.ask_tokens(http, "http://login.test/oauth/token", {})


def test_the_kept_secrets_show_nothing_and_open_again() -> None:
    view = kept.View("follower", "carepartner", "patient", "https://care.test", "https://data.test")
    access = kept.Access(Secret("access-token"), datetime(2026, 11, 2, tzinfo=UTC), view)
    renewal = kept.Refresh(Secret("refresh-token"), "client", "https://login.test", view)

    for secret in (access, renewal):
        sealed = kept.sealed(secret)
        assert "token" not in repr(sealed)
        assert "-token" not in repr(secret)
        assert kept.opened(sealed, type(secret)) == secret
    for text in ("", "plain", "{}", kept.sealed(renewal).reveal()):
        with pytest.raises(ReconnectNeeded):
            kept.opened(Secret(text), kept.Access)


# Whom an account reads.


@pytest.mark.parametrize("case", cases("links_patients"), ids=lambda case: case["case"])
def test_the_only_patient_is_taken_and_never_the_first_of_several(case: Json) -> None:
    links = accounts.read_links(raw(case["body"]))

    if case["select"] is not None:
        assert accounts.only_one(links) == (case["select"], ())
    elif links:
        patient, choices = accounts.only_one(links)
        assert (patient, [(choice.id, choice.label) for choice in choices]) == (
            "",
            [("fixture.patient", "Pat Example"), ("fixture.child", "Kim Example")],
        )
    else:
        with pytest.raises(ReconnectNeeded, match="nobody_followed"):
            accounts.only_one(links)


@pytest.mark.parametrize("case", cases("users_me"), ids=lambda case: case["case"])
async def test_who_signed_in_is_read_as_documented(case: Json) -> None:
    links = fixture("links_patients")["cases"][0]["body"]

    async def handle(request: Request) -> Response:
        return Response(raw(links if request.url.path.endswith("/links/patients") else case["body"]))

    app = Starlette(routes=[Route("/{path:path}", handle)])
    token = Secret(fixture("access_token_claims")["cases"][0]["jwt"])
    view = kept.View("", "", "", "http://care.test", "http://data.test")
    access = kept.Access(token, datetime.now(UTC), view)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
        if case["body"]["needToReconsent"]:
            with pytest.raises(ReconnectNeeded, match="vendor_step"):
                await accounts.find_view(http, access)
            return
        view, choices = await accounts.find_view(http, access)

    expected = ("carepartner", "fixture.follower") if case["carepartner"] else ("patient", "fixture.patient")
    assert (view.role, view.username, view.patient, choices) == (*expected, "fixture.patient", ())


async def test_a_care_partner_of_one_is_connected(carelink: CareLink) -> None:
    tokens = await carelink.connect()

    survey = await PROVIDER.survey(carelink.http, carelink.app, tokens.access)
    assert (await carelink.read(tokens)).account_id == survey.account_id
    assert survey.account_id is not None
    assert "follower" not in survey.account_id
    assert survey.first is not None
    assert min(carelink.truth()) <= survey.first <= min(carelink.truth()) + timedelta(minutes=10)
    # However long the answer was under way: the token ends three hours after the vendor's clock.
    assert abs(tokens.expires_at - carelink.cloud.clock() - timedelta(hours=3)) <= timedelta(seconds=1)
    assert 0 < tokens.lifetime_s <= 10_800
    assert carelink.calls("message") == 2


async def test_a_patients_own_account_reads_itself(carelink: CareLink) -> None:
    tokens = await carelink.connect("pat.alpha")

    assert values(await carelink.read(tokens)) == carelink.truth()
    assert carelink.calls("patients") == 0


async def test_of_two_patients_the_person_chooses_and_signs_in_once(carelink: CareLink) -> None:
    with pytest.raises(ChooseFirst) as several:
        await carelink.finish(await carelink.sign_in("follower.two"))
    assert [choice.id for choice in several.value.choices] == ["pat.alpha", "kim.beta"]
    assert several.value.unfinished is not None

    tokens = LOGIN.choose(several.value.unfinished, "kim.beta")

    assert values(await carelink.read(tokens)) == carelink.truth("kim.beta")
    assert values(await carelink.read(await carelink.refresh(tokens))) == carelink.truth("kim.beta")
    assert carelink.cloud.state.ledger.counts("token_calls") == {"authorization_code": 1, "refresh_token": 1}


async def test_an_outage_right_after_the_code_was_used_loses_nothing(carelink: CareLink) -> None:
    pasted = await carelink.sign_in("follower.one")
    carelink.cloud.set_fault("server_error", 503, path="me", count=1)

    assert values(await carelink.read(await carelink.finish(pasted))) == carelink.truth()


async def test_a_person_who_declines_is_told_to_begin_again(carelink: CareLink) -> None:
    with pytest.raises(BadInput, match="declined"):
        await carelink.finish(await carelink.sign_in("follower.one", decision="deny"))


@pytest.mark.parametrize(
    ("username", "fault", "reason"),
    [
        ("follower.none", None, "nobody_followed"),
        ("follower.one", "link_removed", "nobody_followed"),
        ("follower.one", "needs_consent", "vendor_step"),
        ("follower.one", "suspended", "vendor_step"),
    ],
)
async def test_what_only_the_person_can_mend_is_named(
    carelink: CareLink, username: str, fault: str | None, reason: str
) -> None:
    if fault:
        carelink.cloud.set_fault(fault, True)

    with pytest.raises(ReconnectNeeded) as needed:
        await carelink.connect(username)

    assert needed.value.reason == reason


async def test_the_name_of_the_account_comes_from_its_token_where_the_cloud_does_not_say_it(
    carelink: CareLink,
) -> None:
    carelink.cloud.set_fault("no_username", True)
    assert values(await carelink.read(await carelink.connect())) == carelink.truth()

    carelink.cloud.set_fault("no_details", True)
    with pytest.raises(VendorChanged):
        await carelink.connect()


async def test_a_code_works_once_and_for_a_minute(carelink: CareLink) -> None:
    pasted = await carelink.sign_in("follower.one")
    await carelink.finish(pasted)
    with pytest.raises(GrantRefused):
        await carelink.finish(pasted)

    pasted = await carelink.sign_in("follower.one")
    carelink.cloud.move_clock(by=timedelta(seconds=61))
    with pytest.raises(GrantRefused):
        await carelink.finish(pasted)


# Other tools' tokens.


async def bundle(carelink: CareLink, username: str = "follower.one") -> Json:
    """As another tool would keep them."""
    tokens = await carelink.connect(username)
    mine = kept.opened(tokens.refresh, kept.Refresh)
    return {
        "access_token": kept.opened(tokens.access, kept.Access).token.reveal(),
        "refresh_token": mine.token.reveal(),
        "client_id": mine.client_id,
        "token_url": mine.token_url,
        "scope": "openid profile offline_access",
    }


@pytest.mark.parametrize("left_out", [(), ("token_url",), ("client_id", "token_url", "access_token")])
async def test_another_tools_tokens_become_ours_and_are_renewed_at_once(
    carelink: CareLink, left_out: tuple[str, ...]
) -> None:
    theirs = await bundle(carelink)
    pasted = json.dumps({name: value for name, value in theirs.items() if name not in left_out})

    tokens = await carelink.finish(pasted)

    assert values(await carelink.read(tokens)) == carelink.truth()
    assert kept.opened(tokens.refresh, kept.Refresh).token.reveal() != theirs["refresh_token"]
    with pytest.raises(GrantRefused):
        await carelink.finish(pasted)


async def test_another_tools_tokens_with_a_client_that_is_unknown_alarm_no_operator(carelink: CareLink) -> None:
    theirs = await bundle(carelink)

    with pytest.raises(BadInput, match="client_id"):
        await carelink.finish(json.dumps({**theirs, "client_id": "SomebodyElse"}))
    carelink.cloud.set_fault("token_error", "invalid_client")
    with pytest.raises(OperatorMustAct):
        await carelink.finish(json.dumps(theirs))


# Refresh.


async def test_a_refresh_token_works_once_and_a_new_one_comes_back(carelink: CareLink) -> None:
    first = await carelink.connect()

    second = await carelink.refresh(first)

    assert values(await carelink.read(second)) == carelink.truth()
    assert second.refresh != first.refresh
    with pytest.raises(GrantRefused):
        await carelink.refresh(first)
    assert values(await carelink.read(await carelink.refresh(second))) == carelink.truth()


async def test_a_refresh_asks_nothing_but_the_token_endpoint_while_the_documents_are_kept(carelink: CareLink) -> None:
    tokens = await carelink.connect()
    before = carelink.cloud.state.ledger.counts("calls")

    await carelink.refresh(tokens)

    after = carelink.cloud.state.ledger.counts("calls")
    assert {place: after[place] - before.get(place, 0) for place in after if after[place] != before.get(place)} == {
        "token": 1
    }


async def test_an_old_refresh_token_that_is_shown_again_can_end_the_whole_login(carelink: CareLink) -> None:
    carelink.cloud.set_fault("refresh_reuse", "end_family")
    first = await carelink.connect()
    second = await carelink.refresh(first)
    with pytest.raises(GrantRefused):
        await carelink.refresh(first)

    with pytest.raises(GrantRefused):
        await carelink.refresh(second)


async def test_without_a_new_refresh_token_the_old_one_is_kept(carelink: CareLink) -> None:
    carelink.cloud.set_fault("rotation_off", True)
    first = await carelink.connect()

    second = await carelink.refresh(await carelink.refresh(first))

    assert (second.refresh, second.access) != (first.access, first.access)
    assert second.refresh == first.refresh
    assert values(await carelink.read(second)) == carelink.truth()


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_week_without_use_ends_the_login_whatever_the_status_says(carelink: CareLink, status: int) -> None:
    tokens = await carelink.connect()
    carelink.cloud.set_fault("token_status", status)
    carelink.cloud.move_clock(by=timedelta(days=7, seconds=1))

    with pytest.raises(GrantRefused):
        await carelink.refresh(tokens)


@pytest.mark.parametrize(
    ("fault", "value", "expected"),
    [
        ("token_error", "invalid_grant", GrantRefused),
        ("token_error", "invalid_client", OperatorMustAct),
        ("token_error", "server_error", VendorTryLater),
        ("token_error", "html", VendorTryLater),
        ("refresh_answer_lost", "cut", VendorTryLater),
        ("refresh_answer_lost", "504", VendorTryLater),
        ("html", 200, VendorTryLater),
        ("rate_limited", "30", VendorRateLimited),
        ("gone", True, VendorTryLater),
    ],
)
async def test_what_ends_a_refresh_says_what_must_be_done(
    carelink: CareLink, fault: str, value: object, expected: type[EvercgmError]
) -> None:
    tokens = await carelink.connect()
    carelink.cloud.set_fault(fault, value, path="token")

    with pytest.raises(expected):
        await carelink.refresh(tokens)


async def test_a_refresh_goes_on_while_the_documents_cannot_be_had(carelink: CareLink) -> None:
    tokens = await carelink.connect()
    discovery._kept.clear()
    carelink.cloud.set_fault("track", "4.0")

    assert values(await carelink.read(await carelink.refresh(tokens))) == carelink.truth()


async def test_a_refresh_takes_up_the_addresses_of_today(carelink: CareLink) -> None:
    tokens = await carelink.connect()
    mine = kept.opened(tokens.refresh, kept.Refresh)
    old = carelink.app.base_url + "/connect/carepartner/v12"
    moved = msgspec.structs.replace(mine, view=msgspec.structs.replace(mine.view, data_url=old, care_url=old))

    renewed = await PROVIDER.refresh(carelink.http, carelink.app, kept.sealed(moved))

    assert values(await carelink.read(renewed)) == carelink.truth()
    assert kept.opened(renewed.refresh, kept.Refresh).view == mine.view


async def test_tokens_of_one_cloud_are_never_shown_to_another(carelink: CareLink) -> None:
    tokens = await carelink.connect()
    carelink.move()

    with pytest.raises(OperatorMustAct):
        await carelink.refresh(tokens)
    with pytest.raises(OperatorMustAct):
        await carelink.read(tokens)


def test_the_way_in_is_a_paste() -> None:
    assert PROVIDER.login is LOGIN
    assert PROVIDER.official is False


def test_that_another_tool_stops_is_said_before_its_tokens_are_pasted() -> None:
    page = (Path(__file__).parents[3] / "src/evercgm/web/index.html").read_text()

    assert "the other tool stops" in page.partition('id="sign-in-pasted"')[2].partition("</div>")[0]
