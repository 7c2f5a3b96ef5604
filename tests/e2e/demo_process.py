"""Starts a demo as a person would, and walks its consent: real processes, real HTTP, a real PostgreSQL."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

API = "/api/metabolic/cgm"
READY_WITHIN_S = 90
# How long anything may take on a machine that stands still for a while; what is quick ends at once all the same.
PATIENCE_S = 120.0


@contextmanager
def passable_folder() -> Iterator[Path]:
    """A new folder, gone again afterwards, that other accounts may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="evercgm-e2e-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(data_dir: Path) -> dict[str, str]:
    """This process's environment without settings that would steer the demo."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVERCGM_", "DEXCOM_")) and "DATABASE_URL" not in name and "ENCRYPTION" not in name
    }
    return {**outside, "EVERCGM_DATA_DIR": str(data_dir)}


@dataclass
class Demo:
    """A running demo: its JSON line, its process, where its log goes."""

    line: dict[str, Any]
    process: subprocess.Popen[str]
    data_dir: Path
    log: Path

    @property
    def url(self) -> str:
        return str(self.line["url"])

    @property
    def control(self) -> str:
        return f"{self.line['simulators']['dexcom']}/control"

    def api(self, jwt: str | None = None) -> httpx2.Client:
        """A client of the REST API as the demo's owner, or as the bearer of ``jwt``."""
        headers = {"Authorization": f"Bearer {jwt or self.line['owner_jwt']}"}
        return httpx2.Client(base_url=self.url + API, headers=headers, timeout=30, trust_env=False)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``evercgm …`` beside the demo."""
        return subprocess.run(
            [sys.executable, "-m", "evercgm.cli.main", *arguments],
            env=environment(self.data_dir),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def free_port() -> int:
    """A port of this machine that nobody uses, and that the system hands to nobody by itself until we do."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def ended_within(process: subprocess.Popen[Any], seconds: float) -> int | None:
    """Its exit code, None where it has not ended in time; while the whole machine stands still no time passes."""
    for _ in range(round(10 * seconds)):
        if process.poll() is not None:
            break
        time.sleep(0.1)
    return process.poll()


def start_demo(data_dir: Path, *arguments: str, env: dict[str, str] | None = None) -> Demo:
    """Start ``evercgm demo --json`` and wait for its line."""
    log = data_dir.with_name(data_dir.name + ".log")
    command = [sys.executable, "-m", "evercgm.cli.main", "demo", "--json", "--port", "0", "--simulator-port", "0"]
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), "--heartbeat", "2", *arguments],
            env={**environment(data_dir), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout:
        first = process.stdout.readline()
    assert first, f"the demo did not start:\n{log.read_text()}"
    return Demo(json.loads(first), process, data_dir, log)


def connect(demo: Demo, person_id: str, username: str = "User7", jwt: str | None = None) -> str:
    """Walk the consent without a browser: hand-over, login page, callback. Returns the callback's landing."""
    with demo.api(jwt) as api, httpx2.Client(timeout=30, trust_env=False) as browser:
        began = api.post("/dexcom/oauth", json={"person_id": person_id, "region": "us"})
        assert began.status_code == 200, began.text
        landing = finish_consent(browser, began.json()["authorization_url"], username)
    return landing.headers["location"]


def finish_consent(browser: httpx2.Client, handover: str, username: str) -> httpx2.Response:
    """From the hand-over page's click to our callback's answer (not followed further)."""
    to_vendor = browser.post(handover)
    assert to_vendor.status_code == 303, to_vendor.text
    login = to_vendor.headers["location"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(login).query).items()}
    back = browser.post(login.partition("?")[0], data={**query, "username": username, "decision": "approve"})
    assert back.status_code in (302, 303), back.text
    return browser.get(back.headers["location"])


def until(check: Any, what: str, seconds: float = PATIENCE_S) -> Any:
    """The first true answer of ``check``; fails with ``what`` when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")
