"""The faults that the simulated Dexcom Share knows, one line each, and what their values mean; no HTTP, no clock."""

from typing import Annotated, Any, Literal

import msgspec

from evercgm.simulator_kit.faults import FaultKind
from evercgm.simulator_kit.spans import A_SPAN, Span
from evercgm.simulator_kit.troubles import troubles_at

AUTHENTICATE, LOG_IN, READ = (
    "AuthenticatePublisherAccount", "LoginPublisherAccountById", "ReadPublisherLatestGlucoseValues",
)  # fmt: skip
SIGN_IN = (AUTHENTICATE, LOG_IN)
PLACES = (*SIGN_IN, READ)
_YES = "true"
Refusal = Literal[
    "AccountPasswordInvalid", "SSO_AuthenticateAccountNotFound", "SSO_AuthenticatePasswordInvalid", "SSO_InternalError"
]
_REFUSALS = ", ".join(Refusal.__args__)  # type: ignore[attr-defined]

# The data. These outlive a restart.
LATE_BATCH: FaultKind[Span] = FaultKind(
    "late_batch", Span, A_SPAN, 'late_batch={"last_hours": 6, "in_hours": 2}',
    "The readings of the span are uploaded at `at` and not before.", per_call=False, lasting=True,
)  # fmt: skip
ST_SHIFT_S: FaultKind[float] = FaultKind(
    "st_shift_s", Annotated[float, msgspec.Meta(ge=-60, le=60)], "seconds from -60 to 60", "st_shift_s=2.817",
    "WT, ST and DT differ by so much from the systemTime of the official API.", per_call=False, lasting=True,
)  # fmt: skip
NO_RECEIVER: FaultKind[bool] = FaultKind(
    "no_receiver", bool, _YES, "no_receiver=true", "Nothing shares with this account: MonitoredReceiverNotAssigned.",
    per_call=False, lasting=True,
)  # fmt: skip

# Sign-in and sessions.
PASSWORD_CHANGED: FaultKind[str] = FaultKind(
    "password_changed", str, "the new password", "password_changed=another",
    "The password is this one now; sessions live on.", per_call=False, lasting=True,
)  # fmt: skip
REFUSAL_CODE: FaultKind[str] = FaultKind(
    "refusal_code", Refusal, _REFUSALS, "refusal_code=SSO_InternalError",
    "How a wrong name or password is refused (otherwise AccountPasswordInvalid).", SIGN_IN,
)  # fmt: skip
ZERO_UUID: FaultKind[str] = FaultKind(
    "zero_uuid", Literal["refusals", "always"], "refusals or always", "zero_uuid=refusals",
    "A wrong password, or any sign-in, is answered 200 with a UUID of zeros.", SIGN_IN,
)  # fmt: skip
LOCK_AFTER: FaultKind[int] = FaultKind(
    "lock_after", Annotated[int, msgspec.Meta(ge=1, le=1000)], "a whole number from 1", "lock_after=3",
    "So many wrong passwords lock the account (otherwise 5).", per_call=False,
)  # fmt: skip
LOCK_MINUTES: FaultKind[float] = FaultKind(
    "lock_minutes", Annotated[float, msgspec.Meta(gt=0, le=10_000)], "minutes above 0", "lock_minutes=60",
    "For so long by the cloud's clock (otherwise 10).", per_call=False,
)  # fmt: skip
SIGN_IN_OUTAGE: FaultKind[bool] = FaultKind(
    "sign_in_outage", bool, _YES, "sign_in_outage=true", "SSO_InternalError that is nobody's password.", SIGN_IN,
)  # fmt: skip
SESSION_LIFE_S: FaultKind[float] = FaultKind(
    "session_life_s", Annotated[float, msgspec.Meta(ge=0, le=1e7)], "seconds", "session_life_s=600",
    "Life of a session (otherwise 24 h), then SessionNotValid.", per_call=False,
)  # fmt: skip
SESSION_ENDED: FaultKind[str] = FaultKind(
    "session_ended", Literal["not_found", "not_valid"], "not_found or not_valid", "session_ended=not_found",
    "A call with a session is refused: SessionIdNotFound or SessionNotValid, and the session is gone.", (READ,),
)  # fmt: skip
REGION: FaultKind[str] = FaultKind(
    "region", Literal["us", "eu", "jp"], "us, eu or jp", "region=eu",
    "The region this cloud is now; all accounts are of us, so that no password fits in another.", per_call=False,
)  # fmt: skip

# How an answer is made.
FORM: FaultKind[str] = FaultKind(
    "form", Literal["legacy"], "legacy", "form=legacy",
    "As before December 2021: slashes, arrows as numbers, DT's number the local clock.", (READ,),
)  # fmt: skip
TREND_TEXT: FaultKind[str] = FaultKind(
    "trend_text", Literal["number", "spaced", "misspelt", "unknown"], "number, spaced, misspelt or unknown",
    "trend_text=unknown", "How arrows are written; unknown: TripleUp.", (READ,),
)  # fmt: skip
TIME_TEXT: FaultKind[str] = FaultKind(
    "time_text", Literal["no_st", "no_times", "no_offset", "words"], "no_st, no_times, no_offset or words",
    "time_text=no_st", "How the times of all records are written; words: as ISO 8601.", (READ,),
)  # fmt: skip
ODD_RECORD: FaultKind[str] = FaultKind(
    "odd_record", Literal["text", "null", "error_code"], "text, null or error_code", "odd_record=text",
    "The newest record is none: its value a text, null, or a sensor's code.", (READ,),
)  # fmt: skip
FUTURE_TIME: FaultKind[float] = FaultKind(
    "future_time", Annotated[float, msgspec.Meta(gt=0, le=90_000)], "hours above 0", "future_time=48",
    "The newest record of an answer is dated this far after now.", (READ,),
)  # fmt: skip
EMPTY: FaultKind[bool] = FaultKind("empty", bool, _YES, "empty=true", "No records.", (READ,))
LIMITS: FaultKind[str] = FaultKind(
    "limits", Literal["refuse"], "refuse", "limits=refuse",
    "More than 1440 minutes or 288 values is InvalidArgument (otherwise it is as if those were asked for).", (READ,),
)  # fmt: skip
UNKNOWN_FAULT: FaultKind[int] = FaultKind(
    "unknown_fault", Literal[400, 500], "400 or 500", "unknown_fault=500",
    "A FaultException with a code that nobody knows, and this status.", PLACES,
)  # fmt: skip

TROUBLES = troubles_at(PLACES)
KINDS: tuple[FaultKind[Any], ...] = (
    LATE_BATCH, ST_SHIFT_S, NO_RECEIVER, PASSWORD_CHANGED, REFUSAL_CODE, ZERO_UUID, LOCK_AFTER, LOCK_MINUTES,
    SIGN_IN_OUTAGE, SESSION_LIFE_S, SESSION_ENDED, REGION, FORM, TREND_TEXT, TIME_TEXT, ODD_RECORD, FUTURE_TIME,
    EMPTY, LIMITS, UNKNOWN_FAULT, *TROUBLES.kinds,
)  # fmt: skip
