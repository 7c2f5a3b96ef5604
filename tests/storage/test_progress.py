"""Cursor and scans as they are stored: what was written comes back, and what is not ours is nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.ladder import Scan, Scans
from evercgm.core.sync import Window
from evercgm.storage.progress import read_cursor, read_scans, write_cursor, write_scans

INSTANTS = st.datetimes(datetime(2015, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SCANS = st.dictionaries(
    st.text(max_size=10),
    st.builds(
        Scan,
        st.none() | INSTANTS,
        st.none() | INSTANTS,
        st.lists(st.builds(Window, INSTANTS, INSTANTS), max_size=3).map(tuple),
    ),
)
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@given(INSTANTS, SCANS)
def test_what_was_written_comes_back_to_the_microsecond(high_water: datetime, scans: Scans) -> None:
    assert read_cursor(write_cursor(high_water)) == high_water
    assert read_scans(write_scans(scans)) == scans


@pytest.mark.parametrize(
    "text",
    ["", None, "2026-03-01", "{}", '{"v": 2, "egv_high_water": "2026-03-01T12:00:00Z"}', '{"v": 1}',
     '{"v": 1, "egv_high_water": "2026-03-01T12:00:00"}', '{"lastSync": 1700000000}'],
)  # fmt: skip
def test_a_cursor_that_is_not_ours_is_none(text: str | None) -> None:
    assert read_cursor(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"daily": {"done": "yesterday"}}', '{"daily": {"done": "2026-03-01T12:00:00"}}',
     '{"daily": {"left": [{"start": "2026-03-01T12:00:00Z", "end": "2026-03-02T12:00:00"}]}}'],
)  # fmt: skip
def test_scans_that_cannot_be_read_were_never_done(text: str) -> None:
    assert read_scans(text) == {}


def test_a_scan_that_cannot_be_read_costs_no_other() -> None:
    scans = {"daily": Scan(AT), "weekly": Scan(AT, AT, (Window(AT - timedelta(days=30), AT),))}
    text = write_scans(scans).replace('"daily":{', '"monthly":{"done":"2026-03-01T12:00:00"},"daily":{')

    assert read_scans(text) == scans
