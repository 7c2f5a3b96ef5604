"""One person, two clouds: the official API and Share show the same glucose, value for value."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from dexcom_share.share_world import NAME, open_share
from real_cloud import on_a_socket

from evercgm.providers.dexcom.simulator.app import create_app as create_dexcom
from evercgm.providers.dexcom.simulator.cloud import SANDBOX_ACCOUNTS
from evercgm.providers.dexcom.simulator.state import Client
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS

CALLBACK = "https://app.test/callback"
CLIENT = Client("client-1", "key-1", (CALLBACK,))
NOW = datetime(2026, 11, 29, 12, 3, 20, tzinfo=UTC)


def own_curve(folder: Path) -> Path:
    """Two days with both ends out of range, a gap, and every arrow."""
    rows = ["local_time,glucose_mg_dl"]
    for n in range(576):
        if not 300 <= n < 306:
            value = 30 + (n * n) % 390
            rows.append(f"{datetime(2026, 1, 1) + timedelta(minutes=5 * n):%Y-%m-%dT%H:%M:%S},{value}")  # noqa: DTZ001
    path = folder / "curve.csv"
    path.write_text("\n".join(rows))
    return path


async def official_values(url: str, start: datetime) -> list[tuple[datetime, int, str]]:
    """What a consent of ``NAME`` reads from the official API, oldest first."""
    form = {"client_id": "client-1", "redirect_uri": CALLBACK, "response_type": "code", "scope": "offline_access"}
    async with httpx2.AsyncClient(base_url=f"{url}/dexcom") as http:
        back = await http.post("/v3/oauth2/login", data={**form, "username": NAME, "decision": "approve"})
        code = dict(parse_qsl(urlsplit(back.headers["location"]).query))["code"]
        ask = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        ask |= {"client_id": "client-1", "client_secret": "key-1"}
        token = (await http.post("/v3/oauth2/token", data=ask)).json()["access_token"]
        window = {"startDate": f"{start:%Y-%m-%dT%H:%M:%S}", "endDate": f"{NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"}
        answer = await http.get("/v3/users/self/egvs", params=window, headers={"Authorization": f"Bearer {token}"})
    found = [
        (datetime.fromisoformat(egv["systemTime"]), egv["value"], egv["trend"]) for egv in answer.json()["records"]
    ]
    return found[::-1]


async def shared_values(data_dir: Path, anchor: datetime, trace: Path | None) -> list[tuple[datetime, int, str]]:
    """What the raw answer of Share says, oldest first."""
    async with open_share(data_dir, now=NOW, anchor=anchor, trace=trace) as share:
        session = json.loads((await share.sign_in()).access.reveal())["session"]
        answer = await share.http.post(
            f"{share.vendor.base_url}/ShareWebServices/Services/Publisher/ReadPublisherLatestGlucoseValues",
            params={"sessionID": session, "minutes": 1440, "maxCount": 288},
        )
    found = [
        (
            datetime.fromtimestamp(int(value["ST"][5:-1]) / 1000, UTC),
            value["Value"],
            value["Trend"][0].lower() + value["Trend"][1:],
        )
        for value in answer.json()
    ]
    return found[::-1]


@pytest.mark.parametrize("own", [False, True], ids=["a shipped recording", "a curve of one's own"])
async def test_both_clouds_show_the_same_values_at_the_same_moments(tmp_path: Path, own: bool) -> None:
    trace = own_curve(tmp_path) if own else None
    started_before = NOW - timedelta(days=3)
    dexcom = create_dexcom(tmp_path / "one", clients=[CLIENT], trace=trace, clock=lambda: started_before)
    anchor = dexcom.state.cloud.state.anchor
    dexcom.state.cloud.state.close()
    dexcom = create_dexcom(tmp_path / "one", clients=[CLIENT], trace=trace, clock=lambda: NOW)

    async with on_a_socket(dexcom) as url:
        official = await official_values(url, NOW - timedelta(hours=24))
    shared = await shared_values(tmp_path / "two", anchor, trace)

    assert len(shared) > 270
    assert shared == official
    assert not own or {39, 401} <= {value for _, value, _ in shared}


def test_both_clouds_have_the_same_people() -> None:
    def told(accounts: object) -> list[tuple[str, str, str | None, int]]:
        return [(one.username, one.label, one.recording, one.utc_offset_min) for one in accounts]  # type: ignore[attr-defined]

    assert told(ACCOUNTS) == told(SANDBOX_ACCOUNTS)
