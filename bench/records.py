"""Answers as Dexcom's API v3 writes them: one record every five minutes, newest first."""

import json
import math
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from evercgm.core.sync import Window
from evercgm.providers.dexcom.times import query_time

EVERY = timedelta(minutes=5)
Record = dict[str, object]


def records(first: datetime, count: int) -> list[Record]:
    """``count`` records from ``first`` on, oldest first; the same in every run but for their times."""
    chance = random.Random(7)
    return [_record(n, first + n * EVERY, chance) for n in range(count)]


def _record(n: int, measured_at: datetime, chance: random.Random) -> Record:
    display = (measured_at - timedelta(hours=8)).replace(tzinfo=None)
    return {
        "recordId": str(uuid.UUID(int=chance.getrandbits(128))),
        "systemTime": _text(measured_at),
        "displayTime": display.isoformat(timespec="seconds") + "-08:00",
        "transmitterId": f"{n // 2880:064x}",
        "transmitterTicks": 3600 + 300 * (n % 2880),
        "value": round(130 + 50 * math.sin(n / 40) + chance.uniform(-6, 6)),
        "trend": chance.choice(["flat", "fortyFiveUp", "fortyFiveDown", "singleUp"]),
        "trendRate": round(chance.uniform(-2, 2), 1),
        "unit": "mg/dL",
        "rateUnit": "mg/dL/min",
        "displayDevice": "iOS",
        "transmitterGeneration": "g7",
        "displayApp": "G7",
        "status": None,
    }


def egvs(found: Sequence[Record]) -> str:
    """An "egvs" answer."""
    answer = {"recordType": "egv", "recordVersion": "3.0", "userId": "account", "records": list(reversed(found))}
    return json.dumps(answer, separators=(",", ":"))


def data_range(found: Sequence[Record]) -> str:
    """A "dataRange" answer."""
    first, last = (
        {"systemTime": one["systemTime"], "displayTime": one["displayTime"]} for one in (found[0], found[-1])
    )
    return json.dumps({"recordType": "dataRange", "userId": "account", "egvs": {"start": first, "end": last}})


def devices() -> str:
    """A "devices" answer."""
    device = {"lastUploadDate": _text(datetime.now(UTC)), "transmitterGeneration": "g7", "displayDevice": "iOS"}
    return json.dumps({"recordType": "device", "userId": "account", "records": [device]})


def within(found: Sequence[Record], window: Window) -> list[Record]:
    """What an answer for this window holds."""
    low, high = _text(window.start), _text(window.end + timedelta(seconds=1))
    return [one for one in found if low <= str(one["systemTime"]) < high]


def asked(window: Window) -> dict[str, str]:
    """The query of this window."""
    return {
        "startDate": query_time(window.start),
        "endDate": query_time(window.end + timedelta(microseconds=999_999)),
    }


def _text(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
