"""A reading's id: version 8, fixed, in the order of time."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.reading import EPOCH, Reading, epoch_ms, ids_in, reading_id

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(max_size=40)


def reading(measured_at: datetime, record_key: str = "k") -> Reading:
    return Reading(record_key=record_key, measured_at=measured_at, glucose_mg_dl=100)


@given(TEXTS, TEXTS, TEXTS, INSTANTS)
def test_an_id_is_a_version_8_uuid_that_begins_with_its_instant(
    person: str, stream: str, key: str, at: datetime
) -> None:
    text = reading_id(person, stream, reading(at, key))
    parsed = uuid.UUID(text)

    assert str(parsed) == text
    assert parsed.version == 8
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == epoch_ms(at)
    assert reading_id(person, stream, reading(at, key)) == text


@given(INSTANTS, INSTANTS, TEXTS, TEXTS)
def test_ids_sort_by_time(one: datetime, other: datetime, key: str, other_key: str) -> None:
    early, late = sorted([one, other])

    ids = [reading_id("p", "s", reading(early, key)), reading_id("p", "s", reading(late, other_key))]

    assert epoch_ms(early) == epoch_ms(late) or ids == sorted(ids)


def test_each_part_of_the_identity_changes_the_id() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    ids = {
        reading_id("p", "s", reading(at, "k")),
        reading_id("q", "s", reading(at, "k")),
        reading_id("p", "t", reading(at, "k")),
        reading_id("p", "s", reading(at, "l")),
        reading_id("ps", "", reading(at, "k")),
        reading_id("p", "s", reading(at + timedelta(milliseconds=1), "k")),
    }

    assert len(ids) == 6


def test_the_value_does_not_change_the_id() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)

    assert reading_id("p", "s", Reading("k", at, 100)) == reading_id("p", "s", Reading("k", at, 140, "high"))


@pytest.mark.parametrize(
    ("person", "stream", "key", "at", "expected"),
    [
        ("person", "dexcom/dexcom/account", "key", "2025-01-30T23:49:55Z", "0194b99f-08b8-8c48-b108-f859e1f3922b"),
        ("p", "s", "egv:0", "2026-11-24T12:00:00.999999Z", "01a20d6d-5de7-888f-b5ab-bdc2a08638ec"),
        ("p", "s", "egv:1738280995000", "1970-01-01T00:00:00Z", "00000000-0000-8749-aae0-e755626bbcb2"),
        ("", "", "", "2199-12-31T23:59:59.999Z", "0699e991-a7ff-815e-b1ef-c2d41ccad27e"),
        ("الشخص", "dexcom/dexcom/日本", "é" * 128, "2001-02-03T04:05:06.007Z", "00e47279-7557-8973-a1a8-32c06ea20839"),
    ],
)
def test_an_id_stays_what_it_was_when_first_given(person: str, stream: str, key: str, at: str, expected: str) -> None:
    one = reading(datetime.fromisoformat(at), key)

    assert reading_id(person, stream, one) == expected
    assert ids_in(person, stream)(one) == expected


@given(st.integers(0, 10**13), st.integers(0, 999))
def test_milliseconds_are_cut_never_rounded(ms: int, us: int) -> None:
    assert epoch_ms(EPOCH + timedelta(milliseconds=ms, microseconds=us)) == ms
