"""Dexcom's time texts into instants and offsets; pure. Never builds an instant from a display time."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

# Dexcom v3, "egvs", read 2026-11, and what production systems saw: no seconds, offsets with seconds,
# no leading zeros, a blank for the T, fractions, texts cut short.
_TEXT = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})[T ]"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2})(?::(?P<second>[0-9]{1,2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zone_h>[0-9]{2}):?(?P<zone_m>[0-9]{2})(?::?(?P<zone_s>[0-9]{2}))?)?"
)
# Nearly every text has one of these forms. Each third character from the year on (the marks between the numbers) tells
# the form, with its length; such a text of this century is read by the standard library, twenty times as fast.
_WITH_Z, _WITHOUT_ZONE, _WITH_ZONE = 20, 19, 25
_USUAL = {
    f"--{between}::{zone}": length
    for between in "T "
    for zone, length in (("Z", _WITH_Z), ("", _WITHOUT_ZONE), ("+:", _WITH_ZONE), ("-:", _WITH_ZONE))
}
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LOWEST_OFFSET_MIN = -12 * 60
HIGHEST_OFFSET_MIN = 14 * 60
_DAY_MIN = 24 * 60


class WireTime(msgspec.Struct, frozen=True, gc=False):
    """A time text read: ``instant`` aware UTC (no zone counts as UTC), the zone's offset in minutes."""

    instant: datetime
    offset_min: int | None


def parse_time(text: str) -> WireTime | None:
    """A time text of the vendor; None where it cannot be read or lies before 1970.

    An offset with seconds is rounded to the minute, and so applied.
    """
    usual = _usual(text)
    if usual is None:
        return parse_any_form(text)
    if len(text) == _WITH_Z:
        return WireTime(usual, 0)
    if len(text) == _WITHOUT_ZONE:
        return WireTime(datetime.fromisoformat(text + "Z"), None)
    offset_min = _zone_min(text[_WITHOUT_ZONE:])
    return None if offset_min is None else WireTime(usual.astimezone(UTC), offset_min)


def _usual(text: str) -> datetime | None:
    """What a text of a usual form says, as it stands there; None: it has another form, or cannot be read."""
    # Newer Pythons take 24:00 for the next day; to us it is no time.
    if text[:2] != "20" or _USUAL.get(text[4::3]) != len(text) or text[11:13] == "24":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _zone_min(zone: str) -> int | None:
    """The minutes of a zone as "-08:00"; None where there is no such place."""
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    offset_min = minutes if zone[0] == "+" else -minutes
    return offset_min if LOWEST_OFFSET_MIN <= offset_min <= HIGHEST_OFFSET_MIN else None


def parse_any_form(text: str) -> WireTime | None:
    """``parse_time`` by the one pattern of every form there is: the measure of what the quicker way may answer."""
    found = _TEXT.fullmatch(text.strip()) if len(text) <= 64 else None
    if found is None or (found["zone"] is None and _ends_short(text.strip())):
        return None
    offset_min = _offset_min(found)
    if offset_min is not None and not LOWEST_OFFSET_MIN <= offset_min <= HIGHEST_OFFSET_MIN:
        return None
    try:
        instant = _wall_time(found) - timedelta(minutes=offset_min or 0)
    except (ValueError, OverflowError):
        return None
    return WireTime(instant, offset_min) if instant >= EARLIEST else None


def _wall_time(found: re.Match[str]) -> datetime:
    return datetime(
        int(found["year"]),
        int(found["month"]),
        int(found["day"]),
        int(found["hour"]),
        int(found["minute"]),
        int(found["second"] or 0),
        int((found["fraction"] or "").ljust(6, "0")[:6]),
        tzinfo=UTC,
    )


def _ends_short(text: str) -> bool:
    """Without a zone behind it, a last number of one digit may be a number cut in two."""
    return re.search(r":[0-9]$", text) is not None


def _offset_min(found: re.Match[str]) -> int | None:
    if found["zone"] is None:
        return None
    if found["sign"] is None:
        return 0
    seconds = int(found["zone_h"]) * 3600 + int(found["zone_m"]) * 60 + int(found["zone_s"] or 0)
    minutes = (seconds + 30) // 60
    return minutes if found["sign"] == "+" else -minutes


def display_offset_min(system: WireTime, display_text: str) -> int | None:
    """Minutes between what the person's device showed and UTC, -720 to 840; None where not to be known.

    A receiver's texts have no zone: then it is the difference to the system time, to the next half hour
    (the rest is drift), less whole days where the device's date was wrong.
    """
    if len(display_text) == _WITH_ZONE and _usual(display_text) is not None:
        return _zone_min(display_text[_WITHOUT_ZONE:])
    display = parse_time(display_text)
    if display is None:
        return None
    if display.offset_min is not None:
        return display.offset_min
    half_hours = round((display.instant - system.instant) / timedelta(minutes=30))
    offset = half_hours * 30
    if offset < LOWEST_OFFSET_MIN or offset > HIGHEST_OFFSET_MIN:
        offset = (offset + _DAY_MIN // 2) % _DAY_MIN - _DAY_MIN // 2
    return offset


def query_time(instant: datetime) -> str:
    """An instant as Dexcom v3 wants it in queries: UTC, whole seconds (cut), no zone."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
