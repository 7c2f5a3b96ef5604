"""A person's readings, newest first, page by page."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from evercgm.api.caller import Reading as ReadingCaller
from evercgm.api.caller import Wired
from evercgm.api.fields import Asked, PersonQuery, Told, rfc3339
from evercgm.core.errors import BadInput
from evercgm.storage import views
from evercgm.storage.views import ReadingView, Span

router = APIRouter(tags=["readings"])
Unit = Literal["mg/dL", "mmol/L"]
MG_DL_PER_MMOL_L = 18.01559
DEFAULT_LIMIT, LARGEST_LIMIT = 1000, 5000


class Reading(BaseModel):
    """``flag`` low or high: beyond what the sensor can tell. ``trend_rate`` is in ``unit`` per minute."""

    id: str
    measured_at: Told
    value: float
    unit: Unit
    trend: str | None
    trend_rate: float | None
    flag: Literal["low", "high"] | None
    source: str
    provider: str | None
    connection_id: str | None
    display_offset_min: int | None


class Readings(BaseModel):
    """``next`` is the address of the next, older page; null at the end."""

    readings: list[Reading]
    next: str | None


@router.get("/readings", response_model=Readings)
async def list_readings(
    runtime: Wired,
    caller: ReadingCaller,
    person_id: PersonQuery = None,
    from_: Annotated[Asked | None, Query(alias="from")] = None,
    to: Annotated[Asked | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=500, pattern=r"^[\w-]+$")] = None,
    unit: Annotated[Unit, Query()] = "mg/dL",
) -> Response:
    """Newest first, ``from`` inclusive, ``to`` exclusive. ``person_id`` may be left out with one person."""
    if from_ is not None and to is not None and from_ >= to:
        raise BadInput("from", "must be before 'to'")
    span = Span(from_, to)
    page = await views.readings(runtime.db, caller, person_id, span, limit=limit, cursor=cursor)
    asked = {"person_id": person_id, "from": from_ and from_.isoformat(), "to": to and to.isoformat()}
    following = {**asked, "limit": limit, "unit": unit, "cursor": page.next_cursor}
    body = {
        "readings": [_reading(item, unit) for item in page.readings],
        "next": _next(runtime.settings.public_url, following) if page.next_cursor else None,
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _next(public_url: str, query: dict[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{public_url}/api/metabolic/cgm/readings?{urlencode(given)}"


def _reading(found: ReadingView, unit: Unit) -> dict[str, Any]:
    value, rate = found.value, found.trend_rate
    if unit == "mmol/L":
        value = round(value / MG_DL_PER_MMOL_L, 1)
        rate = None if rate is None else round(rate / MG_DL_PER_MMOL_L, 3)
    return {
        "id": found.id,
        "measured_at": rfc3339(found.measured_at),
        "value": int(value) if value.is_integer() and unit == "mg/dL" else value,
        "unit": unit,
        "trend": found.trend,
        "trend_rate": rate,
        "flag": found.flag,
        "source": found.source,
        "provider": found.provider,
        "connection_id": found.connection_id,
        "display_offset_min": found.display_offset_min,
    }
