"""A process that refreshes or connects once, as a worker or the REST door does; a test kills it on the way."""

import asyncio
import json
import sys
from pathlib import Path

import httpx2

sys.path.append(str(Path(__file__).resolve().parents[1] / "actions"))

from refresh_racer import use_token, vendors_at
from sync_world import walk_consent

from evercgm.core.caller import Caller
from evercgm.storage.database import open_database
from evercgm.storage.vault import Vault


async def act(order: dict[str, str]) -> None:
    async with (
        open_database(order["dsn"], Vault(bytes.fromhex(order["key"])), largest=2) as db,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        vendors = vendors_at(order, http)
        if order["do"] == "refresh":
            await use_token(db, vendors, order["connection_id"])
        else:
            owner = order["owner_id"]
            caller = Caller(owner, {"sub": owner, "role": "authenticated", "aud": "authenticated"})
            await walk_consent(db, vendors, caller, order["person_id"], "User7")


if __name__ == "__main__":
    asyncio.run(act(json.loads(sys.stdin.readline())))
