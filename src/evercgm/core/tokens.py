"""Secrets in a type that cannot print itself, and the pair of tokens of a connection."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

# A vendor may state a nonsense lifetime; then one hour is assumed (design: settled questions).
DEFAULT_LIFETIME_S = 3600
LONGEST_LIFETIME_S = 86_400
LONGEST_MARGIN = timedelta(minutes=5)
# Between two sign-ins by a kept password: six a day at most, since sign-ins get accounts locked and addresses banned
# (libre facts A9).
SIGN_IN_RESTS = timedelta(hours=4)
CLOCK_DOUBT = timedelta(minutes=5)


class Secret:
    """A text that shows itself only by an explicit ``reveal()``; repr, str, format give ``Secret(***)``."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        """The text itself; call it only where it leaves for the vendor or is sealed."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a vendor gave for one consent; ``expires_at`` (aware UTC) is the access token's end."""

    access: Secret
    refresh: Secret
    expires_at: datetime
    lifetime_s: int = DEFAULT_LIFETIME_S


# A way in that holds nothing of its own: its time never ends (design: settled questions).
NO_LOGIN = Tokens(NO_SECRET, NO_SECRET, datetime(9999, 12, 31, tzinfo=UTC))


def needs_no_login(tokens: Tokens) -> bool:
    """Whether nothing is stored because nothing is needed: readings come by files, or by another way in."""
    return not tokens.access and not tokens.refresh and tokens.expires_at.year == NO_LOGIN.expires_at.year


def lifetime_s(raw: object) -> int:
    """Seconds from a vendor's ``expires_in``; what is no number or outside 1 to 86,400 counts as 3,600."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        raw = int(raw[:9])
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 1 <= raw <= LONGEST_LIFETIME_S:
        return DEFAULT_LIFETIME_S
    return int(raw)


def is_due(tokens: Tokens, now: datetime) -> bool:
    """Whether the access token ends within min(5 minutes, a tenth of its life)."""
    margin = min(LONGEST_MARGIN, timedelta(seconds=tokens.lifetime_s / 10))
    return tokens.expires_at - margin <= now


def signed_in_lately(tokens: Tokens, now: datetime) -> bool:
    """Whether the present session was made within the last four hours; not where its beginning is not known.

    A lifetime that was never noted puts the beginning into the future, and counts as not known.
    """
    age = now - (tokens.expires_at - timedelta(seconds=tokens.lifetime_s))
    return -CLOCK_DOUBT <= age < SIGN_IN_RESTS
