"""A Secret never prints itself; a token is due before its end; nonsense lifetimes count as an hour."""

import copy
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.tokens import Secret, Tokens, is_due, lifetime_s, signed_in_lately

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@given(st.text(min_size=12))
def test_a_secret_never_prints_itself(value: str) -> None:
    secret = Secret(value)
    tokens = Tokens(secret, secret, END)

    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", "%s" % secret, repr(tokens), repr([secret])]  # noqa: UP031

    assert all(value not in text for text in shown)
    assert secret.reveal() == value


def test_a_secret_is_never_pickled_or_copied_into_one() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("kept"))
    with pytest.raises(TypeError):
        copy.copy(Secret("kept"))


def test_secrets_compare_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
    assert Secret("a")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (7200, 7200),
        ("7200", 7200),
        (7200.9, 7200),
        (1, 1),
        (86_400, 86_400),
        (0, 3600),
        (-5, 3600),
        (86_401, 3600),
        (7_200_000, 3600),
        ("99999999999", 3600),
        ("soon", 3600),
        ("", 3600),
        ("٧", 3600),
        (None, 3600),
        (True, 3600),
        (float("nan"), 3600),
        (float("inf"), 3600),
        ([7200], 3600),
    ],
)
def test_a_lifetime_of_nonsense_counts_as_an_hour(raw: object, expected: int) -> None:
    assert lifetime_s(raw) == expected


@pytest.mark.parametrize("lifetime", [timedelta(days=180), timedelta(hours=1)])
@pytest.mark.parametrize(
    ("age", "lately"),
    [
        (timedelta(0), True),
        (timedelta(hours=4) - timedelta(seconds=1), True),
        (timedelta(hours=4), False),
        (timedelta(days=100), False),
        # Clocks differ a little; a session from later than that has a lifetime that was never noted.
        (timedelta(minutes=-1), True),
        (timedelta(days=-100), False),
    ],
)
def test_a_session_is_of_lately_for_four_hours_from_its_sign_in(
    lifetime: timedelta, age: timedelta, *, lately: bool
) -> None:
    tokens = Tokens(Secret("a"), Secret("r"), END, int(lifetime.total_seconds()))

    assert signed_in_lately(tokens, END - lifetime + age) == lately


@pytest.mark.parametrize(
    ("lifetime", "margin"), [(7200, timedelta(minutes=5)), (3000, timedelta(minutes=5)), (60, timedelta(seconds=6))]
)
def test_a_token_is_due_five_minutes_or_a_tenth_of_its_life_before_its_end(lifetime: int, margin: timedelta) -> None:
    tokens = Tokens(Secret("a"), Secret("r"), END, lifetime)

    assert is_due(tokens, END - margin)
    assert not is_due(tokens, END - margin - timedelta(microseconds=1))
