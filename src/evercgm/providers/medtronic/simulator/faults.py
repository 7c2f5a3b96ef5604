"""The faults that the simulated CareLink knows, and what their values mean; no HTTP, no clock."""

from typing import Annotated, Any, Literal

import msgspec

from evercgm.simulator_kit.faults import FaultKind

ACCOUNT = ("me", "patients")
DATA = (*ACCOUNT, "message")
CALLS = (*DATA, "token")
DOCUMENTS = ("discover", "sso")
PLACES = (*CALLS, *DOCUMENTS, "authorize", "revoke")
_ONLY_IF_NAMED = (*DOCUMENTS, "authorize", "revoke")
_MESSAGE = ("message",)
_YES = "true"
Minutes = Annotated[int, msgspec.Meta(ge=-840, le=840)]
Rows = Annotated[int, msgspec.Meta(ge=0, le=288)]


class ClockChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pump's clock was set by so many minutes, so long ago; `marked`: with a TIME_CHANGE marker."""

    minutes: Minutes
    minutes_ago: Annotated[float, msgspec.Meta(ge=0, le=1440)] = 60
    marked: bool = True
    set_at: float = 0


class NoValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest `rows` hold 0 and this state; `time`: as it is, 1970, empty, or not there."""

    rows: Rows = 6
    state: str = "NO_DATA_FROM_PUMP"
    time: Literal["kept", "epoch", "empty", "absent"] = "kept"


class Backfill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured from so many to so many minutes ago, at that moment, comes `in_minutes` after it."""

    from_minutes: Annotated[float, msgspec.Meta(ge=0, le=1440)] = 60
    to_minutes: Annotated[float, msgspec.Meta(ge=0, le=1440)] = 0
    in_minutes: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 30
    set_at: float = 0


TimeText = Literal["none", "z", "zero_offset", "real_offset", "words"]
Empty = Literal["no_content", "no_body", "null", "list", "no_sgs", "never_started"]
Track = Literal["3.1", "3.4", "3.5", "4.0"]
TokenError = Literal["invalid_grant", "invalid_client", "server_error", "html"]

# Clocks and times.
TIME_TEXT: FaultKind[str] = FaultKind(
    "time_text", TimeText, ", ".join(TimeText.__args__), "time_text=z", "How times are written.", _MESSAGE  # type: ignore[attr-defined]
)  # fmt: skip
PUMP_OFFSET_MIN: FaultKind[int] = FaultKind(
    "pump_offset_min", Minutes, "minutes from -840 to 840", "pump_offset_min=330",
    "The pump's clock is so far from UTC (otherwise as the patient's).", per_call=False,
)  # fmt: skip
PHONE_OFFSET_MIN: FaultKind[int] = FaultKind(
    "phone_offset_min", Minutes, "minutes from -840 to 840", "phone_offset_min=-300",
    "The phone's clock is so far from UTC: the person travels, the pump was not set.", per_call=False,
)  # fmt: skip
PUMP_DRIFT_S: FaultKind[int] = FaultKind(
    "pump_drift_s", Annotated[int, msgspec.Meta(ge=-3600, le=3600)], "seconds", "pump_drift_s=240",
    "The pump's clock is wrong by so much.", per_call=False,
)  # fmt: skip
CLOCK_CHANGE: FaultKind[ClockChange] = FaultKind(
    "clock_change", ClockChange, "a JSON object of minutes, minutes_ago (60), marked (true)",
    'clock_change={"minutes": -60, "minutes_ago": 90}', "The pump's clock was set within the window.", per_call=False,
)  # fmt: skip
CLOCKS_MISSING: FaultKind[str] = FaultKind(
    "clocks_missing", Literal["pump", "both", "all"], "pump, both or all", "clocks_missing=both",
    "No pump time; no phone time either; nor a zone whose name is known.", _MESSAGE,
)  # fmt: skip

# Rows.
NO_VALUES: FaultKind[NoValues] = FaultKind(
    "no_values", NoValues, "a JSON object of rows (6), state, time (kept, epoch, empty, absent)",
    'no_values={"rows": 24, "state": "WARM_UP", "time": "epoch"}', "The newest rows hold no value.", _MESSAGE,
)  # fmt: skip
BEYOND: FaultKind[str] = FaultKind(
    "beyond", Literal["low", "high"], "low or high", "beyond=low", "The newest row only says the side of the range.",
    _MESSAGE,
)  # fmt: skip
ERROR_STATE: FaultKind[str] = FaultKind(
    "error_state", str, "a sensor state", "error_state=CALIBRATION_REQUIRED",
    "The newest row has a value and this state.", _MESSAGE,
)  # fmt: skip
BACKFILL: FaultKind[Backfill] = FaultKind(
    "backfill", Backfill, "a JSON object of from_minutes (60), to_minutes (0), in_minutes (30)",
    'backfill={"from_minutes": 90, "in_minutes": 45}', "A span is uploaded later, marked isBackfill.", per_call=False,
)  # fmt: skip
CHANGED_VALUE: FaultKind[int] = FaultKind(
    "changed_value", Annotated[int, msgspec.Meta(ge=-300, le=300)], "mg/dL to add", "changed_value=7",
    "The newest row has another value in the same minute.", _MESSAGE,
)  # fmt: skip
ORDER: FaultKind[str] = FaultKind(
    "order", Literal["oldest", "newest", "shuffled", "backfill_last"], "oldest, newest, shuffled or backfill_last",
    "order=shuffled", "The order of the rows; backfill_last: those of a late batch behind all others.", _MESSAGE,
)  # fmt: skip
ROWS: FaultKind[int] = FaultKind("rows", Rows, "0 to 288", "rows=12", "No more than the newest rows.", _MESSAGE)
STALE_MINUTES: FaultKind[float] = FaultKind(
    "stale_minutes", Annotated[float, msgspec.Meta(ge=0, le=10_000)], "minutes", "stale_minutes=45",
    "The phone has uploaded nothing since.", per_call=False,
)  # fmt: skip

# The whole answer.
EMPTY: FaultKind[str] = FaultKind(
    "empty", Empty, ", ".join(Empty.__args__), "empty=no_content", "No data, in this form.", _MESSAGE  # type: ignore[attr-defined]
)  # fmt: skip
FORM: FaultKind[str] = FaultKind(
    "form", Literal["flat", "legacy"], "flat or legacy", "form=legacy",
    "Not nested; legacy also with the fields of before v11.", _MESSAGE,
)  # fmt: skip
BG_UNITS: FaultKind[str] = FaultKind(
    "bg_units", str, "MGDL, MG_DL, MMOL_L, MMOLL or another word", "bg_units=MMOL_L",
    "What the phone shows; the values stay mg/dL.", _MESSAGE,
)  # fmt: skip
MMOL_VALUES: FaultKind[bool] = FaultKind(
    "mmol_values", bool, _YES, "mmol_values=true", "The values are mmol/L.", _MESSAGE
)
FAMILY: FaultKind[str] = FaultKind(
    "family", str, "a device family", "family=CC", "medicalDeviceFamily, known or not.", _MESSAGE
)
PUMP_LOST: FaultKind[bool] = FaultKind(
    "pump_lost", bool, _YES, "pump_lost=true", "The phone has lost the pump: its times are two hours off.", _MESSAGE
)
TREND: FaultKind[str] = FaultKind(
    "trend", str, "a trend word", "trend=SOMETHING_NEW", "lastSGTrend, known or not.", _MESSAGE
)
MARKER: FaultKind[str] = FaultKind(
    "marker", str, "a marker's type", "marker=SOMETHING_NEW", "One more marker of this type.", _MESSAGE
)

# Accounts.
LINK_REMOVED: FaultKind[bool] = FaultKind(
    "link_removed", bool, _YES, "link_removed=true", "The patient has ended the link: 400 on data.", per_call=False
)
NEEDS_CONSENT: FaultKind[bool] = FaultKind(
    "needs_consent", bool, _YES, "needs_consent=true", "needToReconsent: the person must open the app.", per_call=False
)
SUSPENDED: FaultKind[bool] = FaultKind(
    "suspended", bool, _YES, "suspended=true", "accountSuspended is set.", per_call=False
)
NO_USERNAME: FaultKind[bool] = FaultKind(
    "no_username", bool, _YES, "no_username=true", "users/me without a user name, as it was.", per_call=False
)
NO_DETAILS: FaultKind[bool] = FaultKind(
    "no_details", bool, _YES, "no_details=true", "Access tokens given now say nothing about the account.",
    per_call=False,
)  # fmt: skip
NEEDS_APP_VERSION: FaultKind[bool] = FaultKind(
    "needs_app_version", bool, _YES, "needs_app_version=true", "A data call without appVersion is 400.", _MESSAGE
)

# Login and tokens.
CODE_LIFE_S: FaultKind[float] = FaultKind(
    "code_life_s", Annotated[float, msgspec.Meta(ge=0, le=86_400)], "seconds", "code_life_s=5",
    "Life of a code that is given now (otherwise 60 s).", ("authorize",),
)  # fmt: skip
EXPIRES_IN: FaultKind[int] = FaultKind(
    "expires_in", Annotated[int, msgspec.Meta(ge=1, le=86_400)], "whole seconds from 1 to 86400", "expires_in=60",
    "Life of an access token that is given now (otherwise 10800 s).", ("token",),
)  # fmt: skip
REFRESH_REUSE: FaultKind[str] = FaultKind(
    "refresh_reuse", Literal["refuse", "end_family"], "refuse or end_family", "refresh_reuse=end_family",
    "A refresh token that comes a second time also ends all tokens of its login.", ("token",),
)  # fmt: skip
REFRESH_ANSWER_LOST: FaultKind[str] = FaultKind(
    "refresh_answer_lost", Literal["cut", "504"], "cut or 504", "refresh_answer_lost=cut",
    "The tokens are rotated, the answer never arrives.", ("token",),
)  # fmt: skip
ROTATION_OFF: FaultKind[bool] = FaultKind(
    "rotation_off", bool, _YES, "rotation_off=true", "A refresh gives no new refresh token: the old one stays good.",
    ("token",),
)  # fmt: skip
TOKEN_ERROR: FaultKind[str] = FaultKind(
    "token_error", TokenError, ", ".join(TokenError.__args__), "token_error=invalid_grant",  # type: ignore[attr-defined]
    "The token endpoint refuses and rotates nothing.", ("token",),
)  # fmt: skip
TOKEN_STATUS: FaultKind[int] = FaultKind(
    "token_status", Literal[400, 401, 403], "400, 401 or 403", "token_status=400",
    "The status of invalid_grant (otherwise 403).", ("token",),
)  # fmt: skip
LOGIN_ELSEWHERE: FaultKind[bool] = FaultKind(
    "login_elsewhere", bool, _YES, "login_elsewhere=true",
    "Acts once, when set: another app signed in, so that all tokens end.", per_call=False,
)  # fmt: skip
TOKENS_ENDED: FaultKind[str] = FaultKind(
    "tokens_ended", Literal["access", "refresh"], "access or refresh", "tokens_ended=access",
    "Acts once, when set: the tokens of this kind end; refresh: the idle week is over.", per_call=False,
)  # fmt: skip

# Discovery.
TRACK: FaultKind[str] = FaultKind(
    "track", Track, ", ".join(Track.__args__), 'track="3.5"',  # type: ignore[attr-defined]
    "Every version is answered as this one.", ("discover",),
)  # fmt: skip
SSO_KEY_RENAMED: FaultKind[bool] = FaultKind(
    "sso_key_renamed", bool, _YES, "sso_key_renamed=true", "UseSSOConfiguration names a key that is not there.",
    ("discover",),
)  # fmt: skip
HOST_MOVED: FaultKind[str] = FaultKind(
    "host_moved", str, "a host", "host_moved=carelink.example.org", "The documents name this host.", DOCUMENTS
)

# HTTP.
UNAUTHORIZED: FaultKind[bool] = FaultKind("unauthorized", bool, _YES, "unauthorized=true", "401.", DATA)
FORBIDDEN: FaultKind[bool] = FaultKind("forbidden", bool, _YES, "forbidden=true", "403.", DATA)
CLIENT_ERROR: FaultKind[int] = FaultKind(
    "client_error", Annotated[int, msgspec.Meta(ge=400, le=499)], "a status from 400 to 499", "client_error=400",
    "This status, no body.", PLACES, _ONLY_IF_NAMED,
)  # fmt: skip
RATE_LIMITED: FaultKind[str] = FaultKind(
    "rate_limited", str, "the text of Retry-After, or nothing for none", "rate_limited=30",
    "429, with or without Retry-After.", PLACES, _ONLY_IF_NAMED,
)  # fmt: skip
SERVER_ERROR: FaultKind[int] = FaultKind(
    "server_error", Annotated[int, msgspec.Meta(ge=500, le=599)], "a status from 500 to 599", "server_error=504",
    "This status.", PLACES, _ONLY_IF_NAMED,
)  # fmt: skip
HTML: FaultKind[int] = FaultKind(
    "html", Literal[200, 403, 503], "200, 403 or 503", "html=403", "A page with this status.", PLACES, _ONLY_IF_NAMED
)
SLOW: FaultKind[float] = FaultKind(
    "slow", Annotated[float, msgspec.Meta(ge=0, le=600)], "seconds from 0 to 600", "slow=35",
    "Real seconds before the answer.", PLACES, _ONLY_IF_NAMED,
)  # fmt: skip
GONE: FaultKind[bool] = FaultKind(
    "gone", bool, _YES, "gone=true", "The connection is cut: the host is gone; path names which.", PLACES,
    _ONLY_IF_NAMED,
)  # fmt: skip

KINDS: tuple[FaultKind[Any], ...] = (
    TIME_TEXT, PUMP_OFFSET_MIN, PHONE_OFFSET_MIN, PUMP_DRIFT_S, CLOCK_CHANGE, CLOCKS_MISSING,
    NO_VALUES, BEYOND, ERROR_STATE, BACKFILL, CHANGED_VALUE, ORDER, ROWS, STALE_MINUTES,
    EMPTY, FORM, BG_UNITS, MMOL_VALUES, FAMILY, PUMP_LOST, TREND, MARKER,
    LINK_REMOVED, NEEDS_CONSENT, SUSPENDED, NO_USERNAME, NO_DETAILS, NEEDS_APP_VERSION,
    CODE_LIFE_S, EXPIRES_IN, REFRESH_REUSE, REFRESH_ANSWER_LOST, ROTATION_OFF, TOKEN_ERROR, TOKEN_STATUS,
    LOGIN_ELSEWHERE, TOKENS_ENDED, TRACK, SSO_KEY_RENAMED, HOST_MOVED,
    UNAUTHORIZED, FORBIDDEN, CLIENT_ERROR, RATE_LIMITED, SERVER_ERROR, HTML, SLOW, GONE,
)  # fmt: skip
ACTS_ONCE = (LOGIN_ELSEWHERE, TOKENS_ENDED)
# Their values hold the moment at which they were set, in seconds since 1970.
SEEN_FROM_NOW = (BACKFILL, CLOCK_CHANGE)
