"""What is no readable text is refused by what it is, and an archive is never opened."""

import gzip
import io
import tracemalloc
import zipfile

import pytest
from export_files import BERLIN, NOW, carelink, cases, clarity, libreview, read
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import BadInput, CellRefused, TooLarge
from evercgm.file_imports.formats import read_file
from evercgm.file_imports.text import LARGEST

GOOD = clarity([("2026-03-13T08:00:00", 101, 500)])


def zipped(name: str, body: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf\r\n \r\n", "it is empty"),
        (zipped("export.csv", GOOD), "unpack it first"),
        (gzip.compress(GOOD), "unpack it first"),
        (b"7z\xbc\xaf\x27\x1c" + b"\x00" * 40, "unpack it first"),
        (zipped("[Content_Types].xml", b"<Types/>"), "it is a spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 500, "it is a spreadsheet"),
        (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 20, "it is a picture"),
        (bytes(range(256)) * 8, "it is no text"),
        (GOOD.decode().encode("utf-16-le"), "it is no text"),
        (GOOD.decode().encode("utf-32"), "it is no text"),
        (GOOD.decode().encode("utf-16")[:-1], "its text is cut or damaged"),
        (b'{"entries": []}', "none of the exports that are read here"),
        (b"<!doctype html><title>Sign in</title>", "none of the exports that are read here"),
        (b"date,sgv\n2026-03-13,95\n", "none of the exports that are read here"),
        (GOOD[: GOOD.index(b"EGV")] + b'"', "its quotation marks do not pair"),
    ],
)  # fmt: skip
def test_each_kind_of_bad_file_has_its_own_answer(body: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        read(body)

    assert refused.value.field == "file"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read_over(encoding: str) -> None:
    assert read(GOOD.decode().encode(encoding)).readings == read(GOOD).readings


def test_a_character_of_another_encoding_is_refused_at_its_line() -> None:
    french = next(case["body"] for case in cases("libreview_csv") if case["case"].startswith("French"))
    body = libreview([("13-03-2026 08:00", 0, 95)] * 3000) + french.decode().encode("latin-1")

    with pytest.raises(CellRefused, match="is not in UTF-8") as refused:
        read(body)

    assert (refused.value.line, refused.value.column) == (3003, 1)


@pytest.mark.parametrize("place", ["the head", "far below"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_column_of_such_a_character_is_counted_by_the_files_own_delimiter(delimiter: str, place: str) -> None:
    good = [("2026/07/29", "18:47:11", 117)] * (3 if place == "the head" else 3000)
    whole = carelink(good).replace(b",00000", b"").replace(b"25,74", b"2574").replace(b";", delimiter.encode())
    lines = [*whole.split(b"\r\n")[:-1], delimiter.join(("9", "", f'"a{delimiter}b"', "M\xfcller")).encode("latin-1")]

    with pytest.raises(CellRefused, match="is not in UTF-8") as refused:
        read(b"\r\n".join(lines))

    assert (refused.value.line, refused.value.column) == (len(lines), 4)


def test_where_no_format_is_recognised_the_delimiter_is_what_is_most_often_there() -> None:
    with pytest.raises(CellRefused) as refused:
        read(b"Glyc\xe9mie;1,0;2\r\nMod\xe8le;1,5;\r\n")
    assert (refused.value.line, refused.value.column) == (1, 1)

    with pytest.raises(CellRefused) as refused:
        read("Heure;1,0;2,5,5;Glycémie".encode("latin-1") + b";;;;;\r\n")
    assert (refused.value.line, refused.value.column) == (1, 4)


def test_a_byte_order_mark_is_no_part_of_the_first_cell_of_a_damaged_line() -> None:
    with pytest.raises(CellRefused) as refused:
        read(b'\xef\xbb\xbf"a,b",M\xfcller\r\n')

    assert (refused.value.line, refused.value.column) == (1, 2)


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = zipped("export.csv", b"0" * 200_000_000)
    tracemalloc.start()

    with pytest.raises(BadInput, match="unpack it first"):
        read(bomb)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_file_above_the_limit_is_refused_by_its_size_alone(tmp_path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as large:
        large.truncate(200 * 2**20)

    with path.open("rb") as large, pytest.raises(TooLarge, match="larger than 64 MB"):
        read_file(large, BERLIN, NOW)

    assert LARGEST == 64 * 2**20


def test_the_file_stays_open_for_who_opened_it() -> None:
    file = io.BytesIO(GOOD)

    read_file(file, BERLIN, NOW)

    assert not file.closed


SAMPLES = [
    GOOD,
    libreview([("13-03-2026 08:00", 0, 95), ("13-03-2026 08:05", 1, "HI")]),
    carelink([("2026/07/29", "18:47:11", 117)]),
]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=6))
def test_no_bytes_raise_another_kind_of_error(body: bytes, changes: list[tuple[int, bytes]]) -> None:
    for place, put in changes:
        body = body[: place % len(body)] + put + body[place % len(body) + 1 :]

    try:
        readings = read(body).readings
    except BadInput:
        return

    assert all(39 <= one.glucose_mg_dl <= 500 and one.measured_at.tzinfo for one in readings)
