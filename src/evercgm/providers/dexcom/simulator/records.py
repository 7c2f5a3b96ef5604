"""Dexcom v3 records made from a glucose curve; pure, no HTTP, no clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from evercgm.providers.dexcom.simulator.cloud import Account
from evercgm.providers.dexcom.simulator.quirks import offset_text
from evercgm.providers.dexcom.simulator.state import State
from evercgm.providers.dexcom.simulator.uploads import Seen, Uploads
from evercgm.simulator_kit.arrows import rate_at, trend_of, wire_value
from evercgm.simulator_kit.trace import Trace, TraceRecord

JsonObject = dict[str, object]

RECORD_VERSION = "3.0"
WARM_UP = timedelta(hours=1)
NEWEST_DEVICES = 5
WEEK = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]


def envelope(record_type: str, user_id: str, records: list[JsonObject]) -> JsonObject:
    """What every answer but dataRange is wrapped in."""
    return {
        "recordType": record_type,
        "recordVersion": RECORD_VERSION,
        "userId": user_id,
        "records": records,
    }


def user_id_of(state: State, client_id: str, username: str) -> str:
    """Stable per account and client: another client sees another id."""
    return state.hashed("user", client_id, username)


def system_time(instant: datetime) -> str:
    """UTC with `Z`, whole seconds."""
    return instant.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def moment(instant: datetime, offset: timedelta) -> JsonObject:
    """systemTime and displayTime as the iOS app writes them; `offset`: of the wearer's zone from UTC."""
    local = instant.replace(tzinfo=None) + offset
    return {
        "systemTime": system_time(instant),
        "displayTime": local.isoformat(timespec="seconds") + offset_text(offset),
    }


def receiver_moment(instant: datetime, offset: timedelta) -> JsonObject:
    """The same as a receiver writes it: no offset on either (Dexcom v3, "displayDevice")."""
    local = instant.replace(tzinfo=None) + offset
    return {"systemTime": system_time(instant).removesuffix("Z"), "displayTime": local.isoformat(timespec="seconds")}


@dataclass(frozen=True, slots=True)
class Sensor:
    """One transmitter: it is worn for one cycle of the recording and counts its ticks from `started_at`."""

    transmitter_id: str
    started_at: datetime


def sensor_of(state: State, account: Account, trace: Trace, cycle: int) -> Sensor:
    """The transmitter of this cycle."""
    transmitter_id = state.hashed("transmitter", account.username, cycle)
    return Sensor(transmitter_id, trace.first_at + cycle * trace.period - WARM_UP)


def egvs(
    state: State, client_id: str, account: Account, trace: Trace, uploads: Uploads, window: tuple[datetime, datetime]
) -> list[JsonObject]:
    """Uploaded records with start <= systemTime < end, newest first."""
    start, end = window
    first = trace.count_before(start)
    before = trace.record(first - 1) if first else None
    # Once a cycle and not once a reading: a window holds thousands.
    sensors: dict[int, Sensor] = {}
    found: list[JsonObject] = []
    for record in trace.records_between(start, min(end, uploads.visible_until)):
        if not uploads.is_visible(record.measured_at):
            before = record
            continue
        cycle = trace.cycle_of(record.ordinal)
        if cycle not in sensors:
            sensors[cycle] = sensor_of(state, account, trace, cycle)
        seen = uploads.seen(record)
        written = _egv(account, sensors[cycle], record, before, seen)
        for record_id in _record_ids(state, (client_id, account.username), record, uploads):
            found.append({"recordId": record_id, **written})
        before = record
    found.reverse()
    return found


def _record_ids(state: State, whose: tuple[str, str], record: TraceRecord, uploads: Uploads) -> list[str]:
    """One, or two where a record with a new id stands beside the old."""
    names = ["egv"]
    if uploads.is_renewed(record.measured_at):
        names = ["egv", "egv again"] if uploads.keeps_both else ["egv again"]
    return [state.record_id(name, *whose, record.measured_at) for name in names]


# Clients read the same weeks over and over. Whoever changes a record changes a copy.
@lru_cache(maxsize=200_000)
def _egv(account: Account, sensor: Sensor, record: TraceRecord, before: TraceRecord | None, seen: Seen) -> JsonObject:
    value, status = wire_value(seen.glucose_mg_dl)
    trend, trend_rate = trend_of(rate_at(record, before))
    by_receiver = seen.by_receiver
    return {
        **_moment_of(record.measured_at, seen),
        "transmitterId": sensor.transmitter_id,
        "transmitterTicks": (record.measured_at - sensor.started_at) // timedelta(seconds=1),
        "value": value,
        "status": status,
        "trend": trend,
        "trendRate": trend_rate,
        "unit": "mg/dL",
        "rateUnit": "mg/dL/min",
        "displayDevice": "receiver" if by_receiver else "iOS",
        "transmitterGeneration": account.transmitter_generation,
        "transmitterGenerationVariant": account.transmitter_generation,
        "displayApp": "receiver" if by_receiver else account.display_app,
    }


def egv_range(trace: Trace, uploads: Uploads, since: datetime | None) -> JsonObject | None:
    """First and last uploaded reading, of those uploaded later than `since`; None where there is none."""
    ends = uploads.new_since(trace, since)
    if ends is None:
        return None
    start, end = (_moment_of(record.measured_at, uploads.seen(record)) for record in ends)
    return {"start": start, "end": end}


def _moment_of(measured_at: datetime, seen: Seen) -> JsonObject:
    """As the device wrote it that the reading comes from."""
    return (receiver_moment if seen.by_receiver else moment)(measured_at, seen.offset)


def devices(state: State, account: Account, trace: Trace | None, uploads: Uploads) -> list[JsonObject]:
    """The newest transmitters, one a replay of the recording, the running one first."""
    count = 0 if trace is None else trace.count_before(uploads.visible_until)
    if trace is None or count == 0:
        return []
    newest = trace.cycle_of(count - 1)
    points = len(trace.offsets_s)
    return [
        {
            "lastUploadDate": system_time(
                trace.record(min(count, (cycle + 1) * points) - 1).measured_at + uploads.delay
            ),
            "transmitterId": sensor_of(state, account, trace, cycle).transmitter_id,
            "transmitterGeneration": account.transmitter_generation,
            "transmitterGenerationVariant": account.transmitter_generation,
            "displayDevice": "iOS",
            "displayApp": account.display_app,
            "alertSchedules": [_alert_schedule(moment(trace.first_at, uploads.offset_at(trace.first_at)))],
        }
        for cycle in range(newest, max(-1, newest - NEWEST_DEVICES), -1)
    ]


def _alert_schedule(set_at: JsonObject) -> JsonObject:
    return {
        "alertScheduleSettings": {
            "alertScheduleName": "",
            "isEnabled": True,
            "isDefaultSchedule": True,
            "startTime": "00:00",
            "endTime": "00:00",
            "daysOfWeek": WEEK,
            "isActive": True,
            "override": None,
        },
        "alertSettings": [
            _alert_setting("high", 250, 120, set_at),
            _alert_setting("low", 70, 30, set_at),
        ],
    }


def _alert_setting(name: str, value: int, snooze_min: int, set_at: JsonObject) -> JsonObject:
    return {
        **set_at,
        "alertName": name,
        "value": value,
        "unit": "mg/dL",
        "snooze": snooze_min,
        "enabled": True,
        "delay": None,
        "secondaryTriggerCondition": None,
        "soundTheme": "modern",
        "soundOutputMode": "match",
    }
