"""A reader that others wrote agrees with ours on every export that it reads right; where it does not stands here."""

from datetime import datetime
from typing import Any

import pytest
from cgm_format import FormatParser
from export_files import cases, read
from polars.exceptions import PolarsError

from evercgm.file_imports.parsed import Answers

Series = list[tuple[datetime, float]]
ALL = {
    f"{name}, {case['case']}": case
    for name in ("clarity_csv", "libreview_csv", "carelink_csv")
    for case in cases(name)
    if "reject" not in case and "error" not in case.get("expect", {})
}
# Seen by running cgm-format 0.13.0: why it is no witness there.
OTHERWISE = {
    "libreview_csv, US English, mg/dL, month first, 12-hour; groups per record type, not chronological": "12 hours",
    "libreview_csv, German, empty second line": "its headings are known in English alone",
    "libreview_csv, French, decimal comma in quoted cells": "its headings are known in English alone",
    "libreview_csv, decimal comma in mmol/L": "decimal commas become nulls",
    "libreview_csv, clinic export: a line with name and birth date before the header": "takes that line as header",
    "libreview_csv, row with year 1 and row with an unknown record type: skip and count": "keeps the year 1, drops HI",
    "carelink_csv, US, comma, decimal point": "it reads semicolons alone",
    "carelink_csv, mmol/L": "it knows mg/dL alone",
    "carelink_csv, autumn clock change: order by Index, time repeats": "it needs the lines about the person",
}


@pytest.mark.parametrize("name", [name for name in ALL if name not in OTHERWISE])
def test_another_reader_agrees_on_every_time_and_value(name: str) -> None:
    theirs = by_the_other(ALL[name]["body"])

    ours, scans, factor_apart = by_us(ALL[name]["body"])

    assert len(theirs) == len(ours) + scans
    kept = [one for one in theirs if any(one[0] == at for at, _ in ours)]
    assert [at for at, _ in kept] == [at for at, _ in ours]
    assert all(abs(one[1] - other[1]) <= factor_apart for one, other in zip(kept, ours, strict=True))


@pytest.mark.parametrize("name", OTHERWISE)
def test_where_it_is_no_witness_it_still_is_none(name: str) -> None:
    ours, scans, _ = by_us(ALL[name]["body"])

    try:
        theirs = by_the_other(ALL[name]["body"])
    except (ValueError, PolarsError):
        return

    assert len(theirs) != len(ours) + scans or [at for at, _ in theirs] != [at for at, _ in ours]


def by_us(body: bytes) -> tuple[Series, int, float]:
    """Times as the device showed them; how many scans lie beside history; how far its factor for mmol/L may be off."""
    parsed = read(body, Answers("UTC"))
    series = sorted((one.measured_at.replace(tzinfo=None), float(one.glucose_mg_dl)) for one in parsed.readings)
    return series, parsed.skipped.get("beside_history", 0), 1.0 if parsed.unit == "mmol/L" else 0.0


def by_the_other(body: bytes) -> Series:
    text = FormatParser.decode_raw_data(body)
    table: Any = FormatParser.parse_to_unified(text, FormatParser.detect_format(text))
    rows = table.select("original_datetime", "original_glucose", "event_type").rows()
    return sorted((at, value) for at, value, kind in rows if value is not None and kind == "EGV_READ")
