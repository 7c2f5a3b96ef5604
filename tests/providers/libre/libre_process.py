"""Runs the simulated LibreLinkUp cloud as a process of its own, spoken to over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from evercgm.core.errors import ChooseFirst
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.provider_kit.send import vendor_client
from evercgm.providers.libre import PROVIDER

DAY = timedelta(days=1)
# A wave between 60 and 220 mg/dL without a gap: nothing here depends on the hour of the run.
WAVE = [140 + round(80 * (abs(n % 96 - 48) / 24 - 1)) for n in range(864)]


@dataclass
class Cloud:
    """A running cloud: its address, its accounts, its switches."""

    url: str
    control_url: str
    passwords: dict[str, str]
    process: subprocess.Popen[str]
    control: httpx2.Client
    shared: httpx2.AsyncClient | None = None

    @property
    def app(self) -> VendorApp:
        return VendorApp("world", self.url)

    def fault(self, name: str, value: object, **limits: object) -> None:
        """Turn a fault on."""
        answer = self.control.post(f"{self.control_url}/faults", json={"set": {name: value}, **limits})
        assert answer.status_code == 200, answer.text

    def calm(self) -> None:
        """Turn all faults off."""
        self.control.delete(f"{self.control_url}/faults").raise_for_status()

    def calls(self) -> dict[str, int]:
        """How many calls there were, by place."""
        counted: dict[str, int] = self.control.get(f"{self.control_url}/stats").json()["calls"]
        return counted

    def truth(self, patient_id: str) -> dict[datetime, int]:
        """The history of the last 13 hours as it is."""
        start = {"start": (datetime.now(UTC) - timedelta(hours=13)).isoformat()}
        rows = self.control.get(f"{self.control_url}/patients/{patient_id}/truth", params=start).json()
        return {datetime.fromisoformat(row["at"]): row["value"] for row in rows}

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Our client for vendors, with the host table of this cloud: the one of the test, where it has one."""
        if self.shared is not None:
            yield self.shared
            return
        async with vendor_client(PROVIDER.hosts(self.url)) as http:
            yield http

    async def sign_in(self, username: str, who: str | None = None, password: str | None = None) -> Tokens:
        """Our sign-in of one of the accounts; ``who``: the one that is chosen of several."""
        assert isinstance(PROVIDER.login, Password)
        word = self.passwords[username] if password is None else password
        given = Credentials(Secret(username), Secret(word), keep=True)
        try:
            async with self.http() as http:
                return await PROVIDER.login.sign_in(http, self.app, given)
        except ChooseFirst as several:
            if who is None or several.unfinished is None:
                raise
            return PROVIDER.login.choose(several.unfinished, who)


def steady_trace(path: Path) -> Path:
    """A CSV of three days, a value each 5 minutes."""
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - the file holds wall times
    rows = [f"{start + n * timedelta(minutes=5)},{value}" for n, value in enumerate(WAVE)]
    path.write_text("\n".join(["local_time,glucose_mg_dl", *rows]))
    return path


@contextmanager
def running(data_dir: Path, *options: str) -> Iterator[Cloud]:
    """The real command, until the end of the block."""
    source = str(Path(__file__).parents[3] / "src")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), source]))
    command = [sys.executable, "-m", "evercgm.cli.simulate", "libre", "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, "--data-dir", str(data_dir), *options],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line: dict[str, Any] = json.loads(process.stdout.readline())
            passwords = {account["username"]: account["password"] for account in line["accounts"]}
            with httpx2.Client(timeout=30) as control:
                yield Cloud(line["url"], line["control_url"], passwords, process, control)
        finally:
            process.kill()
