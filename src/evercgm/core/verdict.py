"""What a failed sync means: the connection's status, the reason a person reads, and when to try again. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from evercgm.core.connection import Status
from evercgm.core.errors import (
    BadInput,
    CallsHeldBack,
    EvercgmError,
    GrantRefused,
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
from evercgm.core.sync import next_retry

# Dexcom, 403 (access not granted or ended): stop for half a day (dexcom facts A6, read 2026-11). A provider that keeps
# readings for no longer than that names a wait of its own.
DENIED_PAUSE = timedelta(hours=12)
SLOW_RETRY = timedelta(hours=1)
# Where a vendor does not say for how long it takes no sign-in.
LOCK_LASTS = timedelta(minutes=10)
# What passes by itself: whoever has no other trouble is told of a pause, and counts as connected.
PASSING = ("vendor_unavailable", "rate_limited")
# A refused refresh may be transient: after these waits, and only then, the person is asked (dexcom facts A8.6).
GRANT_LADDER = (timedelta(hours=2), timedelta(hours=4), timedelta(hours=8), timedelta(hours=16))
# Good sessions are refused for a while after a maintenance (libre facts A5). Shorter: such a vendor keeps readings for
# half a day, and the person may have to be asked before.
SESSION_LADDER = (timedelta(minutes=10), timedelta(minutes=30), timedelta(minutes=80))
# What the person mends at the vendor: we look whether it was, by what we hold (libre facts A8).
LOOKS_AGAIN = {"unfollowed": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was known before this failure: its reason, how often in a row, and when the next try was due.

    ``adopted``: the tokens came from the host app and have never worked here.
    """

    reason: str | None
    count: int
    next_sync_at: datetime | None
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """``next_sync_at`` (aware UTC) None: never by itself. ``count``: failures in a row with this reason."""

    status: Status
    reason: str
    next_sync_at: datetime | None
    count: int


def judge(failure: EvercgmError, before: Trouble, now: datetime, chance: float) -> Verdict:
    """The failure ladder; ``chance`` in [0, 1) spreads the retries. Raises ``failure`` where it is none of a vendor's.

    Only what a person must mend here ends in ``expired``: an operator's mistake or a vendor's outage never does.
    """
    if isinstance(failure, GrantRefused):
        return _judge_grant(failure, before, now)
    if isinstance(failure, CallsHeldBack):
        return _judge_held_back(failure, before, now, chance)
    if before.reason == "sign_in_refused" and isinstance(failure, VendorTryLater):
        # An outage on the way up the ladder: the rung and its time are kept, and what the person was told.
        return Verdict("error", before.reason, _not_before(before, _next(failure, now, 1, chance)), before.count)
    if isinstance(failure, SignInLocked):
        return _judge_lock(failure, before, now, chance)
    if before.reason in LOOKS_AGAIN and isinstance(failure, VendorTryLater):
        # An outage at the look: the person's answer is still the same, it is only looked for at other times.
        count = before.count + 1
        return Verdict("error", before.reason, _next(failure, now, count, chance), count)
    status, reason = _named(failure)
    count = before.count + 1 if before.reason == reason else 1
    return Verdict(status, reason, _next(failure, now, count, chance), count)


def _named(failure: EvercgmError) -> tuple[Status, str]:
    match failure:
        case ReconnectNeeded():
            return "error" if failure.reason in LOOKS_AGAIN else "expired", failure.reason
        case VendorRateLimited():
            return "connected", "rate_limited"
        case VendorTryLater():
            return "connected", "vendor_unavailable"
        case VendorDenied():
            return "error", "vendor_denied"
        case VendorChanged():
            return "error", "vendor_changed"
        case OperatorMustAct() | BadInput():
            return "error", "operator_must_act"
        case SealBroken():
            return "error", "seal_broken"
        case VendorError():
            return "error", "vendor_unavailable"
        case _:
            raise failure


def _next(failure: EvercgmError, now: datetime, count: int, chance: float) -> datetime | None:
    if isinstance(failure, ReconnectNeeded):
        wait = LOOKS_AGAIN.get(failure.reason)
        return now + wait * (1 + 0.2 * chance) if wait else None
    if isinstance(failure, VendorTryLater):
        asked = timedelta(seconds=failure.retry_after_s) if failure.retry_after_s else None
        return next_retry(now, count, chance, asked)
    if isinstance(failure, VendorDenied) and not failure.expired_token:
        own_wait = timedelta(seconds=failure.wait_s * (1 + 0.2 * chance)) if failure.wait_s else None
        return now + (own_wait or DENIED_PAUSE)
    return now + SLOW_RETRY * (1 + 0.2 * chance)


def _judge_lock(failure: SignInLocked, before: Trouble, now: datetime, chance: float) -> Verdict:
    """One more try when the lock is over, and no third: tries are what locks an account (libre facts A4)."""
    early = before.next_sync_at is not None and now < before.next_sync_at
    if before.reason == "sign_in_locked" and (early or not failure.sent):
        # Somebody asked meanwhile: that was not the one more try.
        return Verdict("error", "sign_in_locked", before.next_sync_at, before.count)
    if before.reason == "sign_in_locked":
        return Verdict("expired", "sign_in_locked", None, before.count + 1)
    wait = timedelta(seconds=failure.retry_after_s) if failure.retry_after_s else LOCK_LASTS
    return Verdict("error", "sign_in_locked", now + wait * (1 + 0.2 * chance), 1)


def _judge_held_back(failure: CallsHeldBack, before: Trouble, now: datetime, chance: float) -> Verdict:
    """The vendor was not asked: no failure of the connection. What was known of it stays, only its time moves on."""
    later = _next(failure, now, 1, chance)
    if before.reason is None or before.reason in PASSING:
        return Verdict("connected", "rate_limited", later, before.count if before.reason == "rate_limited" else 0)
    return Verdict("error", before.reason, _not_before(before, later), before.count)


def _not_before(before: Trouble, later: datetime | None) -> datetime | None:
    """The time that was set already, unless the new one is later still."""
    return max(filter(None, (later, before.next_sync_at)), default=None)


def _judge_grant(failure: GrantRefused, before: Trouble, now: datetime) -> Verdict:
    """``invalid_grant``: one rung a time, and never because somebody asked for a sync in between."""
    of_session = isinstance(failure, SessionRefused)
    ladder, at_its_end = (SESSION_LADDER, "password_needed") if of_session else (GRANT_LADDER, "reconnect_needed")
    rung = before.count if before.reason == "sign_in_refused" else 0
    if rung and before.next_sync_at is not None and now < before.next_sync_at:
        return Verdict("error", "sign_in_refused", before.next_sync_at, rung)
    if rung >= len(ladder) and before.adopted:
        # A wrong region or key at the adoption would look just so: an operator's matter, it expires nobody.
        return Verdict("error", "operator_must_act", now + GRANT_LADDER[-1], 1)
    if rung >= len(ladder):
        return Verdict("expired", at_its_end, None, rung + 1)
    return Verdict("error", "sign_in_refused", now + ladder[rung], rung + 1)
