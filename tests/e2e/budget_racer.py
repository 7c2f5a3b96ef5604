"""A worker reduced to its vendor calls: reads its settings, then an order a line, from standard input."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from evercgm.core.counts import Counts
from evercgm.core.errors import CallsHeldBack
from evercgm.core.limits import CallLimits
from evercgm.provider_kit.metered import Meter, asked_by
from evercgm.provider_kit.send import send, vendor_client
from evercgm.storage.budgets import Budgets
from evercgm.storage.database import open_database
from evercgm.storage.vault import Vault


async def race(lines: Iterator[str], tell: Callable[[str], object]) -> None:
    """An order: who asks, and how often; its answer: how many calls had which status."""
    settings = json.loads(next(lines))
    limits = CallLimits(settings["an_hour"], settings["for_people"])
    async with open_database(settings["dsn"], Vault(os.urandom(32)), largest=4) as db:
        meter = Meter(("dexcom", "us"), limits, Budgets(db), Counts())
        async with vendor_client([settings["vendor_url"]], meter) as http:

            async def call() -> str:
                try:
                    return str((await send(http, "GET", f"{settings['vendor_url']}/v3/users/self/dataRange")).status)
                except CallsHeldBack:
                    return "held back"

            tell("ready\n")
            for line in lines:
                order = json.loads(line)
                found: Counter[str] = Counter()
                with asked_by(order["caller"]):
                    for _ in range(order["times"] // 10):
                        found.update(await asyncio.gather(*(call() for _ in range(10))))
                tell(json.dumps(found) + "\n")


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # What the program logs goes elsewhere than its answers.
    sys.stdout = sys.stderr
    with answers:
        asyncio.run(race(iter(sys.stdin.readline, ""), answers.write))
