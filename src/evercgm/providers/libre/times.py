"""LibreLinkUp's time texts into instants and offsets; pure. Never builds an instant from a wall time of the person."""

import re
from datetime import UTC, datetime, timedelta

# LibreLinkUp, "FactoryTimestamp", recorded 2022 to 2026: month first, English, whatever the account's date format.
# Seconds left out, leading zeros, another blank before AM, 24 hours and ISO were never seen, and cannot be mistaken.
_MONTH_FIRST = re.compile(
    r"(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})/(?P<year>[0-9]{4}) "
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?(?:[ \u00a0\u202f]?(?P<half>[AP])M)?",
    re.IGNORECASE | re.ASCII,
)
_ISO = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})T"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?(?P<half>)Z?"
)
LONGEST_TEXT = 40
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LOWEST_OFFSET_MIN = -12 * 60
HIGHEST_OFFSET_MIN = 14 * 60
_OFFSET_STEP = timedelta(minutes=15)


def parse_time(text: object) -> datetime | None:
    """The numbers of a time text as aware UTC; None where it is no text, cannot be read, or lies before 1970.

    True for "FactoryTimestamp" alone; of "Timestamp" it is the person's wall time, and no instant.
    """
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        return None
    found = _MONTH_FIRST.fullmatch(text) or _ISO.fullmatch(text)
    hour = _hour(found) if found else None
    if found is None or hour is None:
        return None
    year, month, day, minute = (int(found[name]) for name in ("year", "month", "day", "minute"))
    try:
        at = datetime(year, month, day, hour, minute, int(found["second"] or 0), tzinfo=UTC)
    except ValueError:
        return None
    return at if at >= EARLIEST else None


def _hour(found: re.Match[str]) -> int | None:
    """0 to 23 where the text is sound: with AM or PM there are the hours 1 to 12."""
    hour = int(found["hour"])
    if not found["half"]:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if found["half"] in "Pp" else 0)


def display_offset_min(instant: datetime, wall_text: object) -> int | None:
    """Minutes between what the person's phone showed and UTC, to the next quarter of an hour; None: not to be known."""
    wall = parse_time(wall_text)
    if wall is None:
        return None
    offset = round((wall - instant) / _OFFSET_STEP) * 15
    return offset if LOWEST_OFFSET_MIN <= offset <= HIGHEST_OFFSET_MIN else None
