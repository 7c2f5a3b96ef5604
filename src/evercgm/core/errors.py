"""Errors named by what must be done; no HTTP status in here (api/error_responses.py adds those).

EvercgmError
├── VendorError
│   ├── VendorTryLater           network, time-out, 5xx: we try again
│   │   ├── SignInLocked         too many wrong passwords: the vendor takes none for a while
│   │   ├── SignInsBanned        the vendor takes no sign-in from our address, whoever it is
│   │   └── VendorRateLimited    429: the whole app pauses
│   │       └── CallsHeldBack    a pause, or no calls left: the vendor was not asked
│   │           └── SignInsHeldBack  a ban of our address: the vendor was not asked for a sign-in
│   ├── VendorDenied             401 or 403 on a data call
│   ├── VendorChanged            an answer that we cannot read
│   └── OperatorMustAct          our own client, version or address is refused; its cure says which
├── GrantRefused                 the vendor refuses this refresh token or code
│   └── SessionRefused           a session before its end, and no password is kept
├── ReconnectNeeded              only the person can mend it
├── NothingToSync            no connection, or only resting ones: the person acts first
├── NotYours                     row-level security gave no row
├── SyncTooSoon                  a manual sync within the minute
├── TooOften                     an owner's deed that was done too often within the hour
├── BadInput                     a field of a request is wrong
│   ├── CellRefused              a line of a file is wrong: nothing of the file is taken
│   └── AnswerNeeded             only the person can tell; what may be answered stands beside it
├── TooLarge                     more than we take at once
├── NewerVersion                 made by a newer version of us, and left to those who know it
├── SealBroken                   a stored token does not open with any key of the ring
└── SettingsError                a setting is missing or wrong; names it
"""

import re
from dataclasses import dataclass
from math import ceil
from typing import Literal

from evercgm.core.tokens import Tokens

# What mends a refusal of ours: our registration; the version of the vendor's app that we name; nothing but another
# address of ours, or time; a newer version of this service, as the vendor has moved.
Cure = Literal["credentials", "app_version", "address", "release"]
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")


class EvercgmError(Exception):
    """Base of all errors that evercgm raises on purpose."""


class VendorError(EvercgmError):
    """The vendor's cloud did not give what we asked for."""


class VendorTryLater(VendorError):
    """A passing failure; ``retry_after_s`` is the vendor's own wish in seconds, if it gave one."""

    def __init__(self, message: str = "the vendor's cloud did not answer", retry_after_s: int | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SignInLocked(VendorTryLater):
    """The vendor takes no sign-in of this account for a while; ``retry_after_s`` as it says.

    ``sent`` False: the lock was known, so nothing was sent, and ``retry_after_s`` is what is left of the wait.
    """

    def __init__(self, retry_after_s: int | None = None, *, sent: bool = True):
        super().__init__("the vendor has locked the sign-in of this account for a while", retry_after_s)
        self.sent = sent


class SignInsBanned(VendorTryLater):
    """The vendor takes no sign-in from our address for a while: nothing about the account or its password."""

    def __init__(self, retry_after_s: int | None = None):
        super().__init__("sign-ins from our address are banned for a while", retry_after_s)


class VendorRateLimited(VendorTryLater):
    """Too many calls of our app."""


class CallsHeldBack(VendorRateLimited):
    """We made no call, because of a pause or of our own limit; possible again after ``wait_s`` seconds, rounded up."""

    def __init__(self, wait_s: float):
        super().__init__("no call was made: the vendor is paused, or the calls of this hour are used up", ceil(wait_s))


class SignInsHeldBack(CallsHeldBack):
    """We sent no user name and password: the vendor takes none from our address, and tries make that longer."""


class VendorDenied(VendorError):
    """A data call was refused; ``expired_token`` is true for 401 (refresh once), false for 403.

    ``wait_s``: after a 403, for how many seconds the provider wants to be left alone; None: it names none.
    """

    def __init__(self, message: str, *, expired_token: bool, wait_s: int | None = None):
        super().__init__(message)
        self.expired_token = expired_token
        self.wait_s = wait_s


class VendorChanged(VendorError):
    """An answer that cannot be read: HTML, cut JSON, a missing required field, too large."""


class OperatorMustAct(VendorError):
    """The vendor refuses us, whoever asks; never a person's fault. ``cure``: what mends it.

    ``floor``: the lowest version of its app that the vendor takes, such as 4.17.0; None: it names none, or any other
    text, which goes no further than here.
    """

    def __init__(self, message: str = "the vendor refuses us", cure: Cure = "credentials", floor: str | None = None):
        super().__init__(message)
        self.cure: Cure = cure
        self.floor = floor if floor is not None and is_version(floor) else None


def is_version(text: str) -> bool:
    """Whether it is a version of a vendor's app as they are told: two to four numbers, nothing else."""
    return _VERSION.fullmatch(text) is not None


class GrantRefused(EvercgmError):
    """``invalid_grant``: this code or refresh token is not accepted (it may be transient)."""


class SessionRefused(GrantRefused):
    """A session before its end is not accepted (it may be transient), and no password is kept to sign in anew with."""


class ReconnectNeeded(EvercgmError):
    """Only the person can mend this; ``reason`` is a stable code."""

    def __init__(self, reason: str = "reconnect_needed"):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Choice:
    """Somebody whom an account follows. ``label``: their name at the vendor, to choose by, never stored or logged."""

    id: str
    label: str


class ChooseFirst(EvercgmError):
    """The account follows several people: the person says which of them it is.

    ``unfinished``: the tokens of this sign-in, good for each of ``choices``, where the vendor gives them only once.
    ``attempt``: under which name they wait.
    """

    def __init__(self, choices: tuple[Choice, ...], unfinished: Tokens | None = None, attempt: str | None = None):
        super().__init__("the account follows several people")
        self.choices = choices
        self.unfinished = unfinished
        self.attempt = attempt


class OtherAccount(EvercgmError):
    """The account is another than the one connected, or may be; its tokens wait as ``attempt`` for the person's yes."""

    def __init__(self, attempt: str):
        super().__init__("another account than before")
        self.attempt = attempt


class NothingToSync(EvercgmError):
    """What was asked for has no connection that is synced; ``field`` named it.

    ``reason``, a stable code: ``not_connected``, ``paused``, or ``by_file`` (it is filled by imports alone).
    """

    def __init__(self, reason: str, field: str):
        super().__init__(reason)
        self.reason = reason
        self.field = field


class NotYours(EvercgmError):
    """No such thing among what this person may see.

    ``kind`` and ``id`` say what was asked for; ``id`` None: a token that is never looked up again.
    """

    def __init__(self, kind: str, id_: str | None = None):
        super().__init__(kind)
        self.kind = kind
        self.id = id_


class SyncTooSoon(EvercgmError):
    """A sync started less than a minute ago; try again after ``retry_after_s`` seconds."""

    def __init__(self, retry_after_s: int):
        super().__init__("a sync started less than a minute ago")
        self.retry_after_s = retry_after_s


class TooOften(EvercgmError):
    """The same was done too often within an hour; possible again after ``retry_after_s`` seconds."""

    def __init__(self, retry_after_s: int):
        super().__init__("the same was done too often within an hour")
        self.retry_after_s = retry_after_s


class BadInput(EvercgmError):
    """``field`` is wrong; ``message`` says what would be right."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class NewerVersion(EvercgmError):
    """A job or a connection of a kind that this version does not know; workers of another one are there for it."""


class CellRefused(BadInput):
    """A place in a file is wrong. ``line`` and ``column`` count from 1; ``heading``: the column's name, if any."""

    def __init__(self, line: int, column: int, message: str, heading: str = ""):
        place = f"line {line}, column {column}" + (f" ({heading})" if heading else "")
        super().__init__("file", f"{place}: {message}")
        self.line = line
        self.column = column


class AnswerNeeded(BadInput):
    """What nobody but the person knows; ``choices``: what ``field`` may be."""

    def __init__(self, field: str, message: str, choices: tuple[str, ...]):
        super().__init__(field, message)
        self.choices = choices


class TooLarge(EvercgmError):
    """A file of more than ``most_mb`` megabytes (of 2**20 bytes)."""

    def __init__(self, most_mb: int):
        super().__init__(f"the file is larger than {most_mb} MB: export a shorter period")
        self.most_mb = most_mb


class SealBroken(EvercgmError):
    """A sealed value does not open here: unknown key, another row's value, or altered bytes."""


class SettingsError(EvercgmError):
    """A setting is missing or wrong; the text names it and says what would be right."""
