"""The failure ladder as one table: each failure, the connection's status, the reason, and when it is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.connection import MESSAGES
from evercgm.core.errors import (
    BadInput,
    CallsHeldBack,
    EvercgmError,
    GrantRefused,
    NotYours,
    OperatorMustAct,
    ReconnectNeeded,
    SealBroken,
    SessionRefused,
    SignInLocked,
    VendorChanged,
    VendorDenied,
    VendorError,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.verdict import GRANT_LADDER, Trouble, judge

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FRESH = Trouble(None, 0, NOW)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# failure, failures with this reason before -> status, reason, the shortest wait
LADDER = [
    (VendorTryLater(), 0, "connected", "vendor_unavailable", MINUTE),
    (VendorTryLater(), 1, "connected", "vendor_unavailable", 2 * MINUTE),
    (VendorTryLater(), 3, "connected", "vendor_unavailable", 8 * MINUTE),
    (VendorTryLater(), 6, "connected", "vendor_unavailable", HOUR),
    (VendorTryLater(), 5000, "connected", "vendor_unavailable", HOUR),
    (VendorTryLater("away", 1200), 0, "connected", "vendor_unavailable", 20 * MINUTE),
    (VendorTryLater("away", 999_999), 0, "connected", "vendor_unavailable", HOUR),
    (VendorRateLimited("slow down", 1200), 0, "connected", "rate_limited", 20 * MINUTE),
    (CallsHeldBack(1200), 0, "connected", "rate_limited", 20 * MINUTE),
    (VendorDenied("401 after a refresh", expired_token=True), 0, "error", "vendor_denied", HOUR),
    (VendorDenied("403", expired_token=False), 0, "error", "vendor_denied", 12 * HOUR),
    (VendorDenied("403", expired_token=False), 9, "error", "vendor_denied", 12 * HOUR),
    (VendorDenied("403", expired_token=False, wait_s=3600), 0, "error", "vendor_denied", HOUR),
    (VendorDenied("403", expired_token=False, wait_s=600), 0, "error", "vendor_denied", 10 * MINUTE),
    (VendorDenied("403", expired_token=False, wait_s=600), 40, "error", "vendor_denied", 10 * MINUTE),
    (VendorDenied("401 after a refresh", expired_token=True, wait_s=600), 0, "error", "vendor_denied", HOUR),
    (ReconnectNeeded(), 0, "expired", "reconnect_needed", None),
    (ReconnectNeeded("password_needed"), 0, "expired", "password_needed", None),
    (ReconnectNeeded("unfollowed"), 0, "error", "unfollowed", 24 * HOUR),
    (ReconnectNeeded("unfollowed"), 60, "error", "unfollowed", 24 * HOUR),
    (GrantRefused(), 0, "error", "sign_in_refused", 2 * HOUR),
    (GrantRefused(), 1, "error", "sign_in_refused", 4 * HOUR),
    (GrantRefused(), 2, "error", "sign_in_refused", 8 * HOUR),
    (GrantRefused(), 3, "error", "sign_in_refused", 16 * HOUR),
    (GrantRefused(), 4, "expired", "reconnect_needed", None),
    (SessionRefused(), 0, "error", "sign_in_refused", 10 * MINUTE),
    (SessionRefused(), 1, "error", "sign_in_refused", 30 * MINUTE),
    (SessionRefused(), 2, "error", "sign_in_refused", 80 * MINUTE),
    (SessionRefused(), 3, "expired", "password_needed", None),
    (SignInLocked(1200), 0, "error", "sign_in_locked", 20 * MINUTE),
    (SignInLocked(), 0, "error", "sign_in_locked", 10 * MINUTE),
    (SignInLocked(1200), 1, "expired", "sign_in_locked", None),
    (VendorChanged("not JSON"), 0, "error", "vendor_changed", HOUR),
    (VendorChanged("not JSON"), 40, "error", "vendor_changed", HOUR),
    (OperatorMustAct("invalid_client"), 0, "error", "operator_must_act", HOUR),
    (BadInput("token", "nobody can send it"), 0, "error", "operator_must_act", HOUR),
    (SealBroken(), 0, "error", "seal_broken", HOUR),
    (VendorError(), 0, "error", "vendor_unavailable", HOUR),
]


@pytest.mark.parametrize(
    ("failure", "count", "status", "reason", "wait"),
    LADDER,
    ids=[f"{type(row[0]).__name__}-{row[1]}" for row in LADDER],
)
@pytest.mark.parametrize("chance", [0.0, 0.99])
def test_each_failure_has_its_status_its_reason_and_its_next_time(
    failure: EvercgmError, count: int, status: str, reason: str, wait: timedelta | None, chance: float
) -> None:
    was = reason if count and not isinstance(failure, GrantRefused) else ("sign_in_refused" if count else None)
    before = Trouble(was, count, NOW)

    verdict = judge(failure, before, NOW, chance)

    assert (verdict.status, verdict.reason) == (status, reason)
    if wait is None:
        assert verdict.next_sync_at is None
    else:
        assert verdict.next_sync_at is not None
        assert wait <= verdict.next_sync_at - NOW <= wait * 1.2
    assert MESSAGES[verdict.reason]


def test_what_is_no_failure_of_a_sync_is_a_bug_and_goes_up() -> None:
    with pytest.raises(NotYours):
        judge(NotYours("connection"), FRESH, NOW, 0)


def test_a_press_during_a_lock_is_not_the_one_more_try() -> None:
    later = NOW + timedelta(minutes=9)

    verdict = judge(SignInLocked(600), Trouble("sign_in_locked", 1, later), NOW, 0.5)

    assert (verdict.status, verdict.reason, verdict.next_sync_at, verdict.count) == (
        "error",
        "sign_in_locked",
        later,
        1,
    )


def test_a_wait_that_sent_nothing_is_never_the_one_more_try_even_where_it_ends_meanwhile() -> None:
    before = Trouble("sign_in_locked", 1, NOW)

    verdict = judge(SignInLocked(1, sent=False), before, NOW + timedelta(seconds=1), 0.5)

    assert (verdict.status, verdict.reason, verdict.next_sync_at, verdict.count) == ("error", "sign_in_locked", NOW, 1)


VENDORS_DOING = [VendorTryLater(), VendorTryLater("away", 60), VendorRateLimited(), CallsHeldBack(30)]
failures_between = st.lists(st.sampled_from(VENDORS_DOING), max_size=6)


@given(st.lists(failures_between, min_size=1, max_size=12), st.floats(0, 0.99))
def test_whatever_comes_between_a_refused_sign_in_ends_only_after_its_whole_ladder(
    between: list[list[EvercgmError]], chance: float
) -> None:
    """A person asks again and again during an outage, and the refusals come in between: no rung is cut short."""
    now, trouble, refused = NOW, FRESH, 0
    status = "connected"
    for outage in [*between, *([[]] * 60)]:
        for failure in (*outage, GrantRefused()):
            verdict = judge(failure, trouble, now, chance)
            status, trouble = verdict.status, Trouble(verdict.reason, verdict.count, verdict.next_sync_at)
            refused += isinstance(failure, GrantRefused)
            if status == "expired":
                break
            now += timedelta(minutes=40)
        if status == "expired":
            break

    assert status == "expired"
    assert refused > len(GRANT_LADDER)
    assert now - NOW >= sum(GRANT_LADDER, timedelta())


@pytest.mark.parametrize("failure", VENDORS_DOING, ids=lambda failure: type(failure).__name__)
def test_an_outage_never_moves_a_refused_sign_ins_next_try_before_its_rung(failure: EvercgmError) -> None:
    rung = NOW + 8 * HOUR

    verdict = judge(failure, Trouble("sign_in_refused", 3, rung), NOW, 0.5)

    assert (verdict.status, verdict.reason, verdict.count) == ("error", "sign_in_refused", 3)
    assert verdict.next_sync_at == rung
