"""Dexcom v3 records made from a glucose curve; pure, no HTTP, no clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from uuid import UUID

from evercgm.providers.dexcom.simulator_cloud import Account
from evercgm.providers.dexcom.simulator_state import State
from evercgm.simulator_kit.trace import Trace, TraceRecord

JsonObject = dict[str, object]

RECORD_VERSION = "3.0"
WARM_UP = timedelta(hours=1)
# A rate needs a neighbour; after a gap Dexcom shows no arrow.
NEIGHBOUR_WITHIN = timedelta(minutes=12)
LOWEST_MG_DL, HIGHEST_MG_DL = 40, 400
# Dexcom v3, "egvs": from this rate upwards (mg/dL/min), mirrored below zero.
TREND_FROM = ((3.0, "double"), (2.0, "single"), (1.0, "fortyFive"))
HIGHEST_RATE = 8.0
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


def moment(instant: datetime, account: Account) -> JsonObject:
    """systemTime and displayTime as the iOS app writes them."""
    zone = timezone(timedelta(minutes=account.utc_offset_min))
    return {
        "systemTime": system_time(instant),
        "displayTime": instant.astimezone(zone).isoformat(timespec="seconds"),
    }


def wire_value(glucose_mg_dl: int) -> tuple[int, str | None]:
    """The value with its status: 39 and 401 stand for Low and High."""
    if glucose_mg_dl < LOWEST_MG_DL:
        return LOWEST_MG_DL - 1, "low"
    if glucose_mg_dl > HIGHEST_MG_DL:
        return HIGHEST_MG_DL + 1, "high"
    return glucose_mg_dl, None


def trend_of(rate: float | None) -> tuple[str, float | None]:
    """Arrow and rate for a rate in mg/dL/min; None where there is no neighbour."""
    if rate is None:
        return "none", None
    if abs(rate) > HIGHEST_RATE:
        return "rateOutOfRange", None
    for least, name in TREND_FROM:
        if abs(rate) >= least:
            return name + ("Up" if rate > 0 else "Down"), rate
    return "flat", rate


def rate_at(record: TraceRecord, before: TraceRecord | None) -> float | None:
    """Change since the neighbour in mg/dL/min, to one decimal; None after a gap."""
    if before is None or record.measured_at - before.measured_at > NEIGHBOUR_WITHIN:
        return None
    minutes = (record.measured_at - before.measured_at) / timedelta(minutes=1)
    return round((record.glucose_mg_dl - before.glucose_mg_dl) / minutes, 1)


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
    state: State, client_id: str, account: Account, trace: Trace, start: datetime, end: datetime
) -> list[JsonObject]:
    """Records with start <= systemTime < end, newest first."""
    first = trace.count_before(start)
    before = trace.record(first - 1) if first else None
    # Once a cycle and not once a reading: a window holds thousands.
    sensors: dict[int, Sensor] = {}
    found: list[JsonObject] = []
    for record in trace.records_between(start, end):
        cycle = trace.cycle_of(record.ordinal)
        if cycle not in sensors:
            sensors[cycle] = sensor_of(state, account, trace, cycle)
        seed = state.hashed("egv", client_id, account.username, int(record.measured_at.timestamp()))
        found.append(_egv(UUID(seed[:32], version=5), account, sensors[cycle], record, before))
        before = record
    found.reverse()
    return found


def _egv(
    record_id: UUID, account: Account, sensor: Sensor, record: TraceRecord, before: TraceRecord | None
) -> JsonObject:
    value, status = wire_value(record.glucose_mg_dl)
    trend, trend_rate = trend_of(rate_at(record, before))
    return {
        "recordId": str(record_id),
        **moment(record.measured_at, account),
        "transmitterId": sensor.transmitter_id,
        "transmitterTicks": (record.measured_at - sensor.started_at) // timedelta(seconds=1),
        "value": value,
        "status": status,
        "trend": trend,
        "trendRate": trend_rate,
        "unit": "mg/dL",
        "rateUnit": "mg/dL/min",
        "displayDevice": "iOS",
        "transmitterGeneration": account.transmitter_generation,
        "transmitterGenerationVariant": account.transmitter_generation,
        "displayApp": account.display_app,
    }


def data_range(
    account: Account, trace: Trace | None, new_after: datetime | None, visible_until: datetime
) -> JsonObject:
    """First and last reading with new_after < instant < visible_until; null where there is none."""
    found: JsonObject | None = None
    if trace is not None:
        just_after = None if new_after is None else new_after + timedelta(microseconds=1)
        first = 0 if just_after is None else trace.count_before(just_after)
        end = trace.count_before(visible_until)
        if first < end:
            found = {
                "start": moment(trace.record(first).measured_at, account),
                "end": moment(trace.record(end - 1).measured_at, account),
            }
    return {"calibrations": None, "egvs": found, "events": None}


def devices(
    state: State, account: Account, trace: Trace | None, visible_until: datetime, delay: timedelta
) -> list[JsonObject]:
    """The newest transmitters, one a replay of the recording, the running one first."""
    count = 0 if trace is None else trace.count_before(visible_until)
    if trace is None or count == 0:
        return []
    newest = trace.cycle_of(count - 1)
    points = len(trace.offsets_s)
    return [
        {
            "lastUploadDate": system_time(trace.record(min(count, (cycle + 1) * points) - 1).measured_at + delay),
            "transmitterId": sensor_of(state, account, trace, cycle).transmitter_id,
            "transmitterGeneration": account.transmitter_generation,
            "transmitterGenerationVariant": account.transmitter_generation,
            "displayDevice": "iOS",
            "displayApp": account.display_app,
            "alertSchedules": [_alert_schedule(trace.first_at, account)],
        }
        for cycle in range(newest, max(-1, newest - NEWEST_DEVICES), -1)
    ]


def _alert_schedule(set_at: datetime, account: Account) -> JsonObject:
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
            _alert_setting("high", 250, 120, set_at, account),
            _alert_setting("low", 70, 30, set_at, account),
        ],
    }


def _alert_setting(name: str, value: int, snooze_min: int, set_at: datetime, account: Account) -> JsonObject:
    return {
        **moment(set_at, account),
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
