"""All that the service holds of a person: counted, and erased by the person's owner."""

from fastapi import APIRouter
from pydantic import BaseModel

from evercgm.actions import erase
from evercgm.actions.erase import Report
from evercgm.api.caller import Changing, Reading, Wired
from evercgm.api.fields import PathId

router = APIRouter(tags=["persons"])


class OurRows(BaseModel):
    """What the service wrote or adopted. ``readings``: how many by source; ``set_aside``: connections in quarantine."""

    readings: dict[str, int]
    connections: int
    syncs: int
    routes: int
    unreadable_records: int
    set_aside: int
    sign_ins: int
    jobs: int
    settings: int


class HostRows(BaseModel):
    """What is the host app's own, such as finger-prick and lab readings. ``readings``: how many by source."""

    readings: dict[str, int]
    connections: int


class PersonData(BaseModel):
    """``ours`` is what erasing deletes; ``host`` stays, but its readings go where ``all_readings`` is asked for."""

    person_id: str
    ours: OurRows
    host: HostRows


class Erased(BaseModel):
    """What was deleted, and what the host app still has."""

    erased: OurRows
    kept: HostRows


@router.get("/persons/{person_id}/data")
async def get_data(person_id: PathId, runtime: Wired, caller: Reading) -> PersonData:
    """What there is of a person, by whose it is; deletes nothing."""
    report = await erase.look_at_own(runtime.db, caller, person_id)
    return PersonData(person_id=person_id, ours=_ours(report), host=_host(report))


@router.delete("/persons/{person_id}/data")
async def erase_data(person_id: PathId, runtime: Wired, caller: Changing, all_readings: bool = False) -> Erased:
    """Erase a person's tokens, connections, history and readings, for good. A sync under way ends cancelled."""
    report = await erase.erase_own(runtime.db, caller, person_id, all_readings=all_readings)
    return Erased(erased=_ours(report), kept=_host(report))


def _ours(report: Report) -> OurRows:
    return OurRows.model_validate(report.erased, from_attributes=True)


def _host(report: Report) -> HostRows:
    return HostRows.model_validate(report.kept, from_attributes=True)
