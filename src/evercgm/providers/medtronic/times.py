"""CareLink's time texts and clocks into instants; pure. What it stamps is the device's wall clock, whatever it says."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from evercgm.providers.medtronic import zones

# CareLink, all versions, read 2026-11: no zone, a wrong Z, "-00:00", a true offset, and "Nov 2, 2026 14:56:00".
_ISO = re.compile(
    r"(?P<wall>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]{1,9})?"
    r"(?P<zone>Z|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))?"
)
_WORDS = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>[0-9]{1,2}), (?P<year>[0-9]{4}) (?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LONGEST_TEXT = 40
# A row without a time is dated 1970; no device of theirs is older than this.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
LATEST_EPOCH_MS = 4_102_444_800_000
QUARTER = timedelta(minutes=15)
FARTHEST_MIN = 14 * 60

Source = Literal["pump", "conduit", "zone"]


class WallTime(msgspec.Struct, frozen=True, gc=False):
    """A time text as it stands, in UTC's place. ``offset_min``: the text's own, where that is real, else None."""

    wall: datetime
    offset_min: int | None = None


class Offset(msgspec.Struct, frozen=True):
    """Minutes between the device's wall clock and UTC, and what told them."""

    minutes: int
    source: Source


class Clocks(msgspec.Struct, frozen=True):
    """CareLink v13 and older, "display/message", read 2026-11: what an answer says of clocks, of any type."""

    medicalDeviceTime: object = None  # noqa: N815
    sMedicalDeviceTime: object = None  # noqa: N815
    lastMedicalDeviceDataUpdateServerTime: object = None  # noqa: N815
    lastConduitDateTime: object = None  # noqa: N815
    lastConduitUpdateServerDateTime: object = None  # noqa: N815
    lastConduitUpdateServerTime: object = None  # noqa: N815
    clientTimeZoneName: object = None  # noqa: N815
    currentServerTime: object = None  # noqa: N815


def parse(text: object) -> WallTime | None:
    """A time text of any form; None where it is none, or of another century."""
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        return None
    text = text.strip()
    iso = _ISO.fullmatch(text)
    try:
        wall = datetime.fromisoformat(iso["wall"] if iso else _iso_of_words(text)).replace(tzinfo=UTC)
    except ValueError:
        return None
    if not EARLIEST <= wall < LATEST:
        return None
    return WallTime(wall, _real_offset(iso) if iso else None)


def _iso_of_words(text: str) -> str:
    found = _WORDS.fullmatch(text)
    if found is None or found["month"] not in _MONTHS:
        raise ValueError("no time")
    return f"{found['year']}-{_MONTHS.index(found['month']) + 1:02}-{int(found['day']):02}T{found['time']}"


def _real_offset(iso: re.Match[str]) -> int | None:
    """Only an offset that is not zero is real; Z is written behind local times."""
    if not iso["sign"]:
        return None
    minutes = int(iso["hours"]) * 60 + int(iso["minutes"])
    return (minutes if iso["sign"] == "+" else -minutes) if 0 < minutes <= FARTHEST_MIN else None


def instant(raw: object) -> datetime | None:
    """Epoch milliseconds, as a number or its text, as an aware instant; None for what is none."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        raw = int(raw[:16])
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw < LATEST_EPOCH_MS:
        return None
    at = datetime.fromtimestamp(raw / 1000, UTC)
    return at if at >= EARLIEST else None


def offset_of(clocks: Clocks, now: datetime) -> Offset | None:
    """The first of three sources that works: the pump's clock, the phone's, the name of its zone at ``now`` (aware)."""
    return _of_pump(clocks) or _of_conduit(clocks) or _of_zone(clocks, now)


def device_clock(clocks: Clocks) -> datetime | None:
    """The device's wall clock at its last upload, in UTC's place."""
    said = instant(clocks.medicalDeviceTime)
    text = parse(clocks.sMedicalDeviceTime)
    return said or (text.wall if text else None)


def _of_pump(clocks: Clocks) -> Offset | None:
    """The clock that stamps the readings."""
    minutes = _quarters(device_clock(clocks), instant(clocks.lastMedicalDeviceDataUpdateServerTime))
    return None if minutes is None else Offset(minutes, "pump")


def _of_conduit(clocks: Clocks) -> Offset | None:
    """The phone's clock; until v6 its text carried a true offset."""
    phone = parse(clocks.lastConduitDateTime)
    if phone is None:
        return None
    server = instant(clocks.lastConduitUpdateServerDateTime) or instant(clocks.lastConduitUpdateServerTime)
    minutes = phone.offset_min if phone.offset_min is not None else _quarters(phone.wall, server)
    return None if minutes is None else Offset(minutes, "conduit")


def _of_zone(clocks: Clocks, now: datetime) -> Offset | None:
    name = clocks.clientTimeZoneName
    if not isinstance(name, str):
        return None
    minutes = zones.offset_min(name, instant(clocks.currentServerTime) or now)
    return None if minutes is None or abs(minutes) > FARTHEST_MIN else Offset(minutes, "zone")


def _quarters(local: datetime | None, server: datetime | None) -> int | None:
    """The difference of two clocks to the quarter hour (the rest is drift); None beyond 14 hours."""
    if local is None or server is None:
        return None
    minutes = round((local - server) / QUARTER) * 15
    return minutes if abs(minutes) <= FARTHEST_MIN else None
