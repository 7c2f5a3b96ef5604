"""Bar 4: a day of readings through the API at concurrency 16, against Starlette and msgspec with the same SQL."""

import asyncio
import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from bench import records
from bench.kit import STREAM, Bar, add_person, child, open_bench
from evercgm.core.reading import Batch
from evercgm.providers.dexcom.mapping import read_egvs
from evercgm.storage import readings
from evercgm.storage.embedded import Embedded
from evercgm.storage.readings import Owner

ROUNDS = 5
SECONDS = 3
CONCURRENCY = 16
REACH = 0.4
BASE = "/api/metabolic/cgm/readings"


async def run(server: Embedded) -> list[Bar]:
    """Two servers, each a process; the load comes from a third; only one is asked at a time."""
    now = datetime.now(UTC).replace(microsecond=0)
    async with open_bench(server, "http://127.0.0.1:9") as bench:
        person = await add_person(bench)
        batch: Batch = read_egvs(records.egvs(records.records(now - timedelta(hours=24), 288)).encode(), now)
        async with bench.db.as_worker() as conn:
            await readings.save(conn, Owner(person.person_id, person.connection_id, STREAM), batch)
    span = {"person_id": person.person_id, "from": (now - timedelta(hours=24)).isoformat(), "to": now.isoformat()}
    told = {
        "service_dsn": server.service_dsn,
        "owner_dsn": server.owner_dsn,
        "owner_id": person.owner_id,
        "span": span,
        "key": secrets.token_hex(32),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "told.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(told))
        token_path = Path(folder) / "token"
        with (
            child("bench.serve_readings", "ours", str(path), str(token_path)) as own,
            child("bench.serve_readings", "plain", str(path), str(token_path)) as other,
        ):
            targets = [(own, f"{BASE}?{urlencode(span)}"), (other, "/readings")]
            return [await asyncio.to_thread(_rounds, targets, token_path)]


def _rounds(targets: list[tuple[int, str]], token_path: Path) -> Bar:
    rates: list[list[float]] = [[], []]
    tails: list[list[float]] = [[], []]
    size = [0, 0]
    for n in range(ROUNDS + 1):
        for place, (port, target) in enumerate(targets):
            words = ("bench.load", str(port), target, str(token_path), str(CONCURRENCY), str(SECONDS if n else 1))
            done = subprocess.run(
                [sys.executable, "-m", *words], capture_output=True, text=True, check=True, timeout=60
            )
            found = json.loads(done.stdout)
            size[place] = found["bytes"]
            if n:
                rates[place].append(found["rate"])
                tails[place].append(found["p99_ms"])
    ratio = median(rates[0]) / median(rates[1])
    return Bar(
        f"24 h of readings by the API, {CONCURRENCY} at a time",
        f"{median(rates[0]):.0f} req/s",
        f"{median(rates[1]):.0f} req/s",
        f"{ratio:.2f} x",
        f">= {REACH} x",
        ratio >= REACH,
        (
            f"p99 {median(tails[0]):.0f} ms against {median(tails[1]):.0f} ms;"
            f" {size[0]:,} bytes an answer against {size[1]:,}",
        ),
    )
