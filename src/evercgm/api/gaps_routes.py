"""Why readings are missing: each stretch of a period without them, with the best-known reason."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from evercgm.api.caller import Reading, Wired
from evercgm.api.fields import Asked, PersonQuery, Told
from evercgm.core.connection import BY_FILE, CADENCE
from evercgm.core.errors import BadInput
from evercgm.core.gaps import Gap, Reason, explain, message_for
from evercgm.file_imports.formats import FORMATS, export_of
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import gaps

router = APIRouter(tags=["readings"])
LONGEST_DAYS = 92
USUAL = timedelta(hours=24)


class GapTold(BaseModel):
    """A stretch without readings, ``start`` inclusive to ``end`` exclusive; ``message`` is the reason as a sentence.

    ``cause``: where the vendor keeps it no longer, why it was not fetched in time. ``import_format``: there, the file
    that would fill it: ``libreview``, ``carelink`` or ``clarity``; null elsewhere.
    """

    start: Told
    end: Told
    minutes: int
    reason: Reason
    cause: Reason | None
    import_format: str | None
    message: str


class Gaps(BaseModel):
    """The oldest first. Of more than 1,000 stretches the newest are told: then ``complete`` is false."""

    gaps: list[GapTold]
    complete: bool


@router.get("/gaps")
async def list_gaps(
    runtime: Wired,
    caller: Reading,
    person_id: PersonQuery = None,
    from_: Annotated[Asked | None, Query(alias="from")] = None,
    to: Annotated[Asked | None, Query()] = None,
) -> Gaps:
    """Stretches without readings between ``from`` and ``to``, at most 92 days apart; the last 24 hours if not given.

    Before a person's first reading nothing is missing. A reading that comes late closes its stretch.
    """
    start, end = _period(from_, to)
    holes, known = await gaps.evidence(runtime.db, caller, person_id, start, end, _facts_of(runtime.vendors))
    found = explain(holes, known, start, end)
    return Gaps(gaps=[_told(gap) for gap in found], complete=len(holes) < gaps.MOST)


def _period(from_: datetime | None, to: datetime | None) -> tuple[datetime, datetime]:
    end = to or (from_ + USUAL if from_ else datetime.now(UTC))
    start = from_ or end - USUAL
    if start >= end:
        raise BadInput("from", "must be before 'to'")
    if end - start > timedelta(days=LONGEST_DAYS):
        raise BadInput("from", f"must lie at most {LONGEST_DAYS} days before 'to'")
    return start, end


def _facts_of(vendors: Vendors) -> gaps.FactsOf:
    def facts(provider: str, region: str | None, by_other_ways: bool, device_id: str | None) -> gaps.Facts:
        export = export_of(provider)
        code = export.code if export else None
        for one in vendors.providers.values():
            if one.provider == provider and one.is_side_route == by_other_ways and region != BY_FILE:
                place = one.regions.get(region or "")
                delay = place.delay if place else timedelta()
                return gaps.Facts(delay, one.cadence_of(device_id), one.keeps, code)
        # Nobody is asked: what there is came in files.
        return gaps.Facts(timedelta(), export.cadence if export else CADENCE, None, code)

    return facts


def _told(gap: Gap) -> GapTold:
    export = FORMATS[gap.import_format].title if gap.import_format else None
    return GapTold(
        start=gap.start,
        end=gap.end,
        minutes=round((gap.end - gap.start).total_seconds() / 60),
        reason=gap.reason,
        cause=gap.cause,
        import_format=gap.import_format,
        message=message_for(gap.reason, export),
    )
