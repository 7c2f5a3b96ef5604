"""The states of a connection, how fresh its newest reading is, and the words a person gets."""

from datetime import datetime, timedelta
from typing import Literal

Status = Literal["connected", "error", "expired", "disconnected"]
Freshness = Literal["current", "delayed", "stale", "none"]

# In place of a region: no cloud is asked, the person imports files.
BY_FILE = "file"
CADENCE = timedelta(minutes=5)
UPLOAD_ALLOWANCE = timedelta(minutes=15)
# Beyond this much over the usual delay a value says nothing about now.
STALE_AFTER = timedelta(hours=1)
# Whatever the vendor's delay: a value shown as the person's present one is never older than this.
CURRENT_FOR = timedelta(minutes=15)
# How long before a consent may end its person is told.
CONSENT_WARNING = timedelta(days=30)

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MESSAGES: dict[str, str] = {
    "vendor_unavailable": "The vendor's cloud does not answer. We keep trying; no reading is lost.",
    "rate_limited": "The vendor lets us ask only so often. We go on by ourselves a little later; no reading is lost.",
    "vendor_denied": "The vendor refuses our calls at the moment. We keep trying at longer intervals.",
    "vendor_changed": "The vendor sent an answer that we cannot read. The operator has been told.",
    "operator_must_act": "This service's access at the vendor needs attention. The operator has been told.",
    "sign_in_refused": "The vendor did not accept our stored access. We try again before asking you.",
    "reconnect_needed": "The vendor ended our access. Connect once more; your readings are kept.",
    # Vendors answer a region that is wrong just so; the page's field is named as it stands there.
    "wrong_password": "The vendor did not take this user name and password, or the account was made in another region."
    " Check both, and “Where the account was made”; then sign in once more. Nothing is tried twice.",
    "sign_in_locked": "The vendor takes no sign-in of this account for a while. We try once more, and then ask you.",
    "password_needed": "The vendor's session has ended, and we keep no password. Sign in once more.",
    "accept_terms": "The vendor has new terms. Sign out of its app and in again, accept them, then sign in here.",
    "verify_email": "The vendor wants your e-mail address confirmed. Do so in its app, then sign in here.",
    "two_factor": "The vendor asks for a second step that we cannot take. Use a follower account without it.",
    "vendor_step": "The vendor asks for a step in its own app. Sign out there and in again, then sign in here.",
    "nobody_followed": "This account follows nobody, or nothing is shared with it. Invite it in the sensor's app.",
    "unfollowed": "This account may no longer follow the person. Invite it once more, then sign in here.",
    "no_tokens": "Nothing is stored to connect with. Connect once more; your readings are kept.",
    "not_adopted": "This connection belongs to another app. Connect here to take it over.",
    "seal_broken": "The stored access cannot be opened here. The operator has been told.",
    "consent_ends_soon": "The vendor may end your consent on {day}. Connect once more before; your readings are kept.",
    "paused": "Paused. No readings are fetched until you resume.",
}  # fmt: skip

# After these only a new sign-in brings readings.
NEEDS_SIGN_IN = (
    "reconnect_needed", "no_tokens", "wrong_password", "password_needed", "accept_terms", "verify_email", "two_factor",
    "vendor_step", "nobody_followed",
)  # fmt: skip


def message_for(reason: str | None, ends_at: datetime | None = None) -> str | None:
    """A sentence that says what happened and what to do; None where all is well.

    ``ends_at`` (aware UTC): when the vendor may end the consent.
    """
    if reason is None:
        return None
    day = f"{ends_at.day} {MONTHS[ends_at.month - 1]} {ends_at.year}" if ends_at else "a day soon"
    return MESSAGES.get(reason, MESSAGES["vendor_unavailable"]).format(day=day)


def consent_ends_soon(ends_at: datetime, now: datetime) -> bool:
    """Whether the person should be asked to renew their consent: 30 days before its end, and from then on."""
    return now >= ends_at - CONSENT_WARNING


def freshness(newest: datetime | None, now: datetime, usual_delay: timedelta) -> Freshness:
    """How far the newest reading may be taken for the present one.

    current: at most 15 minutes old; delayed: as old as this vendor usually is (its delay, one
    cadence, time to upload and an hour more); stale: older; none: no reading. All times aware UTC.
    """
    if newest is None:
        return "none"
    age = now - newest
    if age <= CURRENT_FOR:
        return "current"
    return "delayed" if age <= usual_delay + CADENCE + UPLOAD_ALLOWANCE + STALE_AFTER else "stale"
