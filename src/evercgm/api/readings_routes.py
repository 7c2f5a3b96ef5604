"""A person's readings, newest first, page by page: as JSON or CSV, compressed, and asked for anew at little cost."""

import asyncio
import csv
import gzip
import hashlib
import io
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from evercgm.api.caller import Reading as ReadingCaller
from evercgm.api.caller import runtime_of
from evercgm.api.fields import Asked, PersonQuery, Told, rfc3339
from evercgm.api.negotiation import has_already, takes_gzip, weights
from evercgm.core.errors import BadInput
from evercgm.storage import audit, views
from evercgm.storage.views import ReadingView, Span

router = APIRouter(tags=["readings"])
Unit = Literal["mg/dL", "mmol/L"]
MG_DL_PER_MMOL_L = 18.01559
DEFAULT_LIMIT, LARGEST_LIMIT = 1000, 5000
JSON, CSV = "application/json", "text/csv"
# Below the first, gzip saves nothing; beyond the second, it would keep other callers waiting.
SMALLEST_GZIP, LARGEST_INLINE_GZIP, GZIP_LEVEL = 500, 100_000, 4
_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie, Accept, Accept-Encoding"}
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page of readings", "content": {CSV: {"schema": {"type": "string"}}}},
    304: {"description": "`If-None-Match` names the `ETag` that the page still has"},
}


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


class _Told(msgspec.Struct, gc=False):
    """What is told of a reading, field by field as in ``Reading``: made and written far faster than a model."""

    id: str
    measured_at: datetime | str
    value: float
    unit: Unit
    trend: str | None
    trend_rate: float | None
    flag: str | None
    source: str
    provider: str | None
    connection_id: str | None
    display_offset_min: int | None


class Readings(BaseModel):
    """``next`` is the address of the next, older page; null at the end."""

    readings: list[Reading]
    next: str | None


@router.head("/readings", include_in_schema=False)
@router.get("/readings", response_model=Readings, responses=_FORMS)
async def list_readings(
    request: Request,
    caller: ReadingCaller,
    person_id: PersonQuery = None,
    from_: Annotated[Asked | None, Query(alias="from")] = None,
    to: Annotated[Asked | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=500, pattern=r"^[\w-]+$")] = None,
    unit: Annotated[Unit, Query()] = "mg/dL",
) -> Response:
    """Newest first, ``from`` inclusive, ``to`` exclusive. ``person_id`` may be left out with one person.

    With ``Accept: text/csv`` a table with a header row; the next page's address is then in the ``Link`` header.
    """
    if from_ is not None and to is not None and from_ >= to:
        raise BadInput("from", "must be before 'to'")
    # As a dependency it would be fetched in a thread.
    runtime = runtime_of(request)
    page = await views.readings(runtime.db, caller, person_id, Span(from_, to), limit=limit, cursor=cursor)
    asked = {"person_id": person_id, "from": from_ and from_.isoformat(), "to": to and to.isoformat()}
    following = {**asked, "limit": limit, "unit": unit, "cursor": page.next_cursor}
    next_ = _next(runtime.settings.public_url, following) if page.next_cursor else None
    headers = {**_HEADERS, "Link": f'<{next_}>; rel="next"'} if next_ else dict(_HEADERS)
    if _wants_csv(request.headers.get("accept", "")):
        table = _table([reading_facts(item, unit) for item in page.readings])
        answer = await _answer(request, caller.owner_id, table, f"{CSV}; charset=utf-8", headers)
        if _leaves_anew(request, answer):
            await audit.record_export(runtime.db, caller, page.person_id, form="csv")
        return answer
    body = msgspec.json.encode({"readings": [_told(item, unit) for item in page.readings], "next": next_})
    return await _answer(request, caller.owner_id, body, JSON, headers)


def _next(public_url: str, query: dict[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{public_url}/api/metabolic/cgm/readings?{urlencode(given)}"


def reading_facts(found: ReadingView, unit: Unit) -> dict[str, Any]:
    """A reading as it is told: the fields of ``Reading``."""
    return msgspec.structs.asdict(_told(found, unit)) | {"measured_at": rfc3339(found.measured_at)}


def _told(found: ReadingView, unit: Unit) -> _Told:
    value, rate, at = found.value, found.trend_rate, found.measured_at
    if unit == "mmol/L":
        value = round(value / MG_DL_PER_MMOL_L, 1)
        rate = None if rate is None else round(rate / MG_DL_PER_MMOL_L, 3)
    return _Told(
        found.id,
        # Whole seconds, as nearly all are, the encoder writes as we do; of fractions it would write six digits.
        rfc3339(at) if at.microsecond else at,
        int(value) if unit == "mg/dL" and value.is_integer() else value,
        unit,
        found.trend,
        rate,
        found.flag,
        found.source,
        found.provider,
        found.connection_id,
        found.display_offset_min,
    )


def _table(found: list[dict[str, Any]]) -> bytes:
    """CSV as RFC 4180 has it; what is unknown is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(Reading.model_fields))
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


async def _answer(request: Request, owner_id: str, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The body or, where the caller has it already, 304; compressed where the caller can read that.

    The tag is weak, since the same page may travel compressed or not, and it is the owner's own: a browser in which
    somebody else has signed in since is never told that the page of before still holds.
    """
    digest = hashlib.blake2b(body, key=owner_id.encode()[:64], person=media_type.encode()[:16], digest_size=16)
    headers["ETag"] = f'W/"{digest.hexdigest()}"'
    if has_already(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if len(body) >= SMALLEST_GZIP and takes_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        body = _gzip(body) if len(body) <= LARGEST_INLINE_GZIP else await asyncio.to_thread(_gzip, body)
    return Response(body, media_type=media_type, headers=headers)


def _leaves_anew(request: Request, answer: Response) -> bool:
    """Whether a file begins to leave: the pages after the first belong to it, a HEAD and a 304 carry nothing."""
    return request.method == "GET" and answer.status_code == 200 and "cursor" not in request.query_params


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def _wants_csv(accept: str) -> bool:
    """CSV only where it is named, and JSON is not liked better."""
    found = weights(accept)
    return found.get(CSV, 0.0) > 0 and found[CSV] >= found.get(JSON, 0.0)
