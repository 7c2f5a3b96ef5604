"""Who did what with a person's data, for the person's owner to read; nothing here writes it."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel

from evercgm.api.caller import Reading, Wired
from evercgm.api.fields import PersonQuery, Told
from evercgm.core import audit
from evercgm.storage import views
from evercgm.storage.views import EventView

router = APIRouter(tags=["audit"])
DEFAULT_LIMIT, LARGEST_LIMIT = 50, 500


class Event(BaseModel):
    """A deed. ``message`` is a sentence for people, ``detail`` the counts and codes that belong to it.

    ``connection_id`` and ``detail`` are left out where there is nothing to say.
    """

    id: str
    at: Told
    action: str
    by: audit.By
    message: str
    connection_id: str | None = None
    detail: dict[str, Any] | None = None


class Events(BaseModel):
    """``next`` is the address of the next, older page; null at the end."""

    events: list[Event]
    next: str | None


@router.head("/audit", include_in_schema=False, response_model_exclude_unset=True)
@router.get("/audit", response_model_exclude_unset=True)
async def list_events(
    runtime: Wired,
    caller: Reading,
    person_id: PersonQuery = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=500, pattern=r"^[\w-]+$")] = None,
) -> Events:
    """Newest first. ``person_id`` may be left out with one person. Other owners are never named."""
    page = await views.audit_events(runtime.db, caller, person_id, limit=limit, cursor=cursor)
    events = [_told(item, caller.owner_id) for item in page.events]
    next_ = None
    if page.next_cursor is not None:
        asked = {"person_id": person_id, "limit": limit, "cursor": page.next_cursor}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        next_ = f"{runtime.settings.public_url}/api/metabolic/cgm/audit?{query}"
    return Events(events=events, next=next_)


def _told(found: EventView, owner_id: str) -> Event:
    facts = {
        "id": found.id,
        "at": found.at,
        "action": found.action,
        "by": audit.by(found.actor, owner_id),
        "message": audit.sentence(found.action),
    }
    detail = dict(found.detail)
    connection_id = detail.pop("connection_id", None)
    more = {"connection_id": connection_id, "detail": detail}
    return Event.model_validate({**facts, **{name: value for name, value in more.items() if value}})
