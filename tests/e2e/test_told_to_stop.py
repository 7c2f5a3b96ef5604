"""``evercgm serve`` with its worker, told to stop while a vendor keeps it waiting: it ends in time and gives back."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from demo_process import ended_within, environment
from machines import end
from test_killed_processes import Scene, open_scene

ENDS_WITHIN_S = 10
RUNS = "select state, starts, outcome from cgm_private.sync_runs order by requested_at desc limit 1"
JOBS = "select status::text, attempts from cgm_jobs.pgqueuer"


@contextmanager
def serving(scene: Scene, folder: Path) -> Iterator[subprocess.Popen[str]]:
    settings = {
        **environment(folder),
        "DATABASE_URL": scene.settings["dsn"],
        "ENCRYPTION_KEY": scene.settings["key"],
        "EVERCGM_ALLOW_SIMULATORS": "1",
        "EVERCGM_VENDOR_BASE_URLS": json.dumps({"dexcom": {"us": scene.settings["vendor_url"]}}),
        "DEXCOM_CLIENT_ID": scene.settings["client_id"],
        "DEXCOM_CLIENT_SECRET": scene.settings["client_secret"],
    }
    words = [sys.executable, "-m", "evercgm.cli.main", "serve", "--port", "0", "--log-format", "json"]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(words, env=settings, stderr=log, text=True)
    try:
        yield process
    finally:
        end(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_with_a_sync_that_cannot_be_finished_ends_within_ten_seconds_and_gives_it_back(
    database: Any, tmp_path: Path, number: signal.Signals
) -> None:
    async with open_scene(database, tmp_path) as scene:
        assert await scene.consent() == "connected"
        async with httpx2.AsyncClient(trust_env=False) as control:
            faults = f"{scene.settings['vendor_url']}/control/faults"
            (await control.post(faults, json={"set": {"slow": 60}})).raise_for_status()
        with serving(scene, tmp_path) as process:
            async with asyncio.timeout(60):
                while scene.sql(RUNS) != [("running", 1, None)]:
                    assert process.poll() is None, (tmp_path / "serve.log").read_text()
                    await asyncio.sleep(0.1)
            os.kill(process.pid, number)

            code = await asyncio.to_thread(ended_within, process, ENDS_WITHIN_S)

    assert code == 0, (tmp_path / "serve.log").read_text()
    assert scene.sql(RUNS) == [("running", 1, None)]
    assert scene.sql(JOBS) == [("queued", 1)]
