"""The simulated LibreLinkUp cloud: the recorded shapes, locks and steps, what a restart keeps, what its switches do."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libre_answers import case_of, load
from libre_process import running, steady_trace

from evercgm.providers.libre.simulator.app import create_app
from evercgm.providers.libre.simulator.curve import Uploads, current, history, scans
from evercgm.providers.libre.simulator.faults import KINDS
from evercgm.providers.libre.simulator.people import ALEX, DEMO_ACCOUNTS, DEMO_PASSWORD
from evercgm.simulator_kit.faults import FaultKind, read_text
from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import CADENCE, Trace

DOCS = Path(__file__).parents[3] / "docs" / "simulators.md"
START = datetime(2026, 3, 14, 13, 39, 30, tzinfo=UTC)
FOLLOWER = DEMO_ACCOUNTS[0]
HEADERS = {"product": "llu.android", "version": "4.16.0"}
GRAPH = f"/eu/llu/connections/{ALEX.patient_id}/graph"
LOGBOOK = f"/eu/llu/connections/{ALEX.patient_id}/logbook"
HOUR = timedelta(hours=1)
Json = dict[str, Any]


@dataclass
class Cloud:
    """A client of the simulator, with a clock that the test moves."""

    folder: Path
    now: datetime = START
    token: str = ""
    http: httpx2.AsyncClient = field(init=False)

    def open(self) -> None:
        trace = steady_trace(self.folder / "trace.csv")
        self.app = create_app(self.folder / "data", trace=trace, clock=lambda: self.now)
        transport = httpx2.ASGITransport(self.app)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://libre.test/libre", headers=HEADERS)

    async def close(self) -> None:
        await self.http.aclose()
        self.app.state.cloud.state.ledger.close()

    async def log_in(self, password: str = DEMO_PASSWORD, username: str = FOLLOWER.username, shard: str = "/eu") -> Any:
        body = {"email": username, "password": password}
        return (await self.http.post(f"{shard}/llu/auth/login", json=body)).json()

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        own = {"Account-Id": hashlib.sha256(FOLLOWER.user_id.encode()).hexdigest()}
        return await self.http.get(path, headers={"Authorization": f"Bearer {self.token}", **own, **headers})

    async def graph(self) -> Json:
        data: Json = (await self.get(GRAPH)).json()["data"]
        return data


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    cloud = Cloud(tmp_path)
    cloud.open()
    cloud.token = (await cloud.log_in())["data"]["authTicket"]["token"]
    yield cloud
    await cloud.close()


def shape(value: object) -> object:
    """Names and kinds of a JSON value; of a list its first entry, of several systems' message times none."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items() if name != "messages" or "unread" in part}
    if isinstance(value, list):
        return [shape(part) for part in value[:1]]
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


async def test_a_sign_in_has_the_recorded_shape(cloud: Cloud) -> None:
    assert shape(await cloud.log_in()) == shape(load("login_ok"))
    assert await cloud.log_in(shard="/de") == load("login_redirect") | {"data": {"redirect": True, "region": "eu"}}
    recorded = case_of("login_errors", "wrong e-mail or password, or account of another world region (ru, cn)")
    assert await cloud.log_in("wrong") == recorded["body"]


@pytest.mark.parametrize(
    ("step", "title"),
    [
        ("tou", "terms of use changed"),
        ("pp", "privacy policy changed"),
        ("verifyEmail", "e-mail address not verified"),
        ("2faVerify", "second factor wanted (seen on the web login only)"),
        ("newStep", "step of an unknown kind"),
    ],
)
async def test_each_step_has_the_recorded_shape(cloud: Cloud, step: str, title: str) -> None:
    cloud.app.state.cloud.set_fault("login_step", step)

    answer, recorded = await cloud.log_in(), case_of("login_steps", title)["body"]

    assert shape(answer) == shape(recorded)
    answer["data"]["step"]["props"].pop("email", None)
    recorded["data"]["step"]["props"].pop("email", None)
    assert answer["data"]["step"] == recorded["data"]["step"]


async def test_the_data_answers_have_the_recorded_shapes(cloud: Cloud) -> None:
    assert shape((await cloud.get(GRAPH)).json()) == shape(load("graph_libre3"))
    assert shape((await cloud.get("/eu/llu/connections")).json()) == shape(load("connections"))
    assert shape((await cloud.get(LOGBOOK)).json()) == shape(load("logbook_scans_only"))
    country = (await cloud.http.get("/llu/config/country", params={"country": "DE"})).json()
    assert shape(country) == shape(load("config_country"))
    assert country["data"]["regionalMap"]["fr"]["lslApi"] == "http://libre.test/libre/fr"


async def test_a_graph_is_12_hours_of_history_with_its_lag_and_the_value_of_this_minute(cloud: Cloud) -> None:
    cloud.now += timedelta(days=2)

    data = await cloud.graph()

    points, newest = data["graphData"], data["connection"]["glucoseMeasurement"]
    assert len(points) in (141, 142)
    assert points[-1]["FactoryTimestamp"] == "3/16/2026 1:20:00 PM"
    assert points[0]["FactoryTimestamp"] == "3/16/2026 1:40:00 AM"
    assert (points[-1]["type"], "TrendArrow" in points[-1]) == (0, False)
    assert (newest["type"], newest["FactoryTimestamp"]) == (1, "3/16/2026 1:39:00 PM")
    assert newest["Timestamp"] == "3/16/2026 2:39:00 PM"


async def test_three_failures_in_a_minute_lock_for_five_and_others_do_not(cloud: Cloud) -> None:
    locked = case_of("login_errors", "locked after three failures")["body"]
    for wait_s in (0, 40, 40):
        cloud.now += timedelta(seconds=wait_s)
        assert (await cloud.log_in("wrong"))["status"] == 2
    assert (await cloud.log_in("wrong"))["status"] == 2

    assert await cloud.log_in() == locked
    assert (await cloud.log_in(username="family@example.com"))["status"] == 0
    cloud.now += timedelta(seconds=299)
    assert await cloud.log_in() == locked
    cloud.now += timedelta(seconds=2)
    assert (await cloud.log_in())["status"] == 0


async def test_accepted_terms_lead_to_the_next_step_and_then_in(cloud: Cloud) -> None:
    cloud.app.state.cloud.set_fault("login_step", "tou_pp")

    async def accept(step: str, token: str) -> httpx2.Response:
        return await cloud.http.post(f"/eu/auth/continue/{step}", headers={"Authorization": f"Bearer {token}"})

    first = (await cloud.log_in())["data"]["authTicket"]["token"]
    cloud.token = first
    assert (await cloud.get(GRAPH)).status_code == 401
    assert (await accept("pp", first)).status_code == 404
    second = (await accept("tou", first)).json()
    assert second["data"]["step"]["type"] == "pp"
    cloud.app.state.cloud.set_fault("continue_gone", True, count=1)
    token = second["data"]["authTicket"]["token"]
    assert (await accept("pp", token)).status_code == 404
    in_ = (await accept("pp", token)).json()
    assert shape(in_) == shape(load("login_ok"))
    cloud.token = in_["data"]["authTicket"]["token"]
    assert (await cloud.get(GRAPH)).status_code == 200


async def test_a_token_ends_after_180_days_or_when_all_are_ended(cloud: Cloud) -> None:
    cloud.now += timedelta(days=179)
    assert (await cloud.get(GRAPH)).status_code == 200
    cloud.now += timedelta(days=2)
    assert (await cloud.get(GRAPH)).json() == {"message": "invalid or expired jwt"}
    cloud.token = (await cloud.log_in())["data"]["authTicket"]["token"]

    ended = cloud.app.state.cloud.set_fault("tokens_ended", True)

    assert ended.hits >= 1
    assert (await cloud.get(GRAPH)).status_code == 401


async def test_a_newer_token_beside_the_data_works_as_the_one_before(cloud: Cloud) -> None:
    cloud.app.state.cloud.set_fault("ticket", "rotates")
    cloud.now += timedelta(days=100)

    ticket = (await cloud.get(GRAPH)).json()["ticket"]

    assert ticket["token"] != cloud.token
    assert ticket["duration"] == 180 * 86_400_000
    assert (await cloud.get(GRAPH)).status_code == 200
    cloud.now += timedelta(days=100)
    assert (await cloud.get(GRAPH)).status_code == 401
    cloud.token = ticket["token"]
    assert (await cloud.get(GRAPH)).status_code == 200


async def test_versions_are_compared_by_their_numbers(cloud: Cloud) -> None:
    assert (await cloud.get(GRAPH, version="4.9.9")).json() == {"data": {"minimumVersion": "4.16.0"}, "status": 920}
    assert (await cloud.get(GRAPH, version="4.16.0")).status_code == 200
    assert (await cloud.get(GRAPH, version="10.0")).status_code == 200


async def test_an_address_may_send_so_many_calls_a_minute(cloud: Cloud) -> None:
    cloud.app.state.cloud.set_fault("calls_per_minute", 2)

    statuses = [(await cloud.get(GRAPH)).status_code for _ in range(3)]
    cloud.now += timedelta(seconds=61)

    assert statuses == [200, 200, 429]
    assert (await cloud.get(GRAPH)).status_code == 200


async def test_a_fault_of_one_account_strikes_no_other_and_ends_after_its_count(cloud: Cloud) -> None:
    cloud.app.state.cloud.set_fault("server_error", 503, count=2, username=FOLLOWER.username)

    assert (await cloud.log_in(username="family@example.com"))["status"] == 0
    assert [(await cloud.get(GRAPH)).status_code for _ in range(3)] == [503, 503, 200]


async def test_what_is_on_is_told_cleared_and_a_wrong_order_refused(cloud: Cloud) -> None:
    async def order(**body: object) -> httpx2.Response:
        return await cloud.http.post("/control/faults", json=body)

    assert (await order(set={"slow": 0}, count=2, path="graph")).status_code == 200
    (told,) = (await cloud.http.get("/control/faults")).json()["faults"]
    assert (told["name"], told["count"], told["path"]) == ("slow", 2, "graph")
    for wrong in ({"snow": 1}, {"moved": "x/@evil"}, {"login_step": "dance"}, {"phone_offline": {"start": "soon"}}):
        answer = await order(set=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("fault ")
    assert (await order(set={"slow": 0}, username="bob")).status_code == 400
    assert (await order()).json() == {"faults": []}
    assert (await cloud.http.get("/control/faults")).json() == {"faults": []}
    assert (await cloud.http.get("/control/patients/nobody/truth")).status_code == 404


async def test_a_restart_keeps_tokens_readings_lasting_faults_and_the_clock(cloud: Cloud) -> None:
    await cloud.http.post("/control/clock", json={"advance_s": 86_400})
    cloud.app.state.cloud.set_fault("revised", {"last_hours": 2, "add_mg_dl": 7})
    cloud.app.state.cloud.set_fault("maintenance", True)
    before = await cloud.http.get(f"/control/patients/{ALEX.patient_id}/truth")
    cloud.app.state.cloud.clear_faults("maintenance")
    graph = await cloud.graph()

    await cloud.close()
    cloud.now += timedelta(seconds=1)
    cloud.open()

    assert await cloud.graph() == graph
    after = await cloud.http.get(f"/control/patients/{ALEX.patient_id}/truth")
    assert after.json() == before.json()


async def test_an_offline_phone_sends_nothing_and_later_all_that_the_graph_reaches(cloud: Cloud) -> None:
    cloud.now += timedelta(days=1)
    whole = (await cloud.graph())["graphData"]
    cloud.app.state.cloud.set_fault("phone_offline", {"last_hours": 4, "in_hours": 1})

    data = await cloud.graph()
    cloud.now += HOUR
    later = (await cloud.graph())["graphData"]

    assert data["graphData"] == [point for point in whole if point in data["graphData"]]
    assert data["connection"]["glucoseMeasurement"]["FactoryTimestamp"] == "3/15/2026 9:39:00 AM"
    assert len(whole) - len(data["graphData"]) == 48
    assert later[: len(whole) - 12] == whole[12:]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_example_of_each_fault_is_one_that_it_takes_and_the_table_names_it(kind: FaultKind[Any]) -> None:
    found, value = read_text(KINDS, kind.example)

    assert found is kind
    assert value is not False
    assert kind.meaning.endswith(".")
    assert f"| `{kind.name}` | {kind.values} |" in DOCS.read_text().partition("## LibreLinkUp")[2]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(0, 20_000),
    st.integers(0, 300),
    st.none() | st.integers(0, 20_000),
    st.none() | st.tuples(st.integers(0, 20_000), st.integers(1, 5000)),
)
def test_nothing_is_shown_that_was_not_measured_and_sent(
    steps: list[int], now_min: int, delay_min: int, changed_min: int | None, offline: tuple[int, int] | None
) -> None:
    offsets = [-300 * sum(steps[n:]) for n in range(len(steps) + 1)]
    trace = Trace("t", START.replace(second=0), tuple(offsets), tuple(range(100, 100 + len(offsets))))
    first = trace.first_at
    uploads = Uploads(
        now=first + timedelta(minutes=now_min, seconds=17),
        delay=timedelta(minutes=delay_min),
        changed_at=None if changed_min is None else first + timedelta(minutes=changed_min),
        offline=offline_from(first, *offline) if offline else None,
    )

    newest, points, found = current(trace, uploads), history(trace, uploads, 1), list(scans(trace, uploads))

    shown = [*points, *found, *([newest] if newest else [])]
    assert all(one.measured_at <= uploads.until and uploads.is_measured(one.measured_at) for one in shown)
    for one in [*found, *([newest] if newest else [])]:
        last = trace.record(trace.count_before(one.measured_at + timedelta(microseconds=1)) - 1)
        assert one.measured_at - last.measured_at < CADENCE
    assert [point.measured_at for point in points] == sorted({point.measured_at for point in points})
    if newest is not None and points and not (changed_min is not None and uploads.has_changed):
        assert newest.measured_at >= points[-1].measured_at


def offline_from(first: datetime, start_min: int, length_min: int) -> Settled:
    """A phone that is silent for so long."""
    start, end = (first + timedelta(minutes=minutes) for minutes in (start_min, start_min + length_min))
    return Settled(start, end, end)


def test_the_command_keeps_what_it_gave_over_a_kill_and_stops_when_asked(tmp_path: Path) -> None:
    tokens = []
    for with_signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with running(tmp_path / "data", "--fault", "gzip=true") as cloud:
            body = {"email": FOLLOWER.username, "password": cloud.passwords[FOLLOWER.username]}
            answer = httpx2.post(f"{cloud.url}/eu/llu/auth/login", json=body, headers=HEADERS, timeout=30)
            tokens.append(answer.json()["data"]["authTicket"]["token"])
            id_hash = hashlib.sha256(FOLLOWER.user_id.encode()).hexdigest()
            for token in tokens:
                own = {"Authorization": f"Bearer {token}", "Account-Id": id_hash}
                answer = httpx2.get(cloud.url + GRAPH, headers=HEADERS | own, timeout=30)
                assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
            cloud.process.send_signal(with_signal)
            code = cloud.process.wait(timeout=30)
            assert code == (-signal.SIGKILL if with_signal == signal.SIGKILL else 0)


@pytest.mark.parametrize("fault", ["snow=1", "slow=long", "moved=x/@evil", "slow"])
def test_the_command_refuses_a_wrong_fault_in_one_line(tmp_path: Path, fault: str) -> None:
    source = str(Path(__file__).parents[3] / "src")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), source]))
    command = [sys.executable, "-m", "evercgm.cli.simulate", "libre", "--port", "0", "--data-dir", str(tmp_path)]

    done = subprocess.run(
        [*command, "--fault", fault], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert json.dumps(fault.partition("=")[0])[1:-1] in done.stderr
