"""Hostile answers: refused or set aside within bounded memory, and never with an exception of another kind."""

import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import VendorChanged
from evercgm.providers.dexcom.mapping import read_data_range, read_devices, read_egvs
from evercgm.providers.dexcom.times import display_offset_min, parse_time

NOW = datetime(2026, 11, 24, tzinfo=UTC)
READERS = [lambda body: read_egvs(body, NOW), read_data_range, read_devices]
TEN_MB = 10 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b'{"records": [' + b",".join([b"{}"] * 1_100_000) + b"]}",
        b'{"records": [' + b",".join([b"1"] * 2_000_000) + b"]}",
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"records": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["a million records", "two million numbers", "a million brackets", "deep objects", "deep records"],
)
def test_a_huge_or_deep_answer_is_refused_within_bounded_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(VendorChanged):
            read_egvs(body, NOW)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < TEN_MB


def test_more_records_than_a_window_can_hold_are_refused() -> None:
    body = b'{"records": [' + b",".join([b'{"systemTime":"2026-11-01T00:00:00Z","value":100}'] * 50_001) + b"]}"

    with pytest.raises(VendorChanged):
        read_egvs(body, NOW)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_another_kind_of_error(body: bytes) -> None:
    for read in READERS:
        try:
            read(body)
        except VendorChanged:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["records", "egvs", "start", "end",
        "systemTime", "value", "userId", "x"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_no_json_raises_another_kind_of_error(content: object) -> None:
    for read in READERS:
        try:
            read(json.dumps(content).encode())
        except VendorChanged:
            continue


TIME_TEXTS = st.text(max_size=40) | st.from_regex(
    r"\d{1,5}-\d{1,2}-\d{1,2}[T ]\d{1,2}(:\d{1,2}){0,2}(\.\d{1,9})?(Z|[+-]\d{1,2}:?\d{0,2}(:\d\d)?)?", fullmatch=True
)


@given(TIME_TEXTS, TIME_TEXTS)
def test_no_time_text_raises(system: str, display: str) -> None:
    parsed = parse_time(system)
    assert parsed is None or parsed.instant.tzinfo is not None

    shown = parse_time(display)
    if parsed is not None and shown is not None:
        offset = display_offset_min(parsed, shown)
        assert offset is None or -12 * 60 <= offset <= 14 * 60
