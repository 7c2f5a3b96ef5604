"""Ask for a sync now, and see what earlier ones did."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from evercgm.actions.request_sync import request_sync
from evercgm.api.caller import Changing, Reading, Wired
from evercgm.api.fields import ID_PATTERN, Asked, Id, PathId, Told
from evercgm.storage import views
from evercgm.storage.views import RunView

router = APIRouter(tags=["syncs"])
State = Literal["queued", "running", "done"]


class SyncRequest(BaseModel):
    """One connection, or all of a person; with ``from`` or ``to`` a window is read again."""

    model_config = ConfigDict(extra="forbid")
    connection_id: Id | None = None
    person_id: Id | None = None
    start: Asked | None = Field(default=None, validation_alias="from")
    end: Asked | None = Field(default=None, validation_alias="to")


class RequestedRun(BaseModel):
    """A run that will be, or is being, done."""

    id: str
    connection_id: str
    state: State


class RequestedRuns(BaseModel):
    """One run per connection."""

    runs: list[RequestedRun]


class Sync(BaseModel):
    """``outcome`` is null until done. ``took_ms``: from start to end, null before.

    ``due_at``: when a scheduled one should have begun; null for others.
    """

    id: str
    connection_id: str
    person_id: str
    trigger: str
    state: State
    outcome: Literal["succeeded", "nothing_new", "failed", "cancelled"] | None
    reason: str | None
    window_from: Told | None
    window_to: Told | None
    fetched: int
    inserted: int
    updated: int
    rejected: int
    requested_at: Told
    due_at: Told | None
    started_at: Told | None
    finished_at: Told | None
    took_ms: int | None


class Syncs(BaseModel):
    """Newest first."""

    syncs: list[Sync]


@router.post("/sync", status_code=202)
async def post_sync(runtime: Wired, caller: Changing, body: SyncRequest | None = None) -> RequestedRuns:
    """Sync now; asking again while one runs gives that one."""
    asked = body or SyncRequest.model_validate({})
    person_id = asked.person_id
    if person_id is None and asked.connection_id is None:
        person_id = await views.chosen_person(runtime.db, caller, None)
    found = await request_sync(
        runtime.db,
        caller,
        connection_id=asked.connection_id,
        person_id=person_id,
        start=asked.start,
        end=asked.end,
    )
    runs = [{"id": run.id, "connection_id": run.connection_id, "state": run.state} for run in found]
    return RequestedRuns.model_validate({"runs": runs})


@router.get("/syncs")
async def list_syncs(
    runtime: Wired,
    caller: Reading,
    connection_id: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Syncs:
    """The history of syncs of one connection, or of all."""
    found = await views.sync_runs(runtime.db, caller, connection_id, limit=limit)
    return Syncs(syncs=[_sync(run) for run in found])


@router.get("/syncs/{sync_id}")
async def get_sync(sync_id: PathId, runtime: Wired, caller: Reading) -> Sync:
    """One sync."""
    return _sync(await views.sync_run(runtime.db, caller, sync_id))


def _sync(run: RunView) -> Sync:
    took = None
    if run.started_at is not None and run.finished_at is not None:
        took = int((run.finished_at - run.started_at).total_seconds() * 1000)
    facts = {name: getattr(run, name) for name in Sync.model_fields if name != "took_ms"}
    return Sync.model_validate({**facts, "took_ms": took})
