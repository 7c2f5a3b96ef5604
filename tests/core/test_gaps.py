"""Each hole in a series has the best-known reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.connection import CADENCE
from evercgm.core.connection import MESSAGES as CONNECTION_MESSAGES
from evercgm.core.gaps import (
    MESSAGES,
    Edge,
    Evidence,
    Gap,
    Hole,
    Reason,
    SetAside,
    Source,
    Trouble,
    explain,
    message_for,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
FIVE = timedelta(minutes=5)
WORKS = Source(
    id="c",
    status="connected",
    reason=None,
    delay=timedelta(hours=1),
    keeps=None,
    connected_at=NOW - timedelta(days=100),
    last_sync_at=NOW - timedelta(minutes=3),
    next_sync_at=NOW + timedelta(minutes=12),
    history_done=True,
    history_start=None,
)
LITTLE = replace(WORKS, keeps=timedelta(hours=12))


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def hole(before: float | None, after: float | None, **edges: object) -> Hole:
    """Between readings so many hours ago; None: none there."""
    return Hole(
        None if before is None else Edge(ago(before), "c", edges.get("first"), edges.get("ticks")),  # type: ignore[arg-type]
        None if after is None else Edge(ago(after), "c", edges.get("second"), edges.get("later")),  # type: ignore[arg-type]
    )


def reasons(one: Hole, *sources: Source, **more: object) -> list[tuple[str, str | None]]:
    known = Evidence(sources, more.get("set_aside", ()), more.get("troubles", ()), NOW)  # type: ignore[arg-type]
    return [(gap.reason, gap.cause) for gap in explain([one], known, LONG_AGO, NOW + timedelta(days=1))]


@pytest.mark.parametrize(
    ("one", "more", "reason"),
    [
        (hole(30, 28), {}, "signal_lost"),
        (hole(30, 28, first=b"a", second=b"b"), {}, "sensor_changed"),
        (hole(30, 28, first=b"a", second=b"a", ticks=900, later=20), {}, "sensor_changed"),
        (hole(30, 28, first=b"a", second=b"a", ticks=900, later=8100), {}, "signal_lost"),
        (hole(80, 28, first=b"a", second=b"b"), {}, "signal_lost"),
        (hole(30, 28), {"set_aside": [SetAside(ago(29), True)]}, "sensor_error"),
        (hole(30, 28), {"set_aside": [SetAside(ago(29), True), SetAside(ago(29.1), False)]}, "unreadable"),
        (hole(30, 28), {"set_aside": [SetAside(ago(31), True)]}, "signal_lost"),
    ],
)
def test_a_hole_between_two_readings(one: Hole, more: dict[str, object], reason: str) -> None:
    assert reasons(one, WORKS, **more) == [(reason, None)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["signal_lost", "vendor_delay"]),
        ({"status": "error", "reason": "vendor_unavailable"}, ["vendor_outage"]),
        ({"status": "error", "reason": "rate_limited"}, ["vendor_outage"]),
        ({"reason": "vendor_unavailable", "last_sync_at": ago(9)}, ["vendor_outage", "vendor_delay"]),
        ({"reason": "rate_limited", "last_sync_at": None}, ["vendor_outage", "vendor_delay"]),
        ({"reason": "vendor_unavailable", "last_sync_at": ago(9), "delay": timedelta(hours=8)}, ["vendor_delay"]),
        ({"reason": "vendor_unavailable", "next_sync_at": ago(2)}, ["worker_down"]),
        ({"status": "error", "reason": "vendor_denied", "next_sync_at": ago(2)}, ["worker_down"]),
        ({"status": "error", "reason": "operator_must_act"}, ["operator_must_act"]),
        ({"status": "error", "reason": "vendor_changed"}, ["operator_must_act"]),
        ({"status": "error", "reason": "seal_broken"}, ["operator_must_act"]),
        ({"status": "error", "reason": "sign_in_refused"}, ["connection_expired"]),
        ({"status": "error", "reason": "sign_in_locked"}, ["connection_expired"]),
        ({"status": "error", "reason": "unfollowed"}, ["connection_expired"]),
        ({"status": "expired", "reason": "reconnect_needed"}, ["connection_expired"]),
        ({"status": "disconnected"}, ["paused"]),
        ({"reason": "not_adopted"}, ["unknown"]),
        ({"next_sync_at": NOW - timedelta(hours=2)}, ["worker_down"]),
        ({"next_sync_at": None}, ["worker_down"]),
        ({"next_sync_at": NOW - timedelta(minutes=5)}, ["signal_lost", "vendor_delay"]),
        ({"last_sync_at": None}, ["not_read_yet", "vendor_delay"]),
        ({"delay": timedelta(hours=8)}, ["vendor_delay"]),
    ],
)
def test_a_hole_that_is_open_to_now(change: dict[str, object], expected: list[str]) -> None:
    assert [reason for reason, _ in reasons(hole(5, None), replace(WORKS, **change))] == expected  # type: ignore[arg-type]


def test_the_next_reading_may_take_its_time() -> None:
    assert reasons(hole(7 / 60, None), WORKS) == []
    assert reasons(hole(9 / 60, None), WORKS) == [("vendor_delay", None)]


def test_the_vendors_delay_is_the_youngest_part_alone() -> None:
    gaps = explain([hole(5, None)], Evidence([WORKS], (), (), NOW), LONG_AGO, NOW)

    expected = NOW - timedelta(hours=1, minutes=20)
    assert gaps == [Gap(ago(5) + FIVE, expected, "signal_lost"), Gap(expected, NOW, "vendor_delay")]


def test_of_an_outage_is_only_what_was_not_asked_for_before_it() -> None:
    away = replace(WORKS, reason="vendor_unavailable", last_sync_at=ago(2))

    gaps = explain([hole(5, None)], Evidence([away], (), (), NOW), LONG_AGO, NOW)

    lag = timedelta(hours=1, minutes=20)
    assert gaps == [
        Gap(ago(5) + FIVE, ago(2) - lag, "signal_lost"),
        Gap(ago(2) - lag, NOW - lag, "vendor_outage"),
        Gap(NOW - lag, NOW, "vendor_delay"),
    ]


@pytest.mark.parametrize(
    ("history_start", "reason"), [(None, "not_read_yet"), (ago(20), "not_read_yet"), (ago(40), "signal_lost")]
)
def test_what_the_first_reading_of_history_has_not_reached_is_not_missing_yet(
    history_start: datetime | None, reason: str
) -> None:
    source = replace(WORKS, history_done=False, history_start=history_start)

    assert reasons(hole(30, 28), source) == [(reason, None)]


def test_after_readings_that_nobody_connected_follows_nothing() -> None:
    assert reasons(hole(5, None)) == [("not_connected", None)]
    assert reasons(hole(30, 28)) == [("unknown", None)]
    assert reasons(hole(None, None)) == []


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (Trouble(ago(30), ago(10), None, "c"), ("beyond_vendor_history", "worker_down")),
        (Trouble(ago(30), ago(10), "reconnect_needed", "c"), ("beyond_vendor_history", "connection_expired")),
        (Trouble(ago(30), ago(10), "vendor_unavailable", "c"), ("beyond_vendor_history", "vendor_outage")),
        (Trouble(ago(30), ago(10), "operator_must_act", "c"), ("beyond_vendor_history", "operator_must_act")),
        (Trouble(ago(30), ago(10), "paused", "c"), ("beyond_vendor_history", "paused")),
        (Trouble(ago(90), ago(10), "paused", "c"), ("beyond_vendor_history", "paused")),
        (Trouble(ago(30), ago(10), "paused", "another"), ("signal_lost", None)),
        (Trouble(ago(30), ago(27), None, "c"), ("signal_lost", None)),
        (Trouble(ago(20), ago(1), None, "c"), ("signal_lost", None)),
    ],
)
def test_of_a_vendor_that_keeps_twelve_hours_what_was_asked_for_too_late_is_named(
    trouble: Trouble, expected: tuple[str, str | None]
) -> None:
    assert reasons(hole(30, 28), LITTLE, troubles=[trouble]) == [expected]
    assert reasons(hole(30, 28), WORKS, troubles=[trouble]) == [("signal_lost", None)]


def test_a_stop_that_lasts_longer_than_the_vendor_keeps_falls_into_two() -> None:
    stopped = replace(LITTLE, status="expired", reason="reconnect_needed")

    gaps = explain([hole(30, None)], Evidence([stopped], (), (), NOW), LONG_AGO, NOW)

    assert gaps == [
        Gap(ago(30) + FIVE, ago(12), "beyond_vendor_history", "connection_expired"),
        Gap(ago(12), NOW, "connection_expired"),
    ]


def test_what_was_asked_for_before_and_after_a_short_trouble_was_asked_in_time() -> None:
    assert reasons(hole(20, 5), LITTLE, troubles=[Trouble(ago(10), ago(1), None, "c")]) == [("signal_lost", None)]


def test_what_the_vendor_keeps_no_longer_names_the_import_that_fills_it_and_nothing_else_does() -> None:
    stopped = replace(LITTLE, status="expired", reason="reconnect_needed", import_format="its_export")
    lost = Trouble(ago(90), ago(50), "paused", "c")

    gaps = explain([hole(80, 70), hole(30, None)], Evidence([stopped], (), [lost], NOW), LONG_AGO, NOW)

    assert [(gap.reason, gap.import_format) for gap in gaps] == [
        ("beyond_vendor_history", "its_export"),
        ("beyond_vendor_history", "its_export"),
        ("connection_expired", None),
    ]


def test_a_slow_sensor_misses_nothing_before_its_own_next_reading_is_due() -> None:
    slow = replace(WORKS, cadence=timedelta(minutes=15), delay=timedelta(0))

    assert reasons(hole(23 / 60, None), slow) == []
    assert reasons(hole(25 / 60, None), slow) == [("vendor_delay", None)]
    gaps = explain([hole(30, 28)], Evidence([slow], (), (), NOW), LONG_AGO, NOW)
    assert gaps == [Gap(ago(30) + timedelta(minutes=15), ago(28), "signal_lost")]


def test_the_message_names_the_export_where_one_fills_the_gap() -> None:
    assert "The CSV file of LibreView" in message_for("beyond_vendor_history", "LibreView")
    assert message_for("beyond_vendor_history", None) == MESSAGES["beyond_vendor_history"]
    assert message_for("signal_lost", None) == MESSAGES["signal_lost"]


def test_every_reason_has_words_and_none_of_them_is_empty() -> None:
    assert set(MESSAGES) == set(get_args(Reason))
    assert all(text.endswith(".") for text in MESSAGES.values())


@pytest.mark.parametrize("reason", sorted(CONNECTION_MESSAGES))
def test_every_trouble_of_a_connection_is_a_reason_of_its_open_hole(reason: str) -> None:
    """A new reason that nobody thought of here is at least not "unknown"."""
    if reason in ("not_adopted", "consent_ends_soon", "paused"):
        return
    assert [found for found, _ in reasons(hole(5, None), replace(WORKS, status="error", reason=reason))] != ["unknown"]


instants = st.floats(0, 1000).map(ago)


@given(
    st.lists(st.tuples(st.floats(0, 900), st.floats(0.2, 50)), max_size=8),
    st.tuples(st.floats(0, 900), st.floats(0.1, 300)),
    st.sampled_from(["connected", "error", "expired", "disconnected"]),
)
def test_gaps_lie_within_the_period_in_order_and_do_not_overlap(
    spans: list[tuple[float, float]], period: tuple[float, float], status: str
) -> None:
    holes, at = [], 0.0
    for skip, length in spans:
        holes.append(hole(at + skip + length, at + skip if at + skip > 0 else None))
        at += skip + length + 0.2
    start, end = ago(period[0] + period[1]), ago(period[0])

    gaps = explain(holes, Evidence([replace(WORKS, status=status)], (), (), NOW), start, end)

    assert all(start <= gap.start < gap.end <= end for gap in gaps)
    assert all(one.end <= other.start + CADENCE for one, other in pairwise(gaps))
