"""The whole path: consent, history, new readings, a second sync, a killed worker, short-lived tokens."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from demo_process import Demo, connect, passable_folder, start_demo, until
from series import differing, everything_is_in, sql, stored, truth

LONG_TRACE_DAYS = 100


def connection_of(demo: Demo, person_id: str) -> dict[str, object]:
    with demo.api() as api:
        found = api.get("/connections", params={"person_id": person_id}).json()["connections"]
    assert len(found) == 1
    return dict(found[0])


def wait_for_history(demo: Demo, person_id: str) -> None:
    query = """
        select r.outcome from cgm_private.sync_runs r
        where r.person_id = %s and r.trigger = 'connect' and r.outcome = 'succeeded'
    """
    until(lambda: sql(demo, query, person_id), "the first history is stored")


@pytest.fixture(scope="module")
def began() -> datetime:
    """Before the first sync of this file."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def connected(demo: Demo, began: datetime) -> str:
    """The first person of the demo, connected, with the whole history."""
    person_id = str(demo.line["persons"][0]["id"])
    assert "cgm=connected" in connect(demo, person_id, "User7")
    wait_for_history(demo, person_id)
    return person_id


def test_every_stored_reading_equals_the_trace_once(demo: Demo, connected: str, began: datetime) -> None:
    assert len(truth(demo, "User7")) > 1500
    assert differing(demo, connected, "User7", began) == []


def test_the_api_tells_the_same_series_newest_first(demo: Demo, connected: str) -> None:
    before = stored(demo, connected)
    rows: list[dict[str, object]] = []
    url: str | None = f"{demo.url}/api/metabolic/cgm/readings?person_id={connected}&limit=500"

    with demo.api() as api:
        while url:
            page = api.get(url).json()
            rows += page["readings"]
            url = page["next"]

    told = [(datetime.fromisoformat(str(row["measured_at"])), row["value"]) for row in reversed(rows)]
    # A sync may store a newer one between two looks.
    assert told[: len(before)] == before
    assert told == stored(demo, connected)[: len(told)]
    assert {row["unit"] for row in rows} == {"mg/dL"}


def test_a_second_full_sync_changes_nothing(demo: Demo, connected: str) -> None:
    before = sql(demo, "select id, value from public.glucose_readings where person_id = %s order by id", connected)
    connection_id = str(connection_of(demo, connected)["id"])
    asked = datetime.now(UTC)

    done = demo.command("sync", connection_id, "--from", "2020-01-01T00:00:00Z")

    assert done.returncode == 0, done.stderr
    assert " 0 corrected" in done.stdout
    after = sql(demo, "select id, value from public.glucose_readings where person_id = %s order by id", connected)
    newest = max(row[0] for row in before)
    assert [row for row in after if row[0] <= newest] == before
    assert differing(demo, connected, "User7", asked) == []


def test_a_manual_sync_within_the_minute_is_refused_with_the_time_to_wait(demo: Demo, connected: str) -> None:
    connection_id = str(connection_of(demo, connected)["id"])
    # A sync that is open already would be given instead of one that was asked for.
    everything_is_in(demo, connected)
    with demo.api() as api:
        first = api.post("/sync", json={"connection_id": connection_id})
        assert first.status_code == 202, first.text
        run = first.json()["runs"][0]
        until(lambda: api.get(f"/syncs/{run['id']}").json()["state"] == "done", "the run is done")

        second = api.post("/sync", json={"connection_id": connection_id})

    assert second.status_code == 429
    assert 0 < int(second.headers["retry-after"]) <= 60


def test_tokens_of_five_seconds_are_never_reused(demo: Demo) -> None:
    person_id = str(demo.line["persons"][1]["id"])
    began = datetime.now(UTC)
    httpx2.post(f"{demo.control}/settings", json={"expires_in": 5}, trust_env=False).raise_for_status()
    before = httpx2.get(f"{demo.control}/stats", trust_env=False).json()
    try:
        assert "cgm=connected" in connect(demo, person_id, "User6")
        wait_for_history(demo, person_id)
        connection_id = str(connection_of(demo, person_id)["id"])
        for _ in range(3):
            until(lambda: token_is_due(demo, connection_id), "the access token has run out")
            with ThreadPoolExecutor(3) as pool:
                done = list(pool.map(lambda _n: demo.command("sync", connection_id), range(3)))
            assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    finally:
        httpx2.post(f"{demo.control}/settings", json={"expires_in": 7200}, trust_env=False).raise_for_status()
    after = httpx2.get(f"{demo.control}/stats", trust_env=False).json()

    assert after["token_calls"]["refresh_token"] >= before["token_calls"].get("refresh_token", 0) + 3
    assert after["refresh_reuse"] == before["refresh_reuse"] == 0
    assert connection_of(demo, person_id)["status"] == "connected"
    assert differing(demo, person_id, "User6", began) == []


def token_is_due(demo: Demo, connection_id: str) -> bool:
    query = "select token_expires_at < now() at time zone 'UTC' from public.cgm_connections where id = %s"
    return bool(sql(demo, query, connection_id)[0][0])


@pytest.fixture(scope="module")
def long_demo() -> Iterator[Demo]:
    """A demo whose first account has a hundred days of readings, so that a sync takes several windows."""
    with passable_folder() as folder:
        # Its worker is not taken for dead while the machine stands still.
        started = start_demo(folder / "data", "--trace", str(long_trace(folder)), "--heartbeat", "10")
        yield started
        started.stop()


def long_trace(folder: Path) -> Path:
    start = datetime(2017, 1, 1, tzinfo=UTC)
    rows = [
        f"{(start + timedelta(minutes=5 * n)).strftime('%Y-%m-%d %H:%M:%S')},{80 + (n * 7 + n // 288) % 150}"
        for n in range(LONG_TRACE_DAYS * 288)
    ]
    trace = folder / "long.csv"
    trace.write_text("local_time,glucose_mg_dl\n" + "\n".join(rows) + "\n")
    return trace


def child_of(demo: Demo, word: str) -> int:
    """The process id of a child of the demo by a word of its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            arguments = (folder / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == demo.process.pid and word in arguments:
            return int(folder.name)
    raise AssertionError(f"no child {word}")


def test_a_worker_killed_in_mid_sync_loses_and_doubles_nothing(long_demo: Demo) -> None:
    person_id = str(long_demo.line["persons"][0]["id"])
    worker, cloud = child_of(long_demo, "work"), child_of(long_demo, "all")
    part = "select fetched from cgm_private.sync_runs where person_id = %s and state = 'running' and fetched > 0"
    began = datetime.now(UTC)
    # The rest of the history is under way for long enough to be seen.
    set_slow(long_demo, 3)
    assert "cgm=connected" in connect(long_demo, person_id)
    until(lambda: sql(long_demo, part, person_id), "a part of the history is stored")

    os.kill(cloud, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    os.kill(cloud, signal.SIGCONT)
    set_slow(long_demo, None)

    interrupted = stored(long_demo, person_id)
    assert 0 < len(interrupted) < LONG_TRACE_DAYS * 288
    wait_for_history(long_demo, person_id)
    starts = sql(long_demo, "select starts from cgm_private.sync_runs where trigger = 'connect'")
    assert starts == [(2,)]
    assert differing(long_demo, person_id, "User7", began) == []


def set_slow(demo: Demo, seconds: float | None) -> None:
    """How long the vendor takes for each answer from now on."""
    order = {"set": {"slow": seconds}}
    httpx2.post(f"{demo.control}/faults", json=order, timeout=30, trust_env=False).raise_for_status()
