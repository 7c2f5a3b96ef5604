"""A file that was exported at a vendor, into readings: all of it or nothing, while the caller waits."""

from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from evercgm.actions.import_file import Report, import_own
from evercgm.api.caller import Changing, Wired
from evercgm.api.error_responses import Problem
from evercgm.api.fields import ID_PATTERN, Told
from evercgm.core.errors import BadInput
from evercgm.file_imports.formats import FORMATS
from evercgm.file_imports.parsed import Answers
from evercgm.file_imports.text import LARGEST
from evercgm.storage import views

router = APIRouter(tags=["imports"])
# Of a process: reading a file is work for a processor, and others want their answers meanwhile.
MOST_AT_ONCE = 2
FIELDS = ("person_id", "time_zone", "date_order", "unit")
LONGEST_FIELD = 200
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "time_zone"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "maxLength": LARGEST,
                            "description": "as the vendor gave it",
                        },
                        "time_zone": {
                            "type": "string",
                            "maxLength": LONGEST_FIELD,
                            "description": "of the device's clock, an IANA name such as Europe/Berlin",
                        },
                        "date_order": {
                            "type": "string",
                            "enum": ["day_first", "month_first"],
                            "description": "only where the file's dates fit both",
                        },
                        "unit": {
                            "type": "string",
                            "enum": ["mg/dL", "mmol/L"],
                            "description": "only where the file's header does not tell it",
                        },
                        "person_id": {"type": "string", "pattern": ID_PATTERN, "maxLength": LONGEST_FIELD},
                    },
                }
            }
        },
    }
}


class Imported(BaseModel):
    """``imported`` are new, ``known`` were there already; of these ``corrected`` have another time or value now.

    ``skipped`` lines are no readings of a sensor, ``skipped_kinds``: how many of each kind. ``first``, ``last``: of the
    file's readings, null where it has none. ``connection_id``: null where the person is not connected there.
    """

    format: Literal["clarity", "libreview", "carelink"]
    title: str
    unit: Literal["mg/dL", "mmol/L"]
    imported: int
    known: int
    corrected: int
    skipped: int
    skipped_kinds: dict[str, int]
    first: Told | None
    last: Told | None
    connection_id: str | None


@router.post("/imports", status_code=201, openapi_extra=_FORM)
async def post_import(request: Request, runtime: Wired, caller: Changing) -> Imported:
    """Import a CSV file of Dexcom Clarity, LibreView or Medtronic CareLink, at most 64 MB.

    The same file again adds nothing. 422 with ``line`` and ``column`` where something in it cannot be taken, and with
    ``choices`` where only the person can tell: then send it again with the answer. ``person_id`` may be left out with
    one person.
    """
    # Read here and not before: a caller who may not import is refused without having sent a file.
    _require_form(request)
    async with request.form(max_files=1, max_fields=len(FIELDS)) as form:
        file, fields = _file_of(form), _fields_of(form)
        person_id = fields.pop("person_id", None)
        if person_id is None:
            person_id = await views.chosen_person(runtime.db, caller, None)
        async with request.app.state.imports:
            report = await import_own(
                runtime.db, caller, person_id, file.file, Answers(**fields), datetime.now(UTC)
            )  # fmt: skip
    return _told(report)


def _require_form(request: Request) -> None:
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != "multipart/form-data":
        raise Problem(415, "not_a_form", "Send the file as multipart/form-data, in the field 'file'.")


def _file_of(form: FormData) -> UploadFile:
    found = form.getlist("file")
    if not found:
        raise BadInput("file", "is missing")
    if not isinstance(found[0], UploadFile):
        raise BadInput("file", "must be a file, with a name")
    return found[0]


def _fields_of(form: FormData) -> dict[str, str]:
    """The fields beside the file, each once; an empty one counts as left out."""
    found: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "file":
            continue
        if name not in FIELDS or not isinstance(value, str):
            raise BadInput(name[:LONGEST_FIELD], f"there is no such field here: file, {', '.join(FIELDS)}")
        if name in found:
            raise BadInput(name, "is given more than once: send it once")
        if len(value) > LONGEST_FIELD or not value.isprintable():
            raise BadInput(name, f"must have at most {LONGEST_FIELD} printable characters")
        if value:
            found[name] = value
    return found


def _told(report: Report) -> Imported:
    return Imported.model_validate(
        {
            "format": report.format.code,
            "title": FORMATS[report.format.code].title,
            "unit": report.unit,
            "imported": report.imported,
            "known": report.known,
            "corrected": report.corrected,
            "skipped": sum(report.skipped.values()),
            "skipped_kinds": {kind: count for kind, count in report.skipped.items() if count},
            "first": report.first,
            "last": report.last,
            "connection_id": report.connection_id,
        }
    )
