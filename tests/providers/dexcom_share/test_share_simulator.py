"""The simulated Share by itself: its command, its switches, what it refuses of a client that is not ours."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dexcom_share.share_world import NAME, PASSWORD, ShareWorld

from evercgm.providers.dexcom_share.simulator.faults import KINDS
from evercgm.simulator_kit.faults import FaultError, FaultKind, read_text

DOCS = Path(__file__).parents[3] / "docs" / "simulators.md"
APPLICATION = "d89443d2-327c-4a6f-89e5-496bbb0317db"
UNKNOWN_ID = "99999999-9999-4999-9999-999999999999"
RIGHT = {"accountName": NAME, "password": PASSWORD, "applicationId": APPLICATION}
AUTHENTICATE, LOG_IN = "General/AuthenticatePublisherAccount", "General/LoginPublisherAccountById"
READ = "Publisher/ReadPublisherLatestGlucoseValues"


async def post(share: ShareWorld, path: str, body: object = None, **query: object) -> tuple[int, Any]:
    """What a client gets that writes its own requests."""
    answer = await share.http.post(
        f"{share.vendor.base_url}/ShareWebServices/Services/{path}",
        content=b"" if body is None else json.dumps(body),
        params={name: str(value) for name, value in query.items()},
        headers={"Accept-Encoding": "application/json"},
    )
    return answer.status_code, answer.json() if answer.content else None


async def session_of(share: ShareWorld) -> str:
    return str(json.loads((await share.sign_in()).access.reveal())["session"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_switch_is_in_the_table_and_its_example_works(kind: FaultKind[Any]) -> None:
    assert read_text(KINDS, kind.example)[0] is kind
    assert f"| `{kind.name}` | {kind.values} |" in DOCS.read_text().partition("## Faults of Dexcom Share")[2]


@pytest.mark.parametrize("name", ["sessionId", "sessionID", "SESSIONID"])
async def test_a_client_may_write_the_session_as_it_likes_and_send_no_body(share: ShareWorld, name: str) -> None:
    query: dict[str, object] = {
        name: await session_of(share),
        "minutes": 2880,
        "maxCount": 576,
        "applicationId": APPLICATION,
    }

    status, values = await post(share, READ, **query)

    assert status == 200
    assert 270 < len(values) <= 288
    assert set(values[0]) == {"WT", "ST", "DT", "Value", "Trend"}
    assert values[0]["WT"] == values[0]["ST"] > values[-1]["ST"]
    assert values[0]["DT"] == values[0]["ST"].replace(")", "-0800)")


@pytest.mark.parametrize(
    ("call", "body", "status", "code"),
    [
        (AUTHENTICATE, RIGHT | {"accountName": ""}, 400, "InvalidArgument"),
        (AUTHENTICATE, RIGHT | {"password": ""}, 400, "InvalidArgument"),
        (AUTHENTICATE, RIGHT | {"applicationId": "x"}, 400, "InvalidArgument"),
        (AUTHENTICATE, RIGHT | {"accountName": "nobody"}, 500, "AccountPasswordInvalid"),
        (AUTHENTICATE, RIGHT | {"password": "not this"}, 500, "AccountPasswordInvalid"),
        (AUTHENTICATE, [], 400, "InvalidArgument"),
        (LOG_IN, RIGHT | {"accountId": "x"}, 400, "InvalidArgument"),
        (LOG_IN, RIGHT | {"accountId": UNKNOWN_ID}, 500, "SSO_InternalError"),
    ],
)
async def test_a_refused_sign_in_has_the_form_that_was_recorded(
    share: ShareWorld, call: str, body: object, status: int, code: str
) -> None:
    told, fault = await post(share, call, body)

    assert (told, fault["Code"], fault["TypeName"]) == (status, code, "FaultException")
    assert set(fault) == {"Code", "Message", "SubCode", "TypeName"}


@pytest.mark.parametrize(
    ("session", "status", "code"),
    [(UNKNOWN_ID, 500, "SessionIdNotFound"), ("x", 400, "InvalidArgument"), ("", 400, "InvalidArgument")],
)
async def test_a_refused_session_has_the_form_that_was_recorded(
    share: ShareWorld, session: str, status: int, code: str
) -> None:
    told, fault = await post(share, READ, {}, sessionId=session, minutes=10, maxCount=1)

    assert (told, fault["Code"], fault["TypeName"]) == (status, code, "FaultException")


@pytest.mark.parametrize(("minutes", "most"), [("-1", "1"), ("x", "1"), ("10", ""), ("10", "1.5")])
async def test_numbers_that_are_none_are_refused(share: ShareWorld, minutes: str, most: str) -> None:
    status, fault = await post(share, READ, {}, sessionId=await session_of(share), minutes=minutes, maxCount=most)

    assert (status, fault["Code"]) == (400, "InvalidArgument")


async def test_more_than_its_limits_is_refused_where_it_is_told_to(share: ShareWorld) -> None:
    share.trouble("limits", "refuse")
    session = await session_of(share)

    assert (await post(share, READ, {}, sessionId=session, minutes=1441, maxCount=1))[0] == 400
    assert (await post(share, READ, {}, sessionId=session, minutes=1440, maxCount=289))[0] == 400
    assert (await post(share, READ, {}, sessionId=session, minutes=1440, maxCount=288))[0] == 200


async def test_a_session_of_zeros_reads_nothing_that_is_json(share: ShareWorld) -> None:
    zeros = "00000000-0000-0000-0000-000000000000"

    assert await post(share, READ, {}, sessionId=zeros, minutes=10, maxCount=1) == (200, None)


async def test_wrong_passwords_of_one_account_lock_no_other(share: ShareWorld) -> None:
    share.trouble("lock_after", 1)
    with pytest.raises(Exception, match="wrong_password"):
        await share.sign_in(password="not this")
    with pytest.raises(Exception, match="locked"):
        await share.sign_in()
    assert await share.sign_in("User6", "evercgm-demo-6")


async def test_the_right_password_forgives_the_wrong_ones_before(share: ShareWorld) -> None:
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Exception, match="wrong_password"):
                await share.sign_in(password="not this")
        assert await share.sign_in()


@pytest.mark.parametrize(
    ("name", "value"), [("st_shift_s", 61), ("region", "mars"), ("lock_after", 0), ("zero_uuid", True), ("rain", 1)]
)
def test_a_switch_that_makes_no_sense_is_refused(share: ShareWorld, name: str, value: object) -> None:
    with pytest.raises(FaultError, match=name):
        share.trouble(name, value)


def test_the_command_tells_its_people_and_serves_them(tmp_path: Path) -> None:
    options = ("--port", "0", "--json", "--data-dir", str(tmp_path), "--anchor", "2026-11-01T12:04:00+02:00")
    command = [sys.executable, "-m", "evercgm.cli.simulate", "dexcom-share", *options, "--fault", "sign_in_outage=true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            assert line["accounts"][0] == {"username": NAME, "password": PASSWORD, "label": "G7, mobile app"}
            with httpx2.Client(base_url=line["url"], timeout=30) as http:
                path = f"/ShareWebServices/Services/{AUTHENTICATE}"
                refused = http.post(path, json=RIGHT).json()["Code"]
                http.delete("/control/faults")
                let_in = http.post(path, json=RIGHT).json()
                truth = http.get(f"/control/accounts/{NAME}/truth").json()
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)

    assert (process.returncode, said) == (0, ("", ""))
    assert (refused, len(let_in)) == ("SSO_InternalError", 36)
    assert truth


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--anchor", "yesterday"), "no instant"),
        (("--anchor", "2026-11-01T12:00:00"), "no zone"),
        (("--fault", "rain=1"), "rain"),
        (("--trace", "missing.csv"), "missing.csv"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "evercgm.cli.simulate", "dexcom-share", "--port", "0", "--data-dir", str(tmp_path)]

    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
