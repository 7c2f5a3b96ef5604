"""The faults that the simulated Dexcom cloud knows, one line each, and what their values mean; no HTTP, no clock."""

from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from evercgm.simulator_kit.faults import FaultKind
from evercgm.simulator_kit.spans import A_SPAN, Span
from evercgm.simulator_kit.troubles import troubles_at

T = TypeVar("T")

DATA = ("dataRange", "egvs", "events", "calibrations", "alerts", "devices")
WINDOWED = ("egvs", "events", "calibrations", "alerts")
LISTS = (*WINDOWED, "devices")
CALLS = (*DATA, "token")
PLACES = (*CALLS, "login")


class Dump(Span, frozen=True):
    """`days`: where neither start nor last_hours is given."""

    days: Annotated[float, msgspec.Meta(gt=0, le=370)] = 14.0

    def back(self) -> timedelta:
        return timedelta(days=self.days)


class Correction(Span, frozen=True):
    """`add_mg_dl`: what the new value differs by."""

    add_mg_dl: Annotated[int, msgspec.Meta(ge=-400, le=400)] = 10


class Renewal(Span, frozen=True):
    """`both`: the record with the old id stays beside the new one."""

    both: bool = False


class Move(Span, frozen=True, kw_only=True):
    """`utc_offset_min`: what the wearer's device shows, in minutes from UTC."""

    utc_offset_min: Annotated[int, msgspec.Meta(ge=-720, le=840)]


class CallLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls an application may make within an hour; `retry_after`: whether the refusal says when to come back."""

    limit: Annotated[int, msgspec.Meta(ge=0)]
    retry_after: bool = True


TimeText = Literal[
    "every", "z", "offset", "no_seconds", "offset_with_seconds", "fraction", "no_zone", "blank", "no_leading_zeros",
    "offset_without_colon", "half_hour_offset", "zero", "empty", "no_time", "cut_short",
]  # fmt: skip
TokenError = Literal[
    "invalid_grant", "invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type", "html"
]
TokenAnswer = Literal[
    "html", "no_refresh_token", "no_access_token", "expires_in_text", "expires_in_zero", "expires_in_negative",
    "expires_in_huge", "oversize", "utf16",
]  # fmt: skip
_YES = "true"
_A_KIND = "every, or one of " + ", ".join(TimeText.__args__[1:])  # type: ignore[attr-defined]

# Late and doubled data (dexcom.md A5, E). These change the data: they outlive a restart.
DELAY_HOURS: FaultKind[float] = FaultKind(
    "delay_hours", Annotated[float, msgspec.Meta(ge=0, le=720)], "hours from 0 to 720", "delay_hours=3",
    "A reading is uploaded this long after its instant.", per_call=False, lasting=True,
)  # fmt: skip
LATE_BATCH: FaultKind[Span] = FaultKind(
    "late_batch", Span, A_SPAN, 'late_batch={"last_hours": 6, "in_hours": 24}',
    "The readings of the span are uploaded at `at` and not before.", per_call=False, lasting=True,
)  # fmt: skip
RECEIVER_DUMP: FaultKind[Dump] = FaultKind(
    "receiver_dump", Dump, A_SPAN + ", days (14)", 'receiver_dump={"days": 14, "in_hours": 1}',
    "The readings of the span come from a receiver, times without offset, all uploaded at `at`.",
    per_call=False, lasting=True,
)  # fmt: skip
CORRECTED_VALUES: FaultKind[Correction] = FaultKind(
    "corrected_values", Correction, A_SPAN + ", add_mg_dl (10)", 'corrected_values={"last_hours": 6, "add_mg_dl": 7}',
    "From `at` on the readings of the span keep their recordId and have a new value.", per_call=False, lasting=True,
)  # fmt: skip
NEW_RECORD_IDS: FaultKind[Renewal] = FaultKind(
    "new_record_ids", Renewal, A_SPAN + ", both (false)", 'new_record_ids={"last_hours": 6, "both": true}',
    "From `at` on the readings of the span have another recordId; with both, the old record stays beside it.",
    per_call=False, lasting=True,
)  # fmt: skip
ZONE_CHANGE: FaultKind[Move] = FaultKind(
    "zone_change", Move, A_SPAN + " and utc_offset_min", 'zone_change={"in_hours": 72, "utc_offset_min": 120}',
    "The readings of the span show the time of another zone, as on a journey or after a clock change.",
    per_call=False, lasting=True,
)  # fmt: skip

# How a data answer is made.
ORDER: FaultKind[str] = FaultKind(
    "order", Literal["newest", "oldest", "shuffled"], "newest, oldest or shuffled", "order=shuffled",
    "The order of the records.", LISTS,
)  # fmt: skip
END_INCLUSIVE: FaultKind[bool] = FaultKind(
    "end_inclusive", bool, _YES, "end_inclusive=true", "A record at endDate itself is part of the window.", WINDOWED
)
WINDOW_LIMIT_DAYS: FaultKind[float] = FaultKind(
    "window_limit_days", Annotated[float, msgspec.Meta(gt=0, le=3660)], "days above 0", "window_limit_days=7",
    "A window longer than this is 400 (otherwise 30 days).", WINDOWED,
)  # fmt: skip
LAST_SYNC_FORM: FaultKind[str] = FaultKind(
    "last_sync_form", Literal["with_z", "without_z"], "with_z or without_z", "last_sync_form=with_z",
    "lastSyncTime in the other form is 400.", ("dataRange",),
)  # fmt: skip
LAST_SYNC_DEFECT: FaultKind[bool] = FaultKind(
    "last_sync_defect", bool, _YES, "last_sync_defect=true",
    "A lastSyncTime older than 100 days is answered as if nothing were new.", ("dataRange",),
)  # fmt: skip
EMPTY: FaultKind[bool] = FaultKind("empty", bool, _YES, "empty=true", "No records, no ranges.", DATA)
UNKNOWN_ENUMS: FaultKind[bool | list[str]] = FaultKind(
    "unknown_enums", bool | list[str], "true (all but the units) or a JSON list of fields", "unknown_enums=true",
    "Words in enum fields that no documentation knows.", LISTS,
)  # fmt: skip
SYSTEM_TIME_TEXT: FaultKind[str] = FaultKind(
    "system_time_text", TimeText, _A_KIND, "system_time_text=no_seconds", "How systemTime is written.", WINDOWED
)
DISPLAY_TIME_TEXT: FaultKind[str] = FaultKind(
    "display_time_text", TimeText, _A_KIND, "display_time_text=blank", "How displayTime is written.", WINDOWED
)
FUTURE_TIME: FaultKind[float] = FaultKind(
    "future_time", Annotated[float, msgspec.Meta(gt=0, le=90_000)], "hours above 0", "future_time=48",
    "The newest record of an answer is dated this far after now; its recordId is its own.", WINDOWED,
)  # fmt: skip

# Login and tokens (dexcom.md A2).
CODE_LIFE_S: FaultKind[float] = FaultKind(
    "code_life_s", Annotated[float, msgspec.Meta(ge=0, le=86_400)], "seconds", "code_life_s=5",
    "Life of a code that is given now (otherwise 60 s).", ("login",),
)  # fmt: skip
EXPIRES_IN: FaultKind[int] = FaultKind(
    "expires_in", Annotated[int, msgspec.Meta(ge=1, le=86_400)], "whole seconds from 1 to 86400", "expires_in=60",
    "Life of an access token that is given now (otherwise 7200 s).", ("token",),
)  # fmt: skip
REFRESH_REUSE: FaultKind[str] = FaultKind(
    "refresh_reuse", Literal["refuse", "revoke_family"], "refuse or revoke_family", "refresh_reuse=revoke_family",
    "A refresh token that comes a second time also ends all tokens of its consent.", ("token",),
)  # fmt: skip
REFRESH_ANSWER_LOST: FaultKind[str] = FaultKind(
    "refresh_answer_lost", Literal["cut", "504"], "cut or 504", "refresh_answer_lost=cut",
    "The tokens are rotated, the answer never arrives: the connection is cut, or a gateway says 504.", ("token",),
)  # fmt: skip
TOKEN_ERROR: FaultKind[str] = FaultKind(
    "token_error", TokenError, ", ".join(TokenError.__args__), "token_error=invalid_grant",  # type: ignore[attr-defined]
    "The token endpoint refuses with 400 (html: a 502 page) and rotates nothing.", ("token",),
)  # fmt: skip
TOKEN_ANSWER: FaultKind[str] = FaultKind(
    "token_answer", TokenAnswer, ", ".join(TokenAnswer.__args__), "token_answer=no_refresh_token",  # type: ignore[attr-defined]
    "The tokens are rotated and the answer is not what the reference says.", ("token",),
)  # fmt: skip
CLIENT_SECRET_ROTATED: FaultKind[int] = FaultKind(
    "client_secret_rotated", Literal[400, 401], "400 or 401, the status of invalid_client", "client_secret_rotated=401",
    "No client secret fits any more.", ("token",),
)  # fmt: skip
SECOND_ACCOUNT: FaultKind[str] = FaultKind(
    "second_account", str, "the name of another sandbox user", "second_account=User6",
    "Whoever is chosen at the login, this user consents: another userId.", ("login",),
)  # fmt: skip
REGION: FaultKind[str] = FaultKind(
    "region", Literal["us", "eu", "jp"], "us, eu or jp", "region=eu",
    "The region this cloud is now; codes and tokens given in another (us while off) mean nothing.",
    per_call=False,
)  # fmt: skip
CONSENT_REVOKED: FaultKind[str] = FaultKind(
    "consent_revoked", Literal["at_once", "lives_on"], "at_once or lives_on", "consent_revoked=at_once",
    "Acts once, when set: the refresh tokens end, the access tokens too or live on.", per_call=False,
)  # fmt: skip
PASSWORD_CHANGED: FaultKind[bool] = FaultKind(
    "password_changed", bool, _YES, "password_changed=true",
    "Acts once, when set: the refresh tokens end, access tokens live on.", per_call=False,
)  # fmt: skip

# HTTP (dexcom.md A6). The login page is struck only when it is named as path.
_LOGIN = ("login",)
UNAUTHORIZED: FaultKind[str] = FaultKind(
    "unauthorized", Literal["apigee", "empty"], "apigee or empty, the body", "unauthorized=apigee",
    "401; with count 1 once.", DATA,
)  # fmt: skip
FORBIDDEN: FaultKind[bool] = FaultKind("forbidden", bool, _YES, "forbidden=true", "403.", DATA)
CALLS_PER_HOUR: FaultKind[CallLimit] = FaultKind(
    "calls_per_hour", CallLimit, "a JSON object of limit and retry_after (true)", 'calls_per_hour={"limit": 60000}',
    "429 for all calls beyond the limit within an hour.", PLACES, _LOGIN,
)  # fmt: skip
TROUBLES = troubles_at(PLACES, _LOGIN)

KINDS: tuple[FaultKind[Any], ...] = (
    DELAY_HOURS, LATE_BATCH, RECEIVER_DUMP, CORRECTED_VALUES, NEW_RECORD_IDS, ZONE_CHANGE,
    ORDER, END_INCLUSIVE, WINDOW_LIMIT_DAYS, LAST_SYNC_FORM, LAST_SYNC_DEFECT, EMPTY, UNKNOWN_ENUMS,
    SYSTEM_TIME_TEXT, DISPLAY_TIME_TEXT, FUTURE_TIME,
    CODE_LIFE_S, EXPIRES_IN, REFRESH_REUSE, REFRESH_ANSWER_LOST, TOKEN_ERROR, TOKEN_ANSWER, CLIENT_SECRET_ROTATED,
    SECOND_ACCOUNT, REGION, CONSENT_REVOKED, PASSWORD_CHANGED,
    UNAUTHORIZED, FORBIDDEN, CALLS_PER_HOUR, *TROUBLES.kinds,
)  # fmt: skip
ACTS_ONCE = (CONSENT_REVOKED, PASSWORD_CHANGED)
