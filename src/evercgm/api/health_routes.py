"""Whether this process lives, and whether it can serve. Tells nothing of anybody's data."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from evercgm.api.caller import Wired
from evercgm.storage import readiness

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """``checks`` by name: database, migrations, key."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Literal["ok", "failed"]]


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives; asks nothing of the database."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(runtime: Wired, response: Response) -> Readiness:
    """The database answers our service role, all migrations are in, the key seals and opens."""
    checks = dict(await readiness.check(runtime.db))
    ready = all(state == "ok" for state in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", checks=checks)
