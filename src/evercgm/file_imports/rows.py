"""A text into rows of cells with their line numbers, and cells by the names of their columns."""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from evercgm.core.errors import AnswerNeeded, BadInput, CellRefused
from evercgm.core.nearness import UNITS, Unit
from evercgm.file_imports.parsed import Answers, Row

DELIMITERS = (",", ";", "\t")
_UNIT = re.compile(r"mg/dl|mmol/l", re.IGNORECASE)
_QUOTES = str.maketrans("", "", "\"'“”„‘’")


def rows_of(text: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its (last) line. Raises CellRefused: quotes that are never closed."""
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error:
        raise CellRefused(reader.line_num, 1, "its quotation marks do not pair: is the file cut?") from None


def cell(row: Row, place: int) -> str:
    """A row's cell without blanks around it; "" where the row is shorter or the column (-1) is not there."""
    return row[place].strip() if 0 <= place < len(row) else ""


def name_of(heading: str) -> str:
    """A heading for comparing: small letters, single blanks, no quotation marks and nothing in brackets."""
    plain = re.sub(r"\(.*?\)", "", heading.translate(_QUOTES)).casefold()
    return " ".join(plain.split())


def place_of(names: Sequence[str], wanted: str) -> int:
    """The column of a heading as ``name_of`` gives it; -1: there is none."""
    return names.index(wanted) if wanted in names else -1


def unit_in(heading: str) -> Unit | None:
    """The unit that a heading names."""
    found = _UNIT.search(heading)
    return None if found is None else "mg/dL" if found[0].casefold() == "mg/dl" else "mmol/L"


def unit_of(heading: str, answers: Answers, line: int) -> Unit:
    """The unit of the values below a heading: what it says, else what the person says.

    Raises AnswerNeeded(unit): neither; BadInput(unit): both, and they differ.
    """
    said = next((unit for unit in UNITS if unit == answers.unit), None)
    if answers.unit is not None and said is None:
        raise AnswerNeeded("unit", "must be mg/dL or mmol/L", UNITS)
    found = unit_in(heading)
    if found is not None and said not in (None, found):
        raise BadInput("unit", f"the file itself says {found}, in line {line}: leave the answer out")
    unit = found or said
    if unit is None:
        raise AnswerNeeded("unit", f"the file does not say, in line {line}, in which unit its values are", UNITS)
    return unit
