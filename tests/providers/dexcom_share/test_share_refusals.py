"""What Share refuses, as it was recorded, and what must be done then; at sign-in and at a data call."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import (
    EvercgmError,
    ReconnectNeeded,
    SignInLocked,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.sync import Window
from evercgm.core.tokens import NO_SECRET, Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.providers.dexcom_share import PROVIDER
from evercgm.providers.dexcom_share.auth import APPLICATION_IDS
from evercgm.providers.dexcom_share.client import Session

FIXTURES = Path(__file__).parent / "fixtures"
CASES = json.loads((FIXTURES / "share_errors.json").read_text())
SERVICES = "/ShareWebServices/Services/"
ACCOUNT, SESSION = "99999999-9999-4999-9999-999999999999", "55555555-5555-4555-9555-555555555555"
A_SESSION = Session(SESSION, ACCOUNT).seal()
WRONG = (ReconnectNeeded, "wrong_password")
AT_SIGN_IN: dict[str, tuple[type[EvercgmError], str | None]] = {
    "wrong user, password or region": WRONG,
    "unknown session": (VendorChanged, None),
    "session timed out": (VendorChanged, None),
    "locked after wrong passwords": (SignInLocked, None),
    "account not found by name": WRONG,
    "account not found by id": WRONG,
    "empty account name": WRONG,
    "id is no UUID": (VendorChanged, None),
    "session of zeros: text, not JSON": (VendorTryLater, None),
    "no receiver assigned": (ReconnectNeeded, "nobody_followed"),
}
AT_A_READ = AT_SIGN_IN | {"unknown session": (VendorDenied, None), "session timed out": (VendorDenied, None)}


class Endpoint:
    """Answers each call with the next of its answers, and keeps what was sent. ``headers``: of every answer."""

    def __init__(self, *answers: tuple[bytes, int], **headers: str):
        self.answers = list(answers)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.seen: list[tuple[str, dict[str, str], object]] = []

    async def answer(self, request: Request) -> Response:
        self.seen.append((request.url.path, dict(request.query_params), json.loads(await request.body())))
        body, status = self.answers.pop(0)
        return Response(body, status, self.headers)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[httpx2.AsyncClient]:
        routes = [Route("/{path:path}", self.answer, methods=["POST"])]
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(Starlette(routes=routes))) as http:
            yield http

    async def sign_in(self, region: str = "us", *, keep: bool = True) -> Tokens:
        assert isinstance(PROVIDER.login, Password)
        credentials = Credentials(Secret("anna"), Secret("pass word"), keep)
        async with self.open() as http:
            return await PROVIDER.login.sign_in(http, VendorApp(region, "http://share.test"), credentials)

    async def refresh(self, kept: Secret) -> Tokens:
        async with self.open() as http:
            return await PROVIDER.refresh(http, VendorApp("us", "http://share.test"), kept)

    async def read(self, access: Secret = A_SESSION) -> None:
        now = datetime.now(UTC)
        # In the middle of a minute: our client's own clock may say a little more, or the same.
        window = Window(now - timedelta(hours=3, seconds=30), now)
        async with self.open() as http:
            await PROVIDER.read(http, VendorApp("us", "http://share.test"), access, window)


def fixture(name: str) -> tuple[bytes, int]:
    return (FIXTURES / name).read_bytes(), 200


def fault(code: object, message: object = "Words.", status: int = 500) -> tuple[bytes, int]:
    return json.dumps({"Code": code, "Message": message, "TypeName": "FaultException"}).encode(), status


def recorded(case: dict[str, object]) -> tuple[bytes, int]:
    body = case["body"]
    return (json.dumps(body).encode() if isinstance(body, dict) else str(body).encode()), int(str(case["http_status"]))


async def test_a_name_and_a_password_become_a_session_by_two_calls() -> None:
    cloud = Endpoint(fixture("share_authenticate_ok.json"), fixture("share_login_ok.json"))
    before = datetime.now(UTC)

    tokens = await cloud.sign_in()

    both = {"password": "pass word", "applicationId": "d89443d2-327c-4a6f-89e5-496bbb0317db"}
    assert cloud.seen == [
        (SERVICES + "General/AuthenticatePublisherAccount", {}, {"accountName": "anna", **both}),
        (SERVICES + "General/LoginPublisherAccountById", {}, {"accountId": ACCOUNT, **both}),
    ]
    assert tokens.access == A_SESSION
    assert json.loads(tokens.refresh.reveal()) == {"account": ACCOUNT, "password": "pass word"}
    assert tokens.lifetime_s == 23 * 3600
    assert before + timedelta(hours=23) <= tokens.expires_at <= datetime.now(UTC) + timedelta(hours=23)


async def test_japan_has_an_application_id_of_its_own() -> None:
    cloud = Endpoint(fixture("share_authenticate_ok.json"), fixture("share_login_ok.json"))

    await cloud.sign_in("jp")

    assert {str(sent["applicationId"]) for _, _, sent in cloud.seen if isinstance(sent, dict)} == {
        APPLICATION_IDS["jp"]
    }
    assert APPLICATION_IDS["jp"] != APPLICATION_IDS["us"] == APPLICATION_IDS["eu"]


async def test_a_password_that_may_not_be_kept_is_nowhere_in_the_tokens() -> None:
    cloud = Endpoint(fixture("share_authenticate_ok.json"), fixture("share_login_ok.json"))

    tokens = await cloud.sign_in(keep=False)

    assert tokens.refresh == NO_SECRET
    assert "pass word" not in tokens.access.reveal()


async def test_a_kept_password_signs_in_again_by_one_call_and_stays_kept() -> None:
    first = Endpoint(fixture("share_authenticate_ok.json"), fixture("share_login_ok.json"))
    kept = (await first.sign_in()).refresh
    again = Endpoint(fixture("share_login_ok.json"))

    tokens = await again.refresh(kept)

    assert [path.rpartition("/")[2] for path, _, _ in again.seen] == ["LoginPublisherAccountById"]
    assert (tokens.access, tokens.refresh) == (A_SESSION, kept)


@pytest.mark.parametrize("kept", [NO_SECRET, Secret("{}"), Secret("\ud800"), Secret('{"account": 1}')])
async def test_without_a_kept_password_the_person_is_asked_and_nobody_called(kept: Secret) -> None:
    cloud = Endpoint()

    with pytest.raises(ReconnectNeeded, match="password_needed"):
        await cloud.refresh(kept)
    assert cloud.seen == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
async def test_each_recorded_refusal_of_a_sign_in_says_what_must_be_done(case: dict[str, object]) -> None:
    expected, reason = AT_SIGN_IN[str(case["case"])]
    cloud = Endpoint(recorded(case), fixture("share_login_ok.json"))

    with pytest.raises(expected) as caught:
        await cloud.sign_in()

    assert getattr(caught.value, "reason", None) == reason
    assert len(cloud.seen) == 1, "a sign-in is never tried again"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
async def test_each_recorded_refusal_of_a_read_says_what_must_be_done(case: dict[str, object]) -> None:
    expected, reason = AT_A_READ[str(case["case"])]
    cloud = Endpoint(recorded(case))

    with pytest.raises(expected) as caught:
        await cloud.read()

    assert getattr(caught.value, "reason", None) == reason
    assert getattr(caught.value, "expired_token", True) is True


@pytest.mark.parametrize("at", [0, 1], ids=["account", "session"])
async def test_an_id_of_zeros_is_a_wrong_password(at: int) -> None:
    answers = [fixture("share_authenticate_ok.json"), fixture("share_login_ok.json")]
    answers[at] = fixture("share_login_zero.json")

    with pytest.raises(ReconnectNeeded, match="wrong_password"):
        await Endpoint(*answers).sign_in()


@pytest.mark.parametrize(
    ("asked", "rest_s"),
    [(None, 600), ("0", 600), ("5", 600), ("soon", 600), ("1800", 1800), ("999999999", 3600)],
)
async def test_a_lock_asks_for_ten_minutes_of_rest_and_for_an_hour_at_most(asked: str | None, rest_s: int) -> None:
    headers = {"Retry_After": asked} if asked else {}

    with pytest.raises(SignInLocked) as caught:
        await Endpoint(fault("SSO_AuthenticateMaxAttemptsExceeded"), **headers).sign_in()

    assert caught.value.retry_after_s == rest_s


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (fault("SSO_AuthenticateAccountNotFound"), ReconnectNeeded),
        (fault("SSO_AuthenticatePasswordInvalid"), ReconnectNeeded),
        (fault("SSO_InternalError", "Cannot Authenticate by AccountName"), ReconnectNeeded),
        (fault("SSO_InternalError", "An internal error has occurred"), VendorTryLater),
        (fault("SSO_InternalError", None), VendorTryLater),
        (fault("InvalidArgument", "password must not be empty", 400), ReconnectNeeded),
        (fault("InvalidArgument", "Invalid UUID string"), VendorChanged),
        (fault("SomethingNew"), VendorTryLater),
        (fault("SomethingNew", status=400), VendorChanged),
        (fault(7), VendorTryLater),
        (fault("AccountPasswordInvalid", status=400), ReconnectNeeded),
        (fault("AccountPasswordInvalid", status=429), VendorRateLimited),
        ((b"", 500), VendorTryLater),
        ((b"", 200), VendorTryLater),
        ((b"<html>Down for maintenance</html>", 200), VendorTryLater),
        ((b"<html>Down for maintenance</html>", 503), VendorTryLater),
        ((b'"55555555-5555', 200), VendorChanged),
        ((b'"no id"', 200), VendorChanged),
        ((b"{}", 200), VendorChanged),
        ((b"", 403), VendorChanged),
        ((b"", 404), VendorChanged),
    ],
)
async def test_a_sign_in_is_a_wrong_password_only_where_share_says_so(
    answer: tuple[bytes, int], expected: type[EvercgmError]
) -> None:
    with pytest.raises(expected) as caught:
        await Endpoint(answer).sign_in()

    assert type(caught.value) is expected
    assert getattr(caught.value, "reason", "wrong_password") == "wrong_password"


async def test_a_firewall_that_refuses_a_read_is_no_ended_session() -> None:
    with pytest.raises(VendorDenied) as caught:
        await Endpoint((b"<html>Attention required</html>", 403)).read()

    assert caught.value.expired_token is False


@pytest.mark.parametrize("access", ["", "{}", "not ours", '{"session": 1, "account": "a"}'])
async def test_an_access_token_without_a_session_is_as_one_that_ended(access: str) -> None:
    cloud = Endpoint()

    with pytest.raises(VendorDenied) as caught:
        await cloud.read(Secret(access))

    assert caught.value.expired_token is True
    assert cloud.seen == []


async def test_a_read_asks_for_the_minutes_of_its_window_and_all_values() -> None:
    cloud = Endpoint(fixture("share_readings_empty.json"))

    await cloud.read()

    assert cloud.seen == [
        (
            SERVICES + "Publisher/ReadPublisherLatestGlucoseValues",
            {"sessionId": SESSION, "minutes": "182", "maxCount": "288"},
            {},
        )
    ]
