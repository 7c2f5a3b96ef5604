"""Odd ways of writing a record that is otherwise right: times, unknown words, order; pure."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

JsonObject = dict[str, object]

UNHEARD_OF = {
    "trend": "tripleUp",
    "status": "implausible",
    "displayDevice": "spectacles",
    "transmitterGeneration": "g9",
    "transmitterGenerationVariant": "g9x",
    "displayApp": "G9",
    "eventType": "sleep",
    "eventSubType": "nap",
    "eventStatus": "merged",
    "alertName": "veryHigh",
    "alertState": "muted",
}
# Only when named: a value whose unit is not known is no reading.
UNITS = {"unit": "furlongs", "rateUnit": "furlongs/min"}
# Each kind of `fixtures/time_parsing.json`, and the text cut short (dexcom.md A3).
TIME_TEXTS = (
    "z", "offset", "no_seconds", "offset_with_seconds", "fraction", "no_zone", "blank", "no_leading_zeros",
    "offset_without_colon", "half_hour_offset", "zero", "empty", "no_time", "cut_short",
)  # fmt: skip
HALF_HOUR_OFFSET = timedelta(hours=5, minutes=30)


def time_text(kind: str, instant: datetime, offset: timedelta, local: bool) -> str:
    """The instant (aware, whole seconds) written in this way; `local`: as displayTime, at `offset` from UTC."""
    fixed = {"zero": "0001-01-01T00:00:00", "empty": "", "no_time": "yesterday"}
    if kind in fixed:
        return fixed[kind]
    if kind == "half_hour_offset":
        return instant.astimezone(timezone(HALF_HOUR_OFFSET)).isoformat()
    at_offset = instant.astimezone(timezone(offset))
    wall = (at_offset if local else instant.astimezone(UTC)).replace(tzinfo=None)
    # A systemTime's zone is Z; a displayTime shows the offset.
    zone = offset_text(offset) if local else "Z"
    texts = {
        "z": f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z",
        "offset": at_offset.isoformat(),
        "no_seconds": f"{wall:%Y-%m-%dT%H:%M}{zone}",
        "offset_with_seconds": at_offset.replace(tzinfo=None).isoformat() + _two_seconds_off(offset),
        "fraction": f"{wall.isoformat()}.964{zone}",
        "no_zone": wall.isoformat(),
        "blank": wall.isoformat(" "),
        "no_leading_zeros": f"{wall.year}-{wall.month}-{wall.day}T{wall.hour}:{wall.minute}:{wall.second}{zone}",
        "offset_without_colon": at_offset.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cut_short": wall.isoformat()[:15],
    }
    return texts[kind]


def write_times(records: Sequence[JsonObject], kinds: Mapping[str, str]) -> None:
    """Write these fields anew in all records, in place, each in its kind; `every` takes the kinds in turn."""
    for index, record in enumerate(records):
        instant, offset = instant_of(record), offset_of(record)
        for field, kind in kinds.items():
            chosen = TIME_TEXTS[index % len(TIME_TEXTS)] if kind == "every" else kind
            record[field] = time_text(chosen, instant, offset, local=field == "displayTime")


def instant_of(record: JsonObject) -> datetime:
    """The instant behind a record as the simulator wrote it, before any quirk."""
    at = datetime.fromisoformat(str(record["systemTime"]))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def offset_of(record: JsonObject) -> timedelta:
    """What the wearer's device showed from UTC, before any quirk."""
    shown = datetime.fromisoformat(str(record["displayTime"]))
    return shown.utcoffset() or shown.replace(tzinfo=UTC) - instant_of(record)


def date_ahead(record: JsonObject, instant: datetime) -> None:
    """Date one record at another instant, in place."""
    offset = offset_of(record)
    record["systemTime"] = time_text("z", instant, offset, local=False)
    record["displayTime"] = time_text("offset", instant, offset, local=True)


def use_unknown_words(records: Sequence[JsonObject], which: bool | list[str]) -> None:
    """Replace enum words in place: all (units excepted) or those named."""
    words = UNHEARD_OF if which is True else {**UNHEARD_OF, **UNITS}
    for record in records:
        for name, word in words.items():
            if name in record and (which is True or (isinstance(which, list) and name in which)):
                record[name] = word


def ordered(newest_first: list[JsonObject], order: str) -> list[JsonObject]:
    """Newest first, oldest first, or shuffled, always the same way for the same records."""
    if order == "oldest":
        return newest_first[::-1]
    if order == "shuffled":
        random.Random(len(newest_first)).shuffle(newest_first)  # noqa: S311 - reproducible on purpose
    return newest_first


@lru_cache(maxsize=64)
def offset_text(offset: timedelta) -> str:
    """As `-08:00`."""
    sign, length = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    hours, minutes = divmod(length // timedelta(minutes=1), 60)
    return f"{sign}{hours:02}:{minutes:02}"


def _two_seconds_off(offset: timedelta) -> str:
    """As seen in production: -06:59:58 for -07:00."""
    sign, length = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    seconds = abs(int(length.total_seconds()) - 2)
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
