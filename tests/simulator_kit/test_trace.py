"""Replaying a recording: where it ends, how it repeats, what is refused."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evercgm.simulator_kit.trace import Trace, TraceError, anchor_for, builtin_path, list_builtin, load_trace

ANCHOR = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def written(tmp_path: Path, *rows: str, header: str = "local_time,glucose_mg_dl") -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def three_points(tmp_path: Path) -> Trace:
    rows = ("2020-01-01 10:00:03,100", "2020-01-01 10:05:01,110", "2020-01-01 10:20:04,120")
    return load_trace(written(tmp_path, *rows), ANCHOR)


def test_a_trace_ends_at_the_anchor(tmp_path: Path) -> None:
    trace = three_points(tmp_path)
    records = list(trace.records_between(datetime(2020, 1, 1, tzinfo=UTC), ANCHOR + timedelta(seconds=1)))
    assert [record.glucose_mg_dl for record in reversed(records)] == [120, 110, 100]
    assert records[-1].measured_at == ANCHOR
    assert ANCHOR - timedelta(minutes=20, seconds=1) == records[0].measured_at == trace.first_at


def test_a_trace_repeats_with_its_jitter_and_gaps(tmp_path: Path) -> None:
    trace = three_points(tmp_path)
    assert timedelta(minutes=30) == trace.period
    for cycle in range(1, 5):
        start = trace.first_at + cycle * trace.period
        records = list(trace.records_between(start, start + trace.period))
        assert [cycle * 3, cycle * 3 + 1, cycle * 3 + 2] == [record.ordinal for record in records]
        gaps = [b.measured_at - a.measured_at for a, b in itertools.pairwise(records)]
        assert [timedelta(seconds=298), timedelta(seconds=903)] == gaps


def test_the_next_cycle_begins_at_least_five_minutes_after_the_last_point(tmp_path: Path) -> None:
    for name in list_builtin():
        trace = load_trace(builtin_path(name), ANCHOR)
        seam = trace.first_at + trace.period - trace.anchor
        assert timedelta(minutes=5) <= seam < timedelta(minutes=10)
        assert timedelta(0) == trace.period % timedelta(minutes=5)
    single = load_trace(written(tmp_path, "2020-01-01 10:00:00,100"), ANCHOR)
    assert timedelta(minutes=5) == single.period


def test_windows_joined_give_each_reading_once(tmp_path: Path) -> None:
    trace = load_trace(builtin_path(list_builtin()[0]), ANCHOR)
    edges = [trace.first_at - timedelta(hours=1) + timedelta(hours=7, seconds=13) * step for step in range(90)]
    pieces = [record for a, b in itertools.pairwise(edges) for record in trace.records_between(a, b)]
    assert list(trace.records_between(edges[0], edges[-1])) == pieces
    assert list(range(len(pieces))) == [record.ordinal for record in pieces]


def test_start_is_inclusive_and_end_exclusive(tmp_path: Path) -> None:
    trace = three_points(tmp_path)
    first, second = trace.record(4).measured_at, trace.record(5).measured_at
    assert [record.ordinal for record in trace.records_between(first, second)] == [4]


def test_a_short_early_block_is_dropped(tmp_path: Path) -> None:
    rows = ["2020-01-01 10:00:00,90", "2020-02-01 10:00:00,100", "2020-02-01 10:05:00,110"]
    trace = load_trace(written(tmp_path, *rows), ANCHOR)
    assert trace.glucose_mg_dl == (100, 110)


def test_anchors_are_rounded_down_to_five_minutes() -> None:
    assert anchor_for(ANCHOR + timedelta(minutes=4, seconds=59)) == ANCHOR
    berlin_winter = datetime.fromisoformat("2026-03-01T13:02:00+01:00")
    assert anchor_for(berlin_winter) == ANCHOR


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["yesterday,100"], "line 2: not a time: 'yesterday'"),
        (["2020-01-01 10:00:00,100", "2020-01-01 10:05:00,Low"], "line 3: not a glucose value: 'Low'"),
        (["2020-01-01 10:00:00,nan"], "line 2: not a glucose value"),
        (["2020-01-01 10:00:00,inf"], "line 2: not a glucose value"),
        (["2020-01-01 10:00:00,0"], "line 2: 0 mg/dL"),
        (["2020-01-01 10:00:00,100,x"], "line 2: expected 2 columns, found 3"),
        (["2020-01-01 10:00:00,100"] * 2, "line 3: the time 2020-01-01 10:00:00 occurs twice"),
        ([], "has no readings"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, rows: list[str], said: str) -> None:
    path = written(tmp_path, *rows)
    with pytest.raises(TraceError) as caught:
        load_trace(path, ANCHOR)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_without_the_header_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "2020-01-01 10:00:00,100", header="time,value")
    with pytest.raises(TraceError, match="line 1: expected the header"):
        load_trace(path, ANCHOR)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nowhere\.csv: cannot be read \(No such file"):
        load_trace(tmp_path / "nowhere.csv", ANCHOR)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(TraceError, match="not UTF-8 text"):
        load_trace(binary, ANCHOR)
