"""Events, calibrations and alerts beside a glucose curve, always the same ones for it; pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from evercgm.providers.dexcom.simulator.cloud import Account
from evercgm.providers.dexcom.simulator.records import JsonObject, moment, sensor_of
from evercgm.providers.dexcom.simulator.state import State
from evercgm.providers.dexcom.simulator.uploads import Uploads
from evercgm.simulator_kit.trace import Trace, TraceRecord

# In readings (5 min): an event every 4 hours, a calibration every 12.
EVENT_EVERY, CALIBRATION_EVERY = 48, 144
TYPED_IN_AFTER = timedelta(minutes=2)
LOW_MG_DL, HIGH_MG_DL = 70, 250
# Dexcom v3, "events": type, subtype, value (always text), unit, status.
EVENTS: tuple[tuple[str, str | None, str, str | None, str], ...] = (
    ("carbs", None, "45", "grams", "created"),
    ("insulin", "fastActing", "6.50", "units", "created"),
    ("bloodGlucose", None, "112", "mg/dL", "created"),
    ("exercise", "medium", "30", "minutes", "created"),
    ("carbs", None, "60", "grams", "updated"),
    ("insulin", "longActing", "18", "units", "created"),
    ("health", "stress", "", None, "created"),
    ("notes", None, "new site, left arm", None, "created"),
    ("carbs", None, "60", "grams", "deleted"),
)


def found(
    kind: str,
    state: State,
    client_id: str,
    account: Account,
    trace: Trace,
    uploads: Uploads,
    window: tuple[datetime, datetime],
) -> list[JsonObject]:
    """Uploaded records of this kind with start <= systemTime < end, newest first."""
    start, end = window
    makers = {"events": _event, "calibrations": _calibration, "alerts": _alert}
    records = []
    for record in _marked(kind, trace, start, min(end, uploads.visible_until)):
        if not uploads.is_visible(record.measured_at):
            continue
        common: JsonObject = {
            "recordId": state.record_id(kind, client_id, account.username, record.measured_at),
            **moment(record.measured_at, uploads.offset_at(record.measured_at)),
            "transmitterId": sensor_of(state, account, trace, trace.cycle_of(record.ordinal)).transmitter_id,
            "transmitterGeneration": account.transmitter_generation,
            "transmitterGenerationVariant": account.transmitter_generation,
            "displayDevice": "iOS",
        }
        records.append({**common, **makers[kind](record, state, account, trace, uploads)})
    return records[::-1]


def data_range(kind: str, trace: Trace, uploads: Uploads, since: datetime | None) -> JsonObject | None:
    """First and last uploaded record of this kind, where later than `since`; None if there is none."""
    times = [
        record.measured_at
        for record in _marked(kind, trace, trace.first_at, uploads.visible_until)
        if uploads.is_visible(record.measured_at) and (since is None or uploads.uploaded_at(record.measured_at) > since)
    ]
    if not times:
        return None
    start, end = (moment(at, uploads.offset_at(at)) for at in (times[0], times[-1]))
    return {"start": start, "end": end}


def _marked(kind: str, trace: Trace, start: datetime, end: datetime) -> Iterator[TraceRecord]:
    """The readings at whose instant something of this kind happened."""
    if kind == "alerts":
        before = trace.count_before(start)
        last = trace.record(before - 1) if before else None
        for record in trace.records_between(start, end):
            if last is not None and _zone(last) != _zone(record):
                yield record
            last = record
        return
    every = EVENT_EVERY if kind == "events" else CALIBRATION_EVERY
    first = -(-trace.count_before(start) // every) * every
    for ordinal in range(first, trace.count_before(end), every):
        yield trace.record(ordinal)


def _event(record: TraceRecord, _state: State, _account: Account, _trace: Trace, uploads: Uploads) -> JsonObject:
    event_type, sub_type, value, unit, status = EVENTS[record.ordinal // EVENT_EVERY % len(EVENTS)]
    typed_in = moment(record.measured_at + TYPED_IN_AFTER, uploads.offset_at(record.measured_at))
    return {
        "eventStatus": status,
        "eventType": event_type,
        "eventSubType": sub_type,
        "value": value,
        "unit": unit,
        "recordedSystemTime": typed_in["systemTime"],
        "recordedDisplayTime": typed_in["displayTime"],
    }


def _calibration(record: TraceRecord, state: State, account: Account, trace: Trace, _uploads: Uploads) -> JsonObject:
    sensor = sensor_of(state, account, trace, trace.cycle_of(record.ordinal))
    ticks = (record.measured_at - sensor.started_at) // timedelta(seconds=1)
    return {"unit": "mg/dL", "value": record.glucose_mg_dl, "transmitterTicks": ticks}


def _alert(record: TraceRecord, _state: State, account: Account, trace: Trace, _uploads: Uploads) -> JsonObject:
    zone = _zone(record)
    if zone:
        return {"alertName": zone, "alertState": "activeAlarming", "displayApp": account.display_app}
    left = _zone(trace.record(record.ordinal - 1)) or "low"
    return {"alertName": left, "alertState": "inactive", "displayApp": account.display_app}


def _zone(record: TraceRecord) -> str:
    if record.glucose_mg_dl < LOW_MG_DL:
        return "low"
    return "high" if record.glucose_mg_dl > HIGH_MG_DL else ""
