"""The list of the erased as text: what is printed is read again, and a wrong line refuses all."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.erasure import Erasure, parse
from evercgm.core.errors import BadInput

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=2)
GOOD = Erasure("p1", NOW).as_json()
times = st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 24), timezones=st.just(UTC))  # noqa: DTZ001
ids = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40)


@given(st.lists(st.builds(Erasure, ids, times, st.none() | times)))
def test_what_is_printed_as_json_is_read_again(erasures: list[Erasure]) -> None:
    assert parse("--replay", [one.as_json() for one in erasures], NOW) == erasures


@given(ids.filter(lambda text: text.strip() and not text.lstrip().startswith("{")), times, st.none() | times)
def test_what_is_printed_for_people_is_read_again(person: str, at: datetime, all_at: datetime | None) -> None:
    erasure = Erasure(person, at, all_at)

    assert parse("--replay", [erasure.as_text() + "\r\n"], NOW) == [erasure]


def test_times_of_other_zones_and_blank_lines_are_read() -> None:
    berlin = timezone(timedelta(hours=1))

    read = parse("--replay", ["", f"p1\t{NOW.astimezone(berlin).isoformat()}", "  ", GOOD, ""], NOW)

    assert read == [Erasure("p1", NOW)] * 2
    assert all(one.erased_at.tzinfo is UTC for one in read)


@pytest.mark.parametrize(
    "line",
    [
        "p1",
        "p1 2026-11-24T08:00:00Z",
        "\t2026-11-24T08:00:00Z",
        "p1\t2026-11-24T08:00:00",
        "p1\tyesterday",
        "p1\t2026-11-24T08:00:00Z\t",
        "p1\t2026-11-24T08:00:00Z\tx",
        "p1\t2026-11-24T08:00:00Z\t2026-11-24T08:00:00Z\t2026-11-24T08:00:00Z",
        "p1\t0001-01-01T00:00:00+10:00",
        '{"person_id": "p1"}',
        '{"person_id": "", "erased_at": "2026-11-24T08:00:00Z"}',
        '{"person_id": 1, "erased_at": "2026-11-24T08:00:00Z"}',
        '{"person_id": "p1", "erased_at": 7}',
        '{"person_id": "p1", "erased_at": "2026-11-24T08:00:00Z", "all_readings_at": true}',
        '{"person_id": "p1", "erased_at": "2026-11-24T08:00:00Z", "more": 1}',
        '{"person_id": "p1", "erased_at": "2026-11-24T08:00:00Z"',
        "{}",
        "[]",
        "null",
    ],
)
def test_a_wrong_line_refuses_the_whole_list_with_its_number(line: str) -> None:
    with pytest.raises(BadInput, match=r"^--replay: line 3 ") as refused:
        parse("--replay", [GOOD, "", line, GOOD], NOW)

    assert "p1" not in str(refused.value)


@pytest.mark.parametrize(
    "late", [Erasure("p1", NOW + timedelta(seconds=1)), Erasure("p1", EARLIER, NOW + timedelta(1))]
)
def test_an_erasure_that_is_still_to_come_is_refused(late: Erasure) -> None:
    with pytest.raises(BadInput, match="line 2 names a time that is still to come"):
        parse("--replay", [GOOD, late.as_json()], NOW)
