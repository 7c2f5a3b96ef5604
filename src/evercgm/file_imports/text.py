"""A file's bytes as text: UTF-8, or UTF-16 where a mark says so. Whatever else comes is refused by what it is."""

import csv
import io
from typing import BinaryIO

from evercgm.core.errors import BadInput, CellRefused, TooLarge

LARGEST_MB = 64
LARGEST = LARGEST_MB * 2**20
_HEAD = 4096
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"\x1f\x8b",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"\xfd7zXZ",
)
_OTHERS = {
    b"%PDF": "it is a PDF: export the data as CSV instead",
    b"\xd0\xcf\x11\xe0": "it is a spreadsheet: export the data as CSV, and send that file as it is",
    b"\x89PNG": "it is a picture: export the data as CSV instead",
    b"\xff\xd8\xff": "it is a picture: export the data as CSV instead",
}


def open_text(file: BinaryIO) -> io.TextIOWrapper:
    """The file's text from its beginning. Raises BadInput(file): empty or no text; TooLarge: above 64 MB.

    An archive is never opened, so it does not matter what it would become.
    """
    size = file.seek(0, io.SEEK_END)
    if size > LARGEST:
        raise TooLarge(LARGEST_MB)
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    _refuse(head, whole=size <= _HEAD)
    encoding = "utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig"
    return io.TextIOWrapper(file, encoding=encoding, newline="")


def _refuse(head: bytes, *, whole: bool) -> None:
    if head.startswith(_ARCHIVES):
        if b"[Content_Types].xml" in head:
            raise BadInput("file", "it is a spreadsheet: export the data as CSV, and send that file as it is")
        raise BadInput("file", "it is an archive: unpack it first, and send the CSV file that is in it")
    for mark, words in _OTHERS.items():
        if head.startswith(mark):
            raise BadInput("file", words)
    if head.startswith(_UTF16_MARKS) and b"\x00\x00\x00" not in head:
        return
    if b"\x00" in head:
        raise BadInput("file", "it is no text: send the CSV file as the vendor gave it")
    if whole and not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise BadInput("file", "it is empty")


def undecodable(file: BinaryIO, delimiter: str) -> BadInput:
    """Where a file that said it was text is none; ``delimiter``: what parts its cells."""
    file.seek(0)
    if file.read(2) in _UTF16_MARKS:
        return BadInput("file", "its text is cut or damaged: save it again as CSV in UTF-8")
    file.seek(0)
    for number, line in enumerate(file, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as failure:
            words = "a character is not in UTF-8: send the file as the vendor gave it, not saved by another program"
            return CellRefused(number, _cells_begun(line[: failure.start], delimiter), words)
    return BadInput("file", "its text cannot be read as UTF-8")


def _cells_begun(line: bytes, delimiter: str) -> int:
    """How many cells the beginning of a line has, the one that is cut among them; a delimiter in quotes parts none."""
    try:
        cells = next(csv.reader([line.decode("utf-8-sig")], delimiter=delimiter), [])
    except csv.Error:
        return line.count(delimiter.encode()) + 1
    return max(len(cells), 1)
