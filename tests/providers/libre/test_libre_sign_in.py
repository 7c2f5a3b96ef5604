"""LibreLinkUp's sign-in: each recorded outcome says whose turn it is, and nothing is tried twice."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from libre_answers import ALEX, APP, BASE, FOLLOWER, Canned, case_of, load, places

from evercgm.core.errors import (
    Choice,
    ChooseFirst,
    EvercgmError,
    OperatorMustAct,
    ReconnectNeeded,
    SignInLocked,
    SignInsBanned,
    VendorChanged,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.providers.libre import PROVIDER
from evercgm.providers.libre.client import SHARDS

KIM = "fe685497-cdba-5800-a8c1-a571a8c7771e"
LOGIN, LIST = "/llu/auth/login", "/llu/connections"
assert isinstance(PROVIDER.login, Password)
SIGN_IN = PROVIDER.login.sign_in
ONE = load("connections") | {"data": load("connections")["data"][:1]}
STEPS = {
    "terms of use changed": "accept_terms",
    "privacy policy changed": "accept_terms",
    "e-mail address not verified": "verify_email",
    "second factor wanted (seen on the web login only)": "two_factor",
    "step of an unknown kind": "vendor_step",
}
ERRORS: dict[str, tuple[type[EvercgmError], object]] = {
    "wrong e-mail or password, or account of another world region (ru, cn)": (ReconnectNeeded, "wrong_password"),
    "same, other wording": (ReconnectNeeded, "wrong_password"),
    "locked after three failures": (SignInLocked, 300),
    "wrong regional server, or maintenance": (VendorTryLater, 600),
    "Cloudflare refuses the client": (OperatorMustAct, None),
    "Cloudflare 1015, too many requests from this address": (VendorRateLimited, 600),
    "unnamed status at login": (SignInsBanned, 900),
    "long ban at login": (SignInsBanned, 65_620),
}


def given(*, keep: bool = True) -> Credentials:
    return Credentials(Secret("me@example.com"), Secret("pass-1"), keep)


async def kims() -> Tokens:
    """Of a sign-in that follows two people, after the choice."""
    with pytest.raises(ChooseFirst) as caught:
        await signed_in(recorded(), load("connections"))
    assert caught.value.unfinished is not None
    return PROVIDER.login.choose(caught.value.unfinished, KIM)


def recorded(ticket: dict[str, Any] | None = None) -> dict[str, Any]:
    """The recorded good answer with an end of today's."""
    answer = load("login_ok")
    expires = int((datetime.now(UTC) + timedelta(days=180)).timestamp())
    answer["data"]["authTicket"] |= {"expires": expires} if ticket is None else ticket
    return dict(answer)


async def signed_in(login: Any, listed: Any = ONE, credentials: Credentials | None = None) -> tuple[Tokens, Canned]:
    canned = Canned({LOGIN: login, LIST: listed})
    async with canned.http() as http:
        return await SIGN_IN(http, APP, credentials or given()), canned


def about(failure: EvercgmError) -> object:
    if isinstance(failure, ReconnectNeeded):
        return failure.reason
    return failure.retry_after_s if isinstance(failure, VendorTryLater) else None


async def test_a_follower_of_one_person_gets_tokens_for_180_days() -> None:
    before = datetime.now(UTC)

    tokens, canned = await signed_in(recorded())

    access = json.loads(tokens.access.reveal())
    token = load("login_ok")["data"]["authTicket"]["token"]
    assert access == {"token": token, "user_id": FOLLOWER, "patient_id": ALEX, "shard": ""}
    assert json.loads(tokens.refresh.reveal()) == {
        "username": "me@example.com", "password": "pass-1", "patient_id": ALEX,
    }  # fmt: skip
    assert abs(tokens.expires_at - before - timedelta(days=180)) < timedelta(minutes=5)
    assert abs(tokens.lifetime_s - 180 * 86_400) < 300
    assert [(method, path) for method, path, *_ in canned.asked] == [("POST", LOGIN), ("GET", LIST)]


async def test_the_calls_carry_what_the_vendor_wants_and_no_more() -> None:
    _, canned = await signed_in(recorded())

    (_, _, login, sent), (_, _, listing, _) = canned.asked
    assert sent == {"email": "me@example.com", "password": "pass-1"}
    assert (login["product"], login["version"], login["user-agent"]) == ("llu.android", "4.16.0", "evercgm")
    assert login["content-type"] == "application/json"
    assert "authorization" not in login
    assert listing["account-id"] == hashlib.sha256(FOLLOWER.encode()).hexdigest()
    assert listing["authorization"] == "Bearer " + load("login_ok")["data"]["authTicket"]["token"]


async def test_the_version_of_the_settings_is_the_one_that_is_sent() -> None:
    canned = Canned({LOGIN: recorded(), LIST: ONE})
    async with canned.http() as http:
        await SIGN_IN(http, VendorApp("world", BASE, version="4.17.1"), given())

    assert {headers["version"] for _, _, headers, _ in canned.asked} == {"4.17.1"}


async def test_a_password_that_may_not_be_kept_is_in_no_token() -> None:
    tokens, _ = await signed_in(recorded(), credentials=given(keep=False))

    assert tokens.refresh == NO_SECRET
    assert "pass-1" not in tokens.access.reveal()
    async with Canned({}).http() as http:
        with pytest.raises(ReconnectNeeded, match="password_needed"):
            await PROVIDER.refresh(http, APP, NO_SECRET)


async def test_a_wrong_region_is_followed_to_the_host_of_the_table() -> None:
    canned = Canned({LOGIN: load("login_redirect"), "/de" + LOGIN: recorded(), "/de" + LIST: ONE})

    async with canned.http() as http:
        tokens = await SIGN_IN(http, APP, given())

    assert json.loads(tokens.access.reveal())["shard"] == "de"
    assert [path for _, path, *_ in canned.asked] == [LOGIN, "/de" + LOGIN, "/de" + LIST]


async def test_a_third_redirect_of_one_sign_in_is_not_followed() -> None:
    to_de, to_us = load("login_redirect"), {"status": 0, "data": {"redirect": True, "region": "us"}}
    canned = Canned({LOGIN: to_de, "/de" + LOGIN: to_us, "/us" + LOGIN: to_de})

    async with canned.http() as http:
        with pytest.raises(VendorChanged):
            await SIGN_IN(http, APP, given())

    assert [path for _, path, *_ in canned.asked] == [LOGIN, "/de" + LOGIN, "/us" + LOGIN]


@pytest.mark.parametrize("region", ["x/@evil.test", "..", "DE", "de.evil.test#", "", None, 5, ["de"], "zz"])
async def test_a_region_that_is_not_in_the_table_gets_no_password(region: object) -> None:
    canned = Canned({LOGIN: {"status": 0, "data": {"redirect": True, "region": region}}})

    async with canned.http() as http:
        with pytest.raises(VendorChanged):
            await SIGN_IN(http, APP, given())

    assert len(canned.asked) == 1


@pytest.mark.parametrize("title", STEPS)
async def test_each_step_that_only_the_person_can_take_is_named(title: str) -> None:
    with pytest.raises(ReconnectNeeded) as caught:
        await signed_in(case_of("login_steps", title))

    assert caught.value.reason == STEPS[title]


@pytest.mark.parametrize("title", ERRORS)
async def test_each_refused_sign_in_says_whose_turn_it_is_and_is_tried_once(title: str) -> None:
    canned = Canned({LOGIN: case_of("login_errors", title), LIST: ONE})
    kept = Secret(json.dumps({"username": "me@example.com", "password": "pass-1", "patient_id": ALEX}))

    for attempt in (
        lambda http: SIGN_IN(http, APP, given()),
        lambda http: PROVIDER.refresh(http, APP, kept),
    ):
        async with canned.http() as http:
            with pytest.raises(EvercgmError) as caught:
                await attempt(http)
        assert type(caught.value) is ERRORS[title][0]
        assert about(caught.value) == ERRORS[title][1]
    assert len(canned.asked) == 2


def test_no_recorded_outcome_is_left_out() -> None:
    assert {case["case"] for case in load("login_errors")} == set(ERRORS)
    assert {case["case"] for case in load("login_steps")} == set(STEPS)


@pytest.mark.parametrize("title", ["patient logs in as own follower, research consent declined", "open invitation"])
async def test_other_good_answers_let_in_as_well(title: str) -> None:
    tokens, _ = await signed_in(case_of("login_variants", title))

    assert json.loads(tokens.access.reveal())["user_id"] == FOLLOWER


async def test_an_answer_without_a_ticket_is_a_step_that_we_do_not_know() -> None:
    with pytest.raises(ReconnectNeeded, match="vendor_step"):
        await signed_in(case_of("login_variants", "status 0 without user and ticket: treat as failed login"))


async def test_terms_are_never_accepted_for_a_person() -> None:
    canned = Canned({LOGIN: case_of("login_steps", "terms of use changed")})
    canned.answers |= {case["request"].split()[1]: case for case in load("continue_steps")}

    async with canned.http() as http:
        with pytest.raises(ReconnectNeeded):
            await SIGN_IN(http, APP, given())

    assert [path for _, path, *_ in canned.asked] == [LOGIN]


@pytest.mark.parametrize(
    ("title", "expected"),
    [("accepting tou leads to pp", ReconnectNeeded), ("step token expired or route gone", VendorChanged)],
)
async def test_a_step_behind_a_step_and_a_route_that_is_gone_let_nobody_in(title: str, expected: type) -> None:
    case = case_of("continue_steps", title)
    with pytest.raises(expected):
        await signed_in(case | {"body": case["body"] or ""})


async def test_the_answer_after_the_last_step_is_a_sign_in_like_any_other() -> None:
    tokens, _ = await signed_in(case_of("continue_steps", "accepting pp ends the chain with a normal login answer"))

    assert json.loads(tokens.access.reveal())["patient_id"] == ALEX


async def test_of_several_people_none_is_taken_before_one_is_chosen() -> None:
    with pytest.raises(ChooseFirst) as caught:
        await signed_in(recorded(), load("connections"))

    assert caught.value.choices == (Choice(ALEX, "Alex Test"), Choice(KIM, "Kim Test"))
    tokens = await kims()
    assert json.loads(tokens.access.reveal())["patient_id"] == KIM
    assert json.loads(tokens.refresh.reveal())["patient_id"] == KIM
    assert "Kim Test" not in tokens.access.reveal() + tokens.refresh.reveal()


@pytest.mark.parametrize("unreadable", [None, "", "a_b", {"x": 1}, f"{{{KIM}}}"])
@pytest.mark.parametrize("place", [0, 1])
async def test_of_several_people_none_is_taken_because_the_others_cannot_be_read(
    place: int, unreadable: object
) -> None:
    listed = load("connections")
    listed["data"][place]["patientId"] = unreadable

    with pytest.raises(ChooseFirst) as caught:
        await signed_in(recorded(), listed)

    assert [choice.id for choice in caught.value.choices] == [[KIM], [ALEX]][place]
    assert caught.value.unfinished is not None


@pytest.mark.parametrize("entry", [None, 5, {}, []])
async def test_an_entry_that_is_no_person_asks_as_well(entry: object) -> None:
    with pytest.raises(ChooseFirst):
        await signed_in(recorded(), ONE | {"data": [*ONE["data"], entry]})


async def test_several_people_of_whom_none_can_be_read_are_a_change_of_the_vendor() -> None:
    with pytest.raises(VendorChanged):
        await signed_in(recorded(), ONE | {"data": [{"patientId": None}, {"patientId": "../x"}]})


async def test_who_follows_nobody_is_told_so() -> None:
    with pytest.raises(ReconnectNeeded, match="nobody_followed"):
        await signed_in(recorded(), load("connections_empty"))


async def test_a_new_sign_in_with_what_is_kept_reads_the_same_person_and_asks_for_nobody_else() -> None:
    first = await kims()
    canned = Canned({LOGIN: recorded({"token": "the.next.one"})})

    async with canned.http() as http:
        tokens = await PROVIDER.refresh(http, APP, first.refresh)

    access = json.loads(tokens.access.reveal())
    assert (access["token"], access["patient_id"]) == ("the.next.one", KIM)
    assert tokens.refresh == first.refresh
    assert [path for _, path, *_ in canned.asked] == [LOGIN]


@pytest.mark.parametrize("expires", [None, 0, -5, "soon", True, 1_000_000_000, 99_999_999_999_999, 1e300])
async def test_a_nonsense_end_of_a_token_counts_as_180_days(expires: object) -> None:
    tokens, _ = await signed_in(recorded({"expires": expires}))

    assert abs(tokens.expires_at - datetime.now(UTC) - timedelta(days=180)) < timedelta(minutes=5)


@pytest.mark.parametrize("token", [None, "", "two\nlines", "naïve", 5, "x" * 9000])
async def test_a_token_that_no_header_can_carry_is_no_sign_in(token: object) -> None:
    with pytest.raises(ReconnectNeeded, match="vendor_step"):
        await signed_in(recorded({"token": token}))


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("client version too old", OperatorMustAct),
        ("token unreadable or expired", VendorTryLater),
        ("Account-Id or patient id does not belong to the token", VendorTryLater),
        ("account moved to another region: redirect on a data call", VendorTryLater),
        ("too many requests, JSON", VendorRateLimited),
        ("200 that is not JSON", VendorTryLater),
    ],
)
async def test_a_list_that_is_refused_says_nothing_about_the_password(title: str, expected: type) -> None:
    with pytest.raises(EvercgmError) as caught:
        await signed_in(recorded(), case_of("data_errors", title))

    assert type(caught.value) is expected


@pytest.mark.parametrize("new", [None, True, -1, 1e300, "", "x\ny", [], {}, [None]])
async def test_whatever_one_field_of_a_sign_in_becomes_it_ends_in_tokens_or_a_named_error(new: object) -> None:
    ends = await ends_of_sign_ins(new, ONE)

    assert Tokens in ends
    assert ends - {Tokens}


@pytest.mark.parametrize("new", [None, True, -1, 1e300, "", "x\ny", [], {}, [None]])
async def test_whatever_one_field_becomes_nobody_of_several_is_taken_without_a_question(new: object) -> None:
    ends = await ends_of_sign_ins(new, load("connections"))

    assert ChooseFirst in ends
    assert Tokens not in ends


async def ends_of_sign_ins(new: object, listing: Any) -> set[type]:
    """How sign-ins end, in each of which another field of the answers is ``new``; several people are always a question.

    That is checked here, where it is known what the list says: an answer that is good, with more than one entry.
    """
    login, listed = recorded(), json.loads(json.dumps(listing))
    of_login, ends = len(places(login)), set()
    for n in range(of_login + len(places(listed))):
        login, listed = recorded(), json.loads(json.dumps(listing))
        [*places(login), *places(listed)][n](new)
        end: type = Tokens
        try:
            await signed_in(login, listed)
        except EvercgmError as failure:
            end = type(failure)
        ends.add(end)
        is_good = n >= of_login and listed["status"] == 0
        if is_good and isinstance(listed["data"], list) and len(listed["data"]) > 1:
            assert end is ChooseFirst
    return ends


@pytest.mark.parametrize(
    ("lockout", "expected"),
    [
        (1, 1), (300, 300), (300.0, 300), (600.2, 601), ("600", 600), (" 600 ", 600), ("600.0", 600), ("1e3", 300),
        (86_400, 86_400), (86_401, 86_400), (172_800, 86_400), ("172800", 86_400), (1e300, 86_400),
        ("9" * 5000, 86_400), (10**18, 86_400),
        (None, 300), (True, 300), (0, 300), (-5, 300), ("", 300), ("soon", 300), ("٣٠٠", 300), ("-5", 300), ([], 300),
    ],
)  # fmt: skip
async def test_a_lock_is_told_as_long_as_the_vendor_says_and_a_day_at_most(lockout: object, expected: int) -> None:
    case = case_of("login_errors", "locked after three failures")
    case["body"]["data"]["data"]["lockout"] = lockout

    with pytest.raises(SignInLocked) as caught:
        await signed_in(case)

    assert caught.value.retry_after_s == expected


def test_only_the_hosts_of_the_fixed_table_may_be_called() -> None:
    world = PROVIDER.regions["world"].base_url

    assert PROVIDER.hosts(world) == (world, *(f"https://api-{shard}.libreview.io" for shard in SHARDS))
    assert PROVIDER.hosts("https://api.libreview.ru") == ("https://api.libreview.ru",)
    assert PROVIDER.hosts("http://127.0.0.1:1/libre") == ("http://127.0.0.1:1/libre",)
    assert set(SHARDS) == set(load("config_country")["data"]["regionalMap"])
    told = {part["lslApi"] for part in load("config_country")["data"]["regionalMap"].values()}
    assert told < set(PROVIDER.hosts(world))


@pytest.mark.parametrize("region", ["ru", "cn"])
async def test_the_clouds_of_one_host_send_nobody_on(region: str) -> None:
    base_url = PROVIDER.regions[region].base_url
    canned = Canned({LOGIN: load("login_redirect")})

    async with canned.http() as http:
        with pytest.raises(VendorChanged):
            await SIGN_IN(http, VendorApp(region, base_url), given())

    assert len(canned.asked) == 1


async def test_no_error_carries_a_secret_or_a_name() -> None:
    cases = [*load("login_errors"), *load("login_steps"), *load("data_errors")]
    told = []
    for case in cases:
        results = await asyncio.gather(signed_in(case), signed_in(recorded(), case), return_exceptions=True)
        told += [f"{result} {result!r}" for result in results if isinstance(result, BaseException)]

    assert len(told) > len(cases)
    for secret in ("me@example.com", "pass-1", "follower@example.com", "eyJ", "Alex", "Cloudflare"):
        assert [text for text in told if secret in text] == []
