"""The faults that the simulated LibreLinkUp cloud knows, and what their values mean; no HTTP, no clock."""

from typing import Annotated, Any, Literal

import msgspec

from evercgm.simulator_kit.faults import FaultKind
from evercgm.simulator_kit.spans import A_SPAN, Span
from evercgm.simulator_kit.troubles import troubles_at

DATA = ("connections", "graph", "logbook")
VALUES = ("graph", "connections")
LOGIN = ("login",)
CALLS = (*LOGIN, "continue", *DATA)


class Revision(Span, frozen=True):
    """``add_mg_dl``: what the new value of history differs by."""

    add_mg_dl: Annotated[int, msgspec.Meta(ge=-400, le=400)] = 10


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many failures within an interval (s) lock an account for so long (s)."""

    failures: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    interval: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    lockout: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300


class Ban(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A status without a body at the sign-in; ``retry_after``: seconds, or none."""

    status: Literal[403, 429, 430, 476]
    retry_after: int | None = None


TimeText = Literal[
    "no_seconds", "leading_zeros", "lower_case", "narrow_blank", "hours_24", "iso",
    "day_first", "zero", "empty", "null", "absent",
]  # fmt: skip
Step = Literal["tou", "pp", "tou_pp", "verifyEmail", "2faVerify", "newStep", "no_ticket"]
Word = Literal["couldNotLoadPatient", "followerNotConnectToPatient", "follower not connect to patient"]
Null = Literal["sensor", "activeSensors", "glucoseMeasurement", "glucoseItem", "graphData", "patientDevice"]
OutOfRange = Literal[
    "low_flag", "high_flag", "low_limit", "high_limit", "low_beyond", "high_beyond",
    "low_zero", "high_zero", "low_null", "high_null",
]  # fmt: skip
_YES, _REGION = "true", "a region, in the table or not"


def _one_of(kind: Any) -> str:
    return ", ".join(str(word) for word in kind.__args__)


# Sign-in (libre.md A2, A4, A8).
LOGIN_REDIRECT: FaultKind[str] = FaultKind(
    "login_redirect", str, _REGION, "login_redirect=x/@evil", "Each sign-in is sent on to this region.", LOGIN,
)  # fmt: skip
MOVED: FaultKind[str] = FaultKind(
    "moved", str, "a region of the table", "moved=us",
    "The account lives there now: sign-ins and data calls elsewhere are sent on.", per_call=False, lasting=True,
)  # fmt: skip
WRONG_PASSWORD_WORD: FaultKind[str] = FaultKind(
    "wrong_password_word", str, "a message", "wrong_password_word=incorrect username/password",
    "What a refused sign-in says (otherwise notAuthenticated).", LOGIN,
)  # fmt: skip
LOCK_RULE: FaultKind[Lock] = FaultKind(
    "lock_rule", Lock, "a JSON object of failures (3), interval (60) and lockout (300)", 'lock_rule={"failures": 1}',
    "When failures lock an account, and for how long.", LOGIN,
)  # fmt: skip
LOCKED: FaultKind[bool] = FaultKind("locked", bool, _YES, "locked=true", "The account stays locked.", LOGIN)
LOGIN_STEP: FaultKind[str] = FaultKind(
    "login_step", Step, _one_of(Step), "login_step=tou", "The vendor wants this first; tou_pp is one after the other.",
    LOGIN,
)  # fmt: skip
CONTINUE_GONE: FaultKind[bool] = FaultKind(
    "continue_gone", bool, _YES, "continue_gone=true", "404 where a step is accepted.", ("continue",),
)  # fmt: skip
LOGIN_BAN: FaultKind[Ban] = FaultKind(
    "login_ban", Ban, "a JSON object of status (403, 429, 430 or 476) and retry_after",
    'login_ban={"status": 476, "retry_after": 65620}', "No sign-in from this address; 403 is a page.", LOGIN,
)  # fmt: skip
TOKEN_LIFE_S: FaultKind[int] = FaultKind(
    "token_life_s", Annotated[int, msgspec.Meta(ge=1, le=31_536_000)], "seconds", "token_life_s=3600",
    "Life of a token that is given now (otherwise 180 days).", LOGIN,
)  # fmt: skip
TOKENS_ENDED: FaultKind[bool] = FaultKind(
    "tokens_ended", bool, _YES, "tokens_ended=true", "Acts once, when set: all tokens end.", per_call=False,
)  # fmt: skip

# What every call must carry (libre.md A3).
MINIMUM_VERSION: FaultKind[str] = FaultKind(
    "minimum_version", str, "a version", "minimum_version=4.17.0",
    "The floor on the app's version (otherwise 4.16.0).", DATA,
)  # fmt: skip
REQUIRE_ACCOUNT_ID: FaultKind[str] = FaultKind(
    "require_account_id", Literal["yes", "no"], "yes or no", "require_account_id=no",
    "Whether Account-Id is wanted (otherwise yes).", DATA,
)  # fmt: skip
REQUIRE_USER_AGENT: FaultKind[bool] = FaultKind(
    "require_user_agent", bool, _YES, "require_user_agent=true", "403 and a page where there is none.", CALLS,
)  # fmt: skip

# Data calls (libre.md A5, A6, A8).
DATA_REDIRECT: FaultKind[str] = FaultKind(
    "data_redirect", str, _REGION, "data_redirect=us", "Data calls are sent on to this region.", DATA,
)  # fmt: skip
TOKEN_REFUSED: FaultKind[str] = FaultKind(
    "token_refused", Literal["jwt", "session", "user"], "jwt, session or user, the wording", "token_refused=jwt",
    "The token is refused.", DATA,
)  # fmt: skip
TICKET: FaultKind[str] = FaultKind(
    "ticket", Literal["rotates"], "rotates", "ticket=rotates",
    "Each answer carries a newer token; the ones before it live on.", DATA,
)  # fmt: skip
UNFOLLOWED: FaultKind[str] = FaultKind(
    "unfollowed", Word, _one_of(Word), "unfollowed=followerNotConnectToPatient",
    "The person has removed this follower.", DATA,
)  # fmt: skip
REINVITED: FaultKind[bool] = FaultKind(
    "reinvited", bool, _YES, "reinvited=true", "The connection has another id, the person the same.", DATA,
)  # fmt: skip
NULLS: FaultKind[list[str]] = FaultKind(
    "nulls", list[Null], f"a JSON list of {_one_of(Null)}", 'nulls=["sensor"]', "These are null.", VALUES,
)  # fmt: skip
ABSENT: FaultKind[list[str]] = FaultKind(
    "absent", list[str], "a JSON list of names", 'absent=["activeSensors", "alarmRules"]',
    "Fields of these names are nowhere in the answer.", DATA,
)  # fmt: skip
LOGBOOK_ALARMS: FaultKind[bool] = FaultKind(
    "logbook_alarms", bool, _YES, "logbook_alarms=true", "Alarms among the scans, with a value and without.",
    ("logbook",),
)  # fmt: skip

# Readings (libre.md A6 to A8).
UPLOAD_DELAY_MIN: FaultKind[float] = FaultKind(
    "upload_delay_min", Annotated[float, msgspec.Meta(ge=0, le=600_000)], "minutes", "upload_delay_min=3",
    "The phone sends this late; many days: a sensor at rest.", per_call=False, lasting=True,
)  # fmt: skip
PHONE_OFFLINE: FaultKind[Span] = FaultKind(
    "phone_offline", Span, A_SPAN, 'phone_offline={"last_hours": 1, "in_hours": 2}',
    "Nothing comes from start to end; then all that the graph still reaches.", per_call=False, lasting=True,
)  # fmt: skip
SENSOR_CHANGE: FaultKind[Span] = FaultKind(
    "sensor_change", Span, "a JSON object of start (an instant) or last_hours", 'sensor_change={"last_hours": 2}',
    "From start on another sensor, which warms up for an hour.", per_call=False, lasting=True,
)  # fmt: skip
REVISED: FaultKind[Revision] = FaultKind(
    "revised", Revision, f"{A_SPAN}, add_mg_dl (10)", 'revised={"last_hours": 6, "add_mg_dl": 7}',
    "History of this stretch has other values than before.", per_call=False, lasting=True,
)  # fmt: skip
CLOCK_CHANGE: FaultKind[Span] = FaultKind(
    "clock_change", Span, "a JSON object of start (an instant) or last_hours", 'clock_change={"last_hours": 2}',
    "From start on the person's clock is an hour ahead of before.", per_call=False, lasting=True,
)  # fmt: skip
OUT_OF_RANGE: FaultKind[str] = FaultKind(
    "out_of_range", OutOfRange, _one_of(OutOfRange), "out_of_range=low_flag",
    "The newest values are LO or HI: at the limit with a flag, at it without, beyond it without, a flag and no number.",
    VALUES,
)  # fmt: skip
ARROW: FaultKind[str] = FaultKind(
    "arrow", Literal["0", "6", "null"], "0, 6 or null", 'arrow="6"', "The arrow of live values.", DATA,
)  # fmt: skip
MMOL_L: FaultKind[bool] = FaultKind("mmol_l", bool, _YES, "mmol_l=true", "The person sees mmol/L.", DATA)
TIME_TEXT: FaultKind[str] = FaultKind(
    "time_text", TimeText, _one_of(TimeText), "time_text=iso", "How FactoryTimestamp is written.", DATA,
)  # fmt: skip
FUTURE_TIME: FaultKind[float] = FaultKind(
    "future_time", Annotated[float, msgspec.Meta(gt=0, le=9000)], "hours above 0", "future_time=3",
    "The newest value of history is dated this far after now.", ("graph",),
)  # fmt: skip

# HTTP (libre.md A8).
MAINTENANCE: FaultKind[bool] = FaultKind("maintenance", bool, _YES, "maintenance=true", "200 with status 911.", CALLS)
CLOUDFLARE: FaultKind[int] = FaultKind(
    "cloudflare", Literal[403, 429], "403 or 429", "cloudflare=403", "This status with a page.", CALLS,
)  # fmt: skip
CALLS_PER_MINUTE: FaultKind[int] = FaultKind(
    "calls_per_minute", Annotated[int, msgspec.Meta(ge=0)], "a whole number", "calls_per_minute=60",
    "429 for what an address sends beyond this within a minute.", CALLS,
)  # fmt: skip
GZIP: FaultKind[bool] = FaultKind(
    "gzip", bool, _YES, "gzip=true", "Compressed answers for who takes them.", CALLS,
)  # fmt: skip
TROUBLES = troubles_at(CALLS)

KINDS: tuple[FaultKind[Any], ...] = (
    LOGIN_REDIRECT, MOVED, WRONG_PASSWORD_WORD, LOCK_RULE, LOCKED, LOGIN_STEP, CONTINUE_GONE, LOGIN_BAN, TOKEN_LIFE_S,
    TOKENS_ENDED, MINIMUM_VERSION, REQUIRE_ACCOUNT_ID, REQUIRE_USER_AGENT, DATA_REDIRECT, TOKEN_REFUSED, TICKET,
    UNFOLLOWED, REINVITED, NULLS, ABSENT, LOGBOOK_ALARMS, UPLOAD_DELAY_MIN, PHONE_OFFLINE, SENSOR_CHANGE, REVISED,
    CLOCK_CHANGE, OUT_OF_RANGE, ARROW, MMOL_L, TIME_TEXT, FUTURE_TIME,
    MAINTENANCE, CLOUDFLARE, CALLS_PER_MINUTE, GZIP, *TROUBLES.kinds,
)  # fmt: skip
