"""The port for Prometheus beside ``serve`` and ``work``: open while they run, and named where it is taken."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from demo_process import free_port


def environment(database: Any, folder: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "DEXCOM_"))}
    return kept | {
        "DATABASE_URL": database.service_dsn,
        "ENCRYPTION_KEY": secrets.token_hex(32),
        "EVERCGM_DATA_DIR": str(folder),
        "EVERCGM_METRICS_PORT": str(port),
        "DEXCOM_CLIENT_ID": "client",
        "DEXCOM_CLIENT_SECRET": "marked-secret",
    }


@contextmanager
def running(arguments: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as errors:
        process = subprocess.Popen([sys.executable, "-m", "evercgm.cli.main", *arguments], env=env, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until_told(port: int, process: subprocess.Popen[bytes]) -> httpx2.Response:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"no metrics; exit code {process.poll()}")


@pytest.mark.parametrize("command", ["serve", "work"])
def test_metrics_are_told_beside_it_until_it_stops(database: Any, tmp_path: Path, command: str) -> None:
    port = free_port()
    arguments = ["serve", "--port", str(free_port())] if command == "serve" else ["work"]
    env = environment(database, tmp_path, port)
    with running(arguments, env, tmp_path / "log") as process:
        answer = until_told(port, process)
        taken = subprocess.run(
            [sys.executable, "-m", "evercgm.cli.main", "work"], env=env, capture_output=True, text=True, timeout=60
        )
        process.send_signal(signal.SIGTERM)
        code = process.wait(40)

    assert answer.status_code == 200
    assert "evercgm_database_up 1\n" in answer.text
    assert 'evercgm_vendor_calls_left{provider="dexcom",region="us",caller="person"} 60000\n' in answer.text
    assert "marked-secret" not in answer.text
    assert code == 0
    assert taken.returncode != 0
    assert "EVERCGM_METRICS_PORT" in taken.stderr
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
