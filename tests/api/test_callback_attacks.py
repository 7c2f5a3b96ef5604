"""Attacks on the way back from the vendor: what does not belong together connects nothing and tells nobody a secret."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, make_settings
from listener import Listener, answer_with, listening
from test_connect import BEGIN, CALLBACK, begin, connections_of, outcome_of, sign_in, state_of

from evercgm.api.app import create_app
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Consent
from evercgm.provider_kit.vendors import open_vendors
from evercgm.providers import PROVIDERS
from evercgm.runtime import Runtime, vendor_apps

BAD_STATE = ("error", "bad_state")
COOKIE = "evercgm_binding"
ATTEMPTS = "select a::text from cgm_private.oauth_attempts a"


@dataclass
class CountingVendor:
    """A vendor that counts the codes it was asked to exchange."""

    codes: list[str] = field(default_factory=list)

    async def finish(self, _http: Any, _app: Any, code: Secret, _verifier: Secret) -> Tokens:
        self.codes.append(code.reveal())
        await asyncio.sleep(0.05)
        return Tokens(Secret("access"), Secret("refresh"), datetime.now(UTC) + timedelta(hours=2), 7200)


@pytest.fixture
def vendor(runtime: Runtime) -> CountingVendor:
    counting = CountingVendor()
    provider = runtime.vendors.providers["dexcom"]
    assert isinstance(provider.login, Consent)
    provider = replace(provider, login=replace(provider.login, finish=counting.finish))
    dict.__setitem__(runtime.vendors.providers, "dexcom", provider)  # type: ignore[arg-type]
    return counting


@dataclass
class Gone:
    """A browser that is at the vendor now: the state it took along and its binding cookie."""

    state: str
    binding: str

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.binding}"}


async def gone(client: httpx2.AsyncClient, owner: Owner, **body: Any) -> Gone:
    click = await client.post(await begin(client, owner, **body))
    binding = click.cookies[COOKIE]
    client.cookies.clear()
    return Gone(state_of(click), binding)


async def test_the_same_callback_twenty_times_at_once_is_one_connection_and_one_token_call(
    client: httpx2.AsyncClient, vendor: CountingVendor, ada: Owner
) -> None:
    browser = await gone(client, ada)
    query = {"state": browser.state, "code": "c"}

    answers = await asyncio.gather(*(client.get(CALLBACK, params=query, headers=browser.cookie) for _ in range(20)))

    found = [outcome_of(answer) for answer in answers]
    assert (found.count(("connected", None)), found.count(BAD_STATE)) == (1, 19)
    assert vendor.codes == ["c"]
    assert await connections_of(client, ada) == ["connected"]


def with_one_bit_changed(state: str) -> str:
    raw = bytearray(base64.urlsafe_b64decode(state + "="))
    raw[7] ^= 1
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


HOSTILE_STATES = {
    "none": "code=c",
    "empty": "state=&code=c",
    "one bit changed": "state={changed}&code=c",
    "10 kB": f"state={{state}}{'s' * 10_240}&code=c",
    "with NUL": "state={state}%00&code=c",
    "NUL before": "state=%00{state}&code=c",
    "array": "state={state}&state={state}&code=c",
    "array, the true one last": "state=x&state={state}&code=c",
    "array, the true one first": "state={state}&state=x&code=c",
    "array in PHP's way": "state[]={state}&code=c",
    "array in another way": "state%5B0%5D={state}&code=c",
    "another case": "STATE={state}&code=c",
    "padded": "state={state}=&code=c",
    "with a blank": "state=%20{state}&code=c",
    "no text": "state=%ff%fe&code=c",
    "a pattern": "state=%25&code=c",
    "SQL": "state=' or ''='&code=c",
}


@pytest.mark.parametrize("name", HOSTILE_STATES)
async def test_a_state_that_is_not_the_very_one_connects_nothing_and_leaves_the_true_one_alive(
    client: httpx2.AsyncClient, vendor: CountingVendor, ada: Owner, name: str
) -> None:
    browser = await gone(client, ada)
    query = HOSTILE_STATES[name].format(state=browser.state, changed=with_one_bit_changed(browser.state))

    back = await client.get(f"{CALLBACK}?{query}", headers=browser.cookie)

    assert outcome_of(back) == BAD_STATE
    assert back.headers["location"] == f"{ORIGIN}/?cgm=error&code=bad_state"
    assert (vendor.codes, await connections_of(client, ada)) == ([], [])
    true = await client.get(CALLBACK, params={"state": browser.state, "code": "c"}, headers=browser.cookie)
    assert outcome_of(true) == ("connected", None)


@pytest.mark.parametrize("query", ["", "error=access_denied", "state=another&code=c", "state={state}&state=x&code=c"])
async def test_a_callback_that_belongs_to_no_sign_in_leaves_the_one_of_this_browser_as_it_is(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, vendor: CountingVendor, ada: Owner, query: str
) -> None:
    state = state_of(await browser.post(await begin(client, ada)))

    stray = await browser.get(f"{CALLBACK}?{query.format(state=state)}")
    true = await browser.get(CALLBACK, params={"state": state, "code": "c"})

    assert (outcome_of(stray), outcome_of(true)) == (BAD_STATE, ("connected", None))
    assert "set-cookie" not in stray.headers
    assert COOKIE not in browser.cookies
    assert vendor.codes == ["c"]


@pytest.mark.parametrize(
    "spoilt",
    [
        "ten minutes old",
        "no cookie",
        "another browser's cookie",
        "another attempt's",
        "B's session",
        "B's person by now",
    ],
)
async def test_a_state_that_came_to_the_wrong_place_is_refused_and_burnt(
    client: httpx2.AsyncClient,
    runtime: Runtime,
    vendor: CountingVendor,
    ada: Owner,
    bob: Owner,
    admin: Run,
    spoilt: str,
) -> None:
    browser, other = await gone(client, ada), await gone(client, ada)
    headers = {
        "no cookie": {},
        "another browser's cookie": {"Cookie": f"{COOKIE}={'x' * 43}"},
        "another attempt's": other.cookie,
    }.get(spoilt, browser.cookie)
    if spoilt == "ten minutes old":
        await admin("update cgm_private.oauth_attempts set expires_at = expires_at - interval '10 minutes'")
    if spoilt == "B's person by now":
        await admin('update public."Person" set "ownerId" = %s where id = %s', (bob.owner_id, ada.person_id))
    if spoilt == "B's session":
        await sign_in(client, runtime, bob)
        headers = {"Cookie": f"{browser.cookie['Cookie']}; evercgm_session={client.cookies['evercgm_session']}"}
        client.cookies.clear()
    query = {"state": browser.state, "code": "c"}

    refused = await client.get(CALLBACK, params=query, headers=headers)
    again = await client.get(CALLBACK, params=query, headers=browser.cookie)

    assert (outcome_of(refused), outcome_of(again)) == (BAD_STATE, BAD_STATE)
    assert vendor.codes == []
    assert (await connections_of(client, ada), await connections_of(client, bob)) == ([], [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("error=access_denied&code=c", ("denied", "denied")),
        ("code=c&error=server_error", ("error", "vendor_refused")),
        ("error=&code=c", ("error", "vendor_refused")),
        ("error&code=c", ("error", "vendor_refused")),
        (f"error={'e' * 10_240}&code=c", ("error", "vendor_refused")),
        ("error=a&error=b&code=c", ("error", "vendor_refused")),
        ("error=%00&code=c", ("error", "vendor_refused")),
        ("code=c&code=d", ("error", "no_code")),
        ("code=", ("error", "no_code")),
        (f"code={'c' * 10_240}", ("error", "no_code")),
        ("", ("error", "no_code")),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_an_error_counts_whatever_comes_with_it_and_two_codes_are_none(
    client: httpx2.AsyncClient, vendor: CountingVendor, ada: Owner, query: str, expected: tuple[str, str]
) -> None:
    browser = await gone(client, ada)

    back = await client.get(f"{CALLBACK}?state={browser.state}&{query}", headers=browser.cookie)

    assert outcome_of(back) == expected
    assert (vendor.codes, await connections_of(client, ada)) == ([], [])


async def test_a_state_has_256_random_bits_and_only_its_hash_is_stored(
    client: httpx2.AsyncClient, database: Any, ada: Owner
) -> None:
    url = await begin(client, ada)
    waiting = [await gone(client, ada) for _ in range(20)]

    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        rows = str(await (await conn.execute(ATTEMPTS.encode())).fetchall())
        hashes = await (
            await conn.execute(b"select state_hash, binding_hash from cgm_private.oauth_attempts")
        ).fetchall()

    assert {len(base64.urlsafe_b64decode(one.state + "=")) for one in waiting} == {32}
    assert len({one.state for one in waiting} | {one.binding for one in waiting}) == 40
    # Of all bits each is set in some and clear in others: nothing of it is constant.
    states = [int.from_bytes(base64.urlsafe_b64decode(one.state + "=")) for one in waiting]
    ones, zeros = 0, 0
    for state in states:
        ones, zeros = ones | state, zeros | ~state & (2**256 - 1)
    assert (ones.bit_count() > 250, zeros.bit_count() > 250) == (True, True)
    for secret in [url.rpartition("/")[2], *(one.state for one in waiting), *(one.binding for one in waiting)]:
        assert secret not in rows
        assert base64.urlsafe_b64decode(secret + "=").hex() not in rows
    stored = {bytes(row[0]) for row in hashes if row[0]} | {bytes(row[1]) for row in hashes if row[1]}
    assert stored == {hashlib.sha256(text.encode()).digest() for one in waiting for text in (one.state, one.binding)}


async def test_the_pkce_verifier_is_stored_sealed(client: httpx2.AsyncClient, database: Any, ada: Owner) -> None:
    await gone(client, ada)

    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        query = b"select pkce_verifier from cgm_private.oauth_attempts"
        ((sealed,),) = await (await conn.execute(query)).fetchall()

    assert sealed.startswith("v1.")


@dataclass
class TwoRegions:
    """A service whose US and EU vendors are two listeners; a browser that is clicking."""

    client: httpx2.AsyncClient
    hosts: dict[str, Listener]


@pytest.fixture
async def two_regions(runtime: Runtime) -> AsyncIterator[TwoRegions]:
    tokens = answer_with(json.dumps({"access_token": "a", "refresh_token": "r", "expires_in": 7200}).encode())
    async with listening(tokens) as us, listening(tokens) as eu:
        hosts = {"us": us, "eu": eu}
        settings = make_settings(
            EVERCGM_ALLOW_SIMULATORS="1",
            EVERCGM_VENDOR_BASE_URLS=json.dumps({"dexcom": {region: host.address for region, host in hosts.items()}}),
            DEXCOM_CLIENT_ID="us-client", DEXCOM_CLIENT_SECRET="marked-us-secret",
            DEXCOM_EU_CLIENT_ID="eu-client", DEXCOM_EU_CLIENT_SECRET="marked-eu-secret",
        )  # fmt: skip
        async with open_vendors(PROVIDERS, vendor_apps(settings)) as vendors:
            app = create_app(replace(runtime, settings=settings, vendors=vendors))
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
                yield TwoRegions(client, hosts)


@pytest.mark.parametrize(("begun", "other"), [("eu", "us"), ("us", "eu")])
async def test_what_began_in_one_region_sends_no_code_and_no_secret_to_the_other(
    two_regions: TwoRegions, ada: Owner, begun: str, other: str
) -> None:
    client = two_regions.client
    answer = await client.post(BEGIN, json={"region": begun}, headers=ada.bearer)
    click = await client.post(answer.json()["authorization_url"])
    way = httpx2.URL(click.headers["location"])
    assert str(way).startswith(two_regions.hosts[begun].address)

    # The other region's cloud answers, with a code of its own shape.
    code = f"{other.upper()}_marked-code.1.2"
    back = await client.get(CALLBACK, params={"state": way.params["state"], "code": code})

    assert outcome_of(back) == ("connected", None)
    assert two_regions.hosts[other].callers == 0
    first = two_regions.hosts[begun].told[0]
    form = dict(parse_qsl(first.rpartition(b"\r\n\r\n")[2].decode()))
    assert (form["client_id"], form["client_secret"]) == (f"{begun}-client", f"marked-{begun}-secret")
    assert (form["code"], form["redirect_uri"]) == (code, way.params["redirect_uri"])
    assert form["redirect_uri"] == f"{ORIGIN}{BASE}/dexcom/callback"
    assert not any(f"marked-{other}-secret".encode() in told for told in two_regions.hosts[begun].told)


async def test_no_caller_chooses_the_region_of_the_way_back(two_regions: TwoRegions, ada: Owner) -> None:
    client = two_regions.client
    answer = await client.post(BEGIN, json={"region": "eu"}, headers=ada.bearer)
    way = httpx2.URL((await client.post(answer.json()["authorization_url"])).headers["location"])

    await client.get(
        CALLBACK,
        params={"state": way.params["state"], "code": "c", "region": "us", "iss": two_regions.hosts["us"].address},
    )

    assert (two_regions.hosts["us"].callers, two_regions.hosts["eu"].callers > 0) == (0, True)
