"""The register of formats; a file of any of them into readings, recognised by its first lines, never by its name."""

from collections.abc import Mapping
from csv import Error
from csv import reader as cells_of
from datetime import datetime
from itertools import islice
from typing import BinaryIO

from evercgm.core.errors import BadInput
from evercgm.file_imports.carelink import FORMAT as CARELINK
from evercgm.file_imports.clarity import FORMAT as CLARITY
from evercgm.file_imports.libreview import FORMAT as LIBREVIEW
from evercgm.file_imports.parsed import Answers, Format, Parsed
from evercgm.file_imports.rows import DELIMITERS
from evercgm.file_imports.text import open_text, undecodable

FORMATS: Mapping[str, Format] = {one.code: one for one in (CLARITY, LIBREVIEW, CARELINK)}
HEAD_LINES = 40
_UNKNOWN = (
    "it is none of the exports that are read here: "
    + ", ".join(f"the CSV file of {one.title}" for one in FORMATS.values())
)  # fmt: skip


def export_of(provider: str) -> Format | None:
    """The vendor's export by hand, which has what this provider's cloud no longer keeps; None: it has none we read."""
    return next((one for one in FORMATS.values() if provider in (one.provider, *one.fills)), None)


def read_file(file: BinaryIO, answers: Answers, now: datetime) -> tuple[Format, Parsed]:
    """A whole file's readings; ``now`` aware UTC. The file stays open.

    Raises BadInput: nothing of it can be taken (CellRefused says where, AnswerNeeded asks); TooLarge.
    """
    text = open_text(file)
    try:
        head = list(islice(text, HEAD_LINES))
        found, delimiter = _recognise(head)
        text.seek(0)
        return found, found.read(text, delimiter, answers, now)
    except UnicodeError:
        raise undecodable(file, _delimiter_of(file)) from None
    finally:
        text.detach()


def _delimiter_of(file: BinaryIO) -> str:
    """What parts the cells of a file that is not all text; of one that is not recognised, what is most often in it."""
    file.seek(0)
    head = [line.decode("utf-8-sig", "replace") for line in islice(file, HEAD_LINES)]
    try:
        return _recognise(head)[1]
    except BadInput:
        return max(DELIMITERS, key="".join(head).count)


def _recognise(head: list[str]) -> tuple[Format, str]:
    for delimiter in DELIMITERS:
        try:
            rows = list(cells_of(head, delimiter=delimiter))
        except Error:
            continue
        for one in FORMATS.values():
            if one.recognise(rows):
                return one, delimiter
    raise BadInput("file", _UNKNOWN)
