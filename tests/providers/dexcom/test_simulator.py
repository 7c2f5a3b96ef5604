"""The simulated Dexcom cloud: login, tokens, windows, and what a restart keeps."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from evercgm.providers.dexcom.simulator.app import create_app
from evercgm.providers.dexcom.simulator.state import Client
from evercgm.simulator_kit.arrows import trend_of, wire_value

START = datetime(2026, 3, 1, 12, 3, 20, tzinfo=UTC)
ANCHOR = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CALLBACK = "https://app.test/callback"
CLIENT = Client("client-1", "key-1", (CALLBACK,))
OTHER_CLIENT = Client("client-2", "key-2", (CALLBACK,))
CREDENTIALS = {"client_id": "client-1", "client_secret": "key-1"}
LOGIN = {
    "client_id": "client-1",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "offline_access",
    "state": "S 1&2",
}
Answer = dict[str, str]


@dataclass
class Cloud:
    """A client of the simulator, with a clock that the test moves."""

    data_dir: Path
    now: datetime = START
    trace: Path | None = None
    http: httpx2.AsyncClient = field(init=False)

    def open(self) -> None:
        self.app = create_app(self.data_dir, clients=[CLIENT, OTHER_CLIENT], trace=self.trace, clock=lambda: self.now)
        transport = httpx2.ASGITransport(self.app)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://dexcom.test/dexcom")

    async def close(self) -> None:
        await self.http.aclose()
        self.app.state.cloud.state.close()

    async def consent(self, username: str = "User7", decision: str = "approve", **changes: str) -> Answer:
        form = {**LOGIN, **changes, "username": username, "decision": decision}
        return sent_back(await self.http.post("/v3/oauth2/login", data=form))

    async def token(self, **fields: str) -> httpx2.Response:
        return await self.http.post("/v3/oauth2/token", data={**CREDENTIALS, **fields})

    async def token_for_code(self, code: str, **changes: str) -> httpx2.Response:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **changes}
        return await self.token(**fields)

    async def refresh(self, refresh_token: str) -> httpx2.Response:
        return await self.token(grant_type="refresh_token", refresh_token=refresh_token)

    async def tokens(self, username: str = "User7") -> dict[str, str]:
        code = (await self.consent(username))["code"]
        tokens: dict[str, str] = (await self.token_for_code(code)).json()
        return tokens

    async def data(self, kind: str, access_token: str, **query: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {access_token}"}
        return await self.http.get(f"/v3/users/self/{kind}", params=query, headers=headers)

    async def egvs(self, access_token: str, start: datetime, end: datetime) -> list[dict[str, object]]:
        answer = await self.data("egvs", access_token, **window(start, end))
        assert answer.status_code == 200
        found: list[dict[str, object]] = answer.json()["records"]
        return found


def sent_back(answer: httpx2.Response) -> Answer:
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(CALLBACK + "?")
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def window(start: datetime, end: datetime) -> dict[str, str]:
    return {"startDate": f"{start:%Y-%m-%dT%H:%M:%S}", "endDate": f"{end:%Y-%m-%dT%H:%M:%S}"}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    cloud = Cloud(tmp_path / "data")
    cloud.open()
    yield cloud
    await cloud.close()


async def test_the_first_user_is_chosen_and_approving_is_one_click(cloud: Cloud) -> None:
    page = await cloud.http.get("/v3/oauth2/login", params=LOGIN)
    assert page.status_code == 200
    radios = re.findall(r'name="username" value="(\w+)"( checked)?', page.text)
    assert radios[0] == ("User7", " checked")
    assert [checked for _, checked in radios[1:]] == ["", ""]
    assert re.findall(r'name="decision" value="(\w+)"', page.text) == ["approve", "deny"]
    assert 'value="S 1&amp;2"' in page.text


async def test_consent_gives_a_code_and_the_state_back(cloud: Cloud) -> None:
    answer = await cloud.consent()
    assert answer["state"] == "S 1&2"
    assert answer["code"].startswith("US_")


async def test_a_refusal_comes_back_as_access_denied(cloud: Cloud) -> None:
    assert await cloud.consent(decision="deny") == {"error": "access_denied", "state": "S 1&2"}


async def test_no_state_comes_back_where_none_was_sent(cloud: Cloud) -> None:
    form = {name: value for name, value in LOGIN.items() if name != "state"} | {"decision": "deny"}
    assert sent_back(await cloud.http.post("/v2/oauth2/login", data=form)) == {"error": "access_denied"}


@pytest.mark.parametrize("change", [{"client_id": "nobody"}, {"redirect_uri": CALLBACK + "/"}])
async def test_an_unknown_client_or_address_is_never_redirected(cloud: Cloud, change: Answer) -> None:
    shown = await cloud.http.get("/v3/oauth2/login", params={**LOGIN, **change})
    form = {**LOGIN, **change, "username": "User7", "decision": "approve"}
    posted = await cloud.http.post("/v3/oauth2/login", data=form)
    for answer in (shown, posted):
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "not known or is not authorized" in answer.text


async def test_a_wrong_scope_goes_back_as_an_error(cloud: Cloud) -> None:
    answer = await cloud.http.get("/v3/oauth2/login", params={**LOGIN, "scope": "everything"})
    assert sent_back(answer) == {"error": "invalid_scope", "state": "S 1&2"}


async def test_a_token_answer_has_the_documented_keys(cloud: Cloud) -> None:
    answer = await cloud.token_for_code((await cloud.consent())["code"])
    assert answer.status_code == 200
    documented = "access_token expires_in token_type refresh_token refresh_expires_in not-before-policy"
    assert set(answer.json()) == {*documented.split(), "session_state"}
    assert answer.json()["expires_in"] == 7200


async def test_a_code_works_once(cloud: Cloud) -> None:
    code = (await cloud.consent())["code"]
    assert (await cloud.token_for_code(code)).status_code == 200
    again = await cloud.token_for_code(code)
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


async def test_a_code_works_for_a_minute(cloud: Cloud) -> None:
    code = (await cloud.consent())["code"]
    cloud.now += timedelta(seconds=60)
    assert (await cloud.token_for_code(code)).json() == {"error": "invalid_grant"}


CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B


@pytest.mark.parametrize(
    ("verifier", "status"),
    [
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", 200),
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl", 400),
        (CHALLENGE, 400),
        ("", 400),
        (None, 400),
    ],
)
async def test_a_code_with_a_challenge_wants_its_verifier(cloud: Cloud, verifier: str | None, status: int) -> None:
    code = (await cloud.consent(code_challenge=CHALLENGE, code_challenge_method="S256"))["code"]
    sent = {} if verifier is None else {"code_verifier": verifier}

    answer = await cloud.token_for_code(code, **sent)

    assert (answer.status_code, answer.json().get("error")) == (status, None if status == 200 else "invalid_grant")


async def test_a_plain_challenge_is_refused(cloud: Cloud) -> None:
    assert (await cloud.consent(code_challenge="x", code_challenge_method="plain"))["error"] == "invalid_request"


async def test_a_data_directory_of_before_challenges_still_opens(cloud: Cloud) -> None:
    await cloud.close()
    with sqlite3.connect(cloud.data_dir / "dexcom-simulator.sqlite3") as before:
        before.execute("alter table codes drop column challenge")
    before.close()

    cloud.open()

    assert "access_token" in await cloud.tokens()


async def test_a_code_is_bound_to_its_client_and_address(cloud: Cloud) -> None:
    code = (await cloud.consent())["code"]
    stolen = await cloud.token_for_code(code, client_id="client-2", client_secret="key-2")
    assert stolen.json() == {"error": "invalid_grant"}
    elsewhere = await cloud.token_for_code(code, redirect_uri=CALLBACK + "2")
    assert elsewhere.json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "no"}, "invalid_client"),
    ],
)
async def test_bad_token_requests_name_their_error(cloud: Cloud, fields: Answer, error: str) -> None:
    answer = await cloud.token(**fields)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


async def test_credentials_count_only_in_a_form_body(cloud: Cloud) -> None:
    answer = await cloud.http.post("/v3/oauth2/token", json={**CREDENTIALS, "grant_type": "refresh_token"})
    assert answer.json() == {"error": "invalid_request"}


async def test_a_refresh_token_works_once_and_reuse_is_counted(cloud: Cloud) -> None:
    first = await cloud.tokens()
    second = (await cloud.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    again = await cloud.refresh(first["refresh_token"])
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
    stats = (await cloud.http.get("/control/stats")).json()
    assert stats["refresh_reuse"] == 1
    assert stats["token_calls"] == {"authorization_code": 1, "refresh_token": 2}
    assert stats["calls"] == {"/v3/oauth2/login": 1, "/v3/oauth2/token": 3}
    assert (await cloud.data("dataRange", second["access_token"])).status_code == 200


async def test_reuse_can_revoke_the_whole_family(cloud: Cloud) -> None:
    await cloud.http.post("/control/settings", json={"refresh_reuse_revokes_family": True})
    first, bystander = await cloud.tokens(), await cloud.tokens()
    second = (await cloud.refresh(first["refresh_token"])).json()
    await cloud.refresh(first["refresh_token"])
    assert (await cloud.data("dataRange", second["access_token"])).status_code == 401
    assert (await cloud.refresh(second["refresh_token"])).json() == {"error": "invalid_grant"}
    assert (await cloud.data("dataRange", bystander["access_token"])).status_code == 200


async def test_an_access_token_ends_by_the_clock(cloud: Cloud) -> None:
    await cloud.http.post("/control/settings", json={"expires_in": 5})
    tokens = await cloud.tokens()
    assert tokens["expires_in"] == 5
    cloud.now += timedelta(seconds=4)
    assert (await cloud.data("dataRange", tokens["access_token"])).status_code == 200
    cloud.now += timedelta(seconds=1)
    assert (await cloud.data("dataRange", tokens["access_token"])).status_code == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nonsense", "Basic eDp5"])
async def test_without_a_token_there_is_no_data(cloud: Cloud, authorization: str) -> None:
    answer = await cloud.http.get("/v3/users/self/devices", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.json()["fault"]["detail"]["errorcode"] == "oauth.v2.InvalidAccessToken"


async def test_a_refresh_token_opens_no_data(cloud: Cloud) -> None:
    assert (await cloud.data("devices", (await cloud.tokens())["refresh_token"])).status_code == 401


async def test_settings_that_make_no_sense_are_refused(cloud: Cloud) -> None:
    for body in ({"expires_in": 0}, {"unheard_of": 1}, {"delay_hours": "long"}):
        assert (await cloud.http.post("/control/settings", json=body)).status_code == 400
    assert (await cloud.http.post("/control/settings", content="[")).status_code == 400


async def test_readings_have_the_documented_form(cloud: Cloud) -> None:
    tokens = await cloud.tokens()
    answer = (await cloud.data("egvs", tokens["access_token"], **window(ANCHOR - timedelta(days=1), START))).json()
    assert (answer["recordType"], answer["recordVersion"]) == ("egv", "3.0")
    assert re.fullmatch(r"[0-9a-f]{64}", answer["userId"])
    newest = answer["records"][0]
    assert newest["systemTime"] == "2026-03-01T12:00:00Z"
    assert newest["displayTime"] == "2026-03-01T04:00:00-08:00"
    assert re.fullmatch(r"[0-9a-f]{64}", newest["transmitterId"])
    fixed = ("unit", "rateUnit", "displayDevice", "transmitterGeneration", "displayApp")
    assert [newest[name] for name in fixed] == ["mg/dL", "mg/dL/min", "iOS", "g7", "G7"]
    times = [record["systemTime"] for record in answer["records"]]
    assert times == sorted(times, reverse=True)
    assert len(times) > 250


async def test_a_window_holds_its_start_and_not_its_end(cloud: Cloud) -> None:
    token = (await cloud.tokens())["access_token"]
    assert await cloud.egvs(token, ANCHOR - timedelta(minutes=1), ANCHOR) == []
    held = await cloud.egvs(token, ANCHOR, ANCHOR + timedelta(minutes=1))
    assert [record["systemTime"] for record in held] == ["2026-03-01T12:00:00Z"]


@pytest.mark.parametrize("kind", ["egvs", "events", "calibrations", "alerts"])
async def test_bad_windows_are_400(cloud: Cloud, kind: str) -> None:
    token = (await cloud.tokens())["access_token"]
    month = window(START - timedelta(days=30), START)
    assert (await cloud.data(kind, token, **month)).status_code == 200
    bad = [
        window(START - timedelta(days=30, seconds=1), START),
        window(START, START - timedelta(seconds=1)),
        {"startDate": month["startDate"]},
        {**month, "endDate": "2026-03-01T12:00:00Z"},
        {**month, "endDate": "2026-02-30T12:00:00"},
        {},
    ]
    assert [(await cloud.data(kind, token, **query)).status_code for query in bad] == [400] * len(bad)


async def test_readings_appear_at_their_instant(cloud: Cloud) -> None:
    token = (await cloud.tokens())["access_token"]
    upcoming = cloud.app.state.cloud.traces["User7"]
    following = upcoming.record(upcoming.count_before(START)).measured_at
    cloud.now = following - timedelta(seconds=1)
    assert await cloud.egvs(token, START, following + timedelta(hours=1)) == []
    cloud.now = following
    assert len(await cloud.egvs(token, START, following + timedelta(hours=1))) == 1


async def test_a_delay_hides_the_newest_readings(cloud: Cloud) -> None:
    token = (await cloud.tokens())["access_token"]
    await cloud.http.post("/control/settings", json={"delay_hours": 1})
    found = await cloud.egvs(token, START - timedelta(hours=3), START)
    assert "2026-03-01T10:5" <= str(found[0]["systemTime"]) <= "2026-03-01T11:03:20Z"


async def test_the_truth_is_what_the_api_gives(cloud: Cloud) -> None:
    cloud.now += timedelta(days=9)
    token = (await cloud.tokens())["access_token"]
    start = cloud.now - timedelta(days=12)
    given = await cloud.egvs(token, start, cloud.now + timedelta(days=1))
    truth = await cloud.http.get("/control/accounts/User7/truth", params={"start": start.isoformat()})
    told = ("systemTime", "displayTime", "value")
    assert truth.json() == [{name: record[name] for name in told} for record in reversed(given)]
    assert len({r["recordId"] for r in given}) == len(given) > 2500
    assert (await cloud.http.get("/control/accounts/Nobody/truth")).status_code == 404


async def test_data_range_spans_the_readings(cloud: Cloud) -> None:
    token = (await cloud.tokens())["access_token"]
    whole = (await cloud.data("dataRange", token)).json()
    truth = (await cloud.http.get("/control/accounts/User7/truth")).json()
    assert whole["egvs"]["start"]["systemTime"] == truth[0]["systemTime"]
    assert whole["egvs"]["end"]["systemTime"] == truth[-1]["systemTime"]
    assert whole["calibrations"]["end"]["systemTime"] <= whole["egvs"]["end"]["systemTime"]
    assert whole["events"]["end"]["systemTime"] <= whole["egvs"]["end"]["systemTime"]
    nothing_new = await cloud.data("dataRange", token, lastSyncTime="2026-03-01T12:00:00Z")
    assert nothing_new.json()["egvs"] is None
    newer = (await cloud.data("dataRange", token, lastSyncTime="2026-03-01T11:59:59")).json()["egvs"]
    assert newer["start"] == newer["end"] == whole["egvs"]["end"]


async def test_a_new_account_has_nothing_and_that_is_no_error(cloud: Cloud) -> None:
    token = (await cloud.tokens("SandboxUser1"))["access_token"]
    whole = (await cloud.data("dataRange", token)).json()
    assert whole["egvs"] is whole["calibrations"] is whole["events"] is None
    assert await cloud.egvs(token, START - timedelta(days=1), START) == []
    assert (await cloud.data("devices", token)).json()["records"] == []


async def test_devices_name_the_running_transmitter_first(cloud: Cloud) -> None:
    cloud.now += timedelta(days=9)
    token = (await cloud.tokens())["access_token"]
    found = (await cloud.data("devices", token)).json()
    newest = (await cloud.egvs(token, cloud.now - timedelta(hours=1), cloud.now))[0]
    assert found["recordType"] == "device"
    assert found["records"][0]["transmitterId"] == newest["transmitterId"]
    assert found["records"][0]["lastUploadDate"] == newest["systemTime"]
    assert len({device["transmitterId"] for device in found["records"]}) == 3


async def test_ids_differ_between_clients_and_accounts(cloud: Cloud) -> None:
    mine = (await cloud.data("dataRange", (await cloud.tokens())["access_token"])).json()["userId"]
    again = (await cloud.data("dataRange", (await cloud.tokens())["access_token"])).json()["userId"]
    other = (await cloud.data("dataRange", (await cloud.tokens("User6"))["access_token"])).json()["userId"]
    assert mine == again != other


@pytest.mark.parametrize(
    ("rate", "trend"),
    [
        (8.1, ("rateOutOfRange", None)),
        (3.0, ("doubleUp", 3.0)),
        (2.0, ("singleUp", 2.0)),
        (1.0, ("fortyFiveUp", 1.0)),
        (0.9, ("flat", 0.9)),
        (-0.9, ("flat", -0.9)),
        (-1.0, ("fortyFiveDown", -1.0)),
        (-2.0, ("singleDown", -2.0)),
        (-3.0, ("doubleDown", -3.0)),
        (None, ("none", None)),
    ],
)
def test_arrows_follow_the_rate(rate: float | None, trend: tuple[str, float | None]) -> None:
    assert trend_of(rate) == trend


def test_values_out_of_range_are_placeholders() -> None:
    assert [wire_value(v) for v in (39, 40, 400, 401)] == [
        (39, "low"),
        (40, None),
        (400, None),
        (401, "high"),
    ]


async def test_the_first_account_replays_the_given_trace(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("local_time,glucose_mg_dl\n2020-01-01 10:00:00,20\n2020-01-01 10:05:00,450\n")
    cloud = Cloud(tmp_path / "data", trace=path)
    cloud.open()
    found = await cloud.egvs((await cloud.tokens())["access_token"], START - timedelta(days=1), START)
    await cloud.close()
    assert [(r["value"], r["status"]) for r in found] == [(401, "high"), (39, "low")]


async def test_a_restart_moves_no_reading_and_forgets_no_token(cloud: Cloud) -> None:
    tokens = await cloud.tokens()
    yesterday = (ANCHOR - timedelta(days=1), START)
    before = await cloud.egvs(tokens["access_token"], *yesterday)
    code = (await cloud.consent())["code"]
    await cloud.close()
    cloud.now += timedelta(seconds=50)
    cloud.open()
    assert await cloud.egvs(tokens["access_token"], *yesterday) == before
    assert (await cloud.token_for_code(code)).status_code == 200
    assert (await cloud.refresh(tokens["refresh_token"])).status_code == 200


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The real command; killed at the end if the test did not stop it."""
    source = str(Path(__file__).parents[3] / "src")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), source]))
    with subprocess.Popen(
        [sys.executable, "-m", "evercgm.cli.simulate", "dexcom", *options],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str], with_signal: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(with_signal)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def walked_through(http: httpx2.Client) -> str:
    """Login, consent and the code's exchange; the access token."""
    form = {**LOGIN, "username": "User7", "decision": "approve"}
    code = sent_back(http.post("/v3/oauth2/login", data=form))["code"]
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    return str(http.post("/v3/oauth2/token", data={**CREDENTIALS, **fields}).json()["access_token"])


def test_the_command_keeps_tokens_and_readings_over_a_restart(tmp_path: Path) -> None:
    options = ("--port", "0", "--json", "--data-dir", str(tmp_path / "data"), "--redirect-uri", CALLBACK)
    options += ("--client-id", "client-1", "--client-secret", "key-1", "--expires-in", "3600")
    now = datetime.now(UTC)
    week = window(now - timedelta(days=7), now - timedelta(minutes=1))
    ended, bodies = [], []
    access_token = ""
    for with_signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with started(*options) as process:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert line["accounts"][0] == {"username": "User7", "password": None, "label": "G7, mobile app"}
            assert line["control_url"] == line["url"] + "/control"
            with httpx2.Client(base_url=line["url"], timeout=30) as http:
                access_token = access_token or walked_through(http)
                headers = {"Authorization": f"Bearer {access_token}"}
                bodies.append(http.get("/v3/users/self/egvs", params=week, headers=headers).json())
            ended.append(stopped(process, with_signal))
    assert bodies[0]["records"]
    assert bodies == [bodies[0]] * 3
    assert ended == [(-signal.SIGKILL, "", ""), (0, "", ""), (0, "", "")]


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    data_dir = ("--data-dir", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bad = [
            ("--port", str(taken.getsockname()[1]), *data_dir),
            ("--port", "0", "--trace", str(tmp_path / "missing.csv"), *data_dir),
            ("--port", "0", "--data-dir", str(file)),
        ]
        said = []
        for options in bad:
            with started(*options) as process:
                out, err = process.communicate(timeout=60)
                assert (process.returncode, out) == (2, "")
                said.append(err)
    assert [text.count("\n") for text in said] == [1, 1, 1]
    assert "in use" in said[0]
    assert "missing.csv" in said[1]
    assert "cannot keep data there" in said[2]
