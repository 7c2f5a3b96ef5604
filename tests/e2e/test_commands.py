"""Starting and stopping: a second start, a running one, and every wrong start in one clear line."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from demo_process import Demo, connect, environment, free_port, start_demo, until
from series import at_rest, sql, stored

from evercgm.storage import embedded


def run(data_dir: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", *arguments],
        env={**environment(data_dir), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, if that was one line and exit code 2."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    return lines[0]


def test_a_killed_demo_starts_again_with_its_data(tmp_path: Path) -> None:
    first = start_demo(tmp_path / "data")
    person_id = str(first.line["persons"][0]["id"])
    assert "cgm=connected" in connect(first, person_id)
    until(lambda: len(stored(first, person_id)) > 1000, "readings are stored")
    at_rest(first, person_id)
    before = stored(first, person_id)
    kill_everything(first)

    second = start_demo(tmp_path / "data")

    try:
        assert second.line["owner_id"] == first.line["owner_id"]
        assert second.line["persons"] == first.line["persons"]
        assert stored(second, person_id)[: len(before)] == before
        assert sql(second, "select count(*) from public.cgm_connections") == [(1,)]
    finally:
        assert second.stop() == 0


def test_the_children_of_a_killed_demo_end_with_it(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "data")
    url = demo.url

    os.kill(demo.process.pid, signal.SIGKILL)
    demo.process.wait(10)

    until(lambda: is_gone(url), "the service has ended")
    again = start_demo(tmp_path / "data", "--port", url.rpartition(":")[2])
    assert again.url == url
    assert again.stop() == 0


def kill_everything(demo: Demo) -> None:
    """kill -9 of the demo, its children and the PostgreSQL below it."""
    backends = sql(demo, "select pg_backend_pid()")
    pids = [demo.process.pid]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat[1]) == demo.process.pid or (str(demo.data_dir) in command and "postgres" in command):
            pids.append(int(folder.name))
    assert backends
    for pid in pids:
        # Its children end with the first of them, some before their turn.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    demo.process.wait(10)


def test_beside_supabase_no_sign_in_link_is_made(tmp_path: Path) -> None:
    said = one_line(run(tmp_path, "sign-in", env={"SUPABASE_URL": "https://project.example.org"}))

    assert "SUPABASE_URL" in said


def test_a_second_demo_beside_a_running_one_gives_its_url(demo: Demo) -> None:
    again = run(demo.data_dir, "demo", "--json", "--data-dir", str(demo.data_dir))

    assert again.returncode == 0, again.stderr
    assert f'"url": "{demo.url}"' in again.stdout
    assert "/sign-in/" in again.stdout


def test_the_json_line_has_the_contract_keys(demo: Demo) -> None:
    expected = {"url", "sign_in_url", "database_url", "admin_database_url", "simulators", "owner_id", "persons"}

    assert set(demo.line) == expected | {"owner_jwt"}
    assert [set(person) for person in demo.line["persons"]] == [{"id", "label"}] * 2


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = one_line(run(tmp_path, "demo", "--port", port, "--data-dir", str(tmp_path / "d")))

    assert port in said
    assert "--port" in said


def test_an_unknown_trace_file_is_one_clear_line(tmp_path: Path) -> None:
    said = one_line(run(tmp_path, "demo", "--trace", "no-such.csv", "--data-dir", str(tmp_path / "d")))

    assert "--trace no-such.csv" in said


def test_a_data_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    said = one_line(run(tmp_path, "demo", "--port", "0", "--data-dir", str(tmp_path / "file" / "d")))

    assert "--data-dir" in said


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"EVERCGM_LOG_LEVEL": "loud"}, "EVERCGM_LOG_LEVEL"),
        ({"ENCRYPTION_KEY": "00" * 32}, "ENCRYPTION_KEY"),
        ({"EVERCGM_NONSENSE": "1"}, "EVERCGM_NONSENSE"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x", "ENCRYPTION_KEY": "0f" * 31 + "aa"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "ENCRYPTION_KEY"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_wrong_setting_stops_the_start(tmp_path: Path, command: str, env: dict[str, str], name: str) -> None:
    arguments = ["--port", "0"] if command == "serve" else []

    said = one_line(run(tmp_path, command, *arguments, env=env))

    assert name in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCRYPTION_KEY", "00" * 32),
        ("EVERCGM_NONSENSE", "1"),
        ("DEXCOM_CLIENT_ID", "alone"),
        ("EVERCGM_LOG_LEVEL", "x"),
    ],
)
def test_a_wrong_setting_stops_the_demo(tmp_path: Path, name: str, value: str) -> None:
    said = one_line(run(tmp_path, "demo", "--port", "0", "--data-dir", str(tmp_path / "d"), env={name: value}))

    assert name.removesuffix("_ID") in said
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_superuser_is_refused(demo: Demo, command: str, tmp_path: Path) -> None:
    env = {"DATABASE_URL": demo.line["admin_database_url"], "ENCRYPTION_KEY": "0f" * 31 + "aa"}
    arguments = ["--port", "0"] if command == "serve" else []

    said = one_line(run(tmp_path, command, *arguments, env=env))

    assert "superuser" in said


def test_a_service_with_a_worker_on_its_own_embedded_database_starts_and_stops_clean(tmp_path: Path) -> None:
    env = {**environment(tmp_path / "own"), "ENCRYPTION_KEY": secrets.token_hex(32)}
    port, log = free_port(), tmp_path / "serve.log"
    command = [sys.executable, "-m", "evercgm.cli.main", "serve", "--port", str(port)]
    with log.open("w") as errors, subprocess.Popen(command, env=env, stderr=errors) as process:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the service is ready")
        until(lambda: "worker_started" in log.read_text(), "its worker has begun")
        process.send_signal(signal.SIGTERM)
        code = process.wait(40)

    assert code == 0, log.read_text()
    assert "worker_stopped" in log.read_text()
    assert not embedded.is_running(tmp_path / "own")


def is_gone(url: str) -> bool:
    """Nobody listens there; one that is slow is not gone."""
    try:
        httpx2.get(f"{url}/healthz", trust_env=False)
    except httpx2.ConnectError:
        return True
    except httpx2.HTTPError:
        pass
    return False


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False
