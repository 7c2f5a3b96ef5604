"""The answer of "display/message" for one patient at one moment, with what faults make of it."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from evercgm.providers.medtronic.simulator import faults
from evercgm.providers.medtronic.simulator.clocks import EPOCH_TEXT, Clocks, epoch_ms, local, written
from evercgm.providers.medtronic.simulator.cloud import Cloud, Patient
from evercgm.simulator_kit.faults import FaultKind
from evercgm.simulator_kit.trace import TraceRecord

DAY = timedelta(hours=24)
INSTANT = timedelta(microseconds=1)
MOST_ROWS = 288
LOWEST, HIGHEST = 40, 400
# mg/dL a minute between two readings of five minutes.
TRENDS = ((3, "TRIPLE"), (2, "DOUBLE"), (1, ""))
JsonObject = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moment:
    """One patient at one moment. `uploaded_at`: when the phone last sent; `text`: how times are written."""

    patient: Patient
    now: datetime
    uploaded_at: datetime
    clocks: Clocks
    text: str

    def pump_text(self, at: datetime) -> str:
        """As the pump stamps it."""
        return written(at, self.clocks.pump_offset(at), self.text)


class Teller:
    """Asks the switches of one call, each once."""

    def __init__(self, cloud: Cloud, username: str) -> None:
        self._cloud = cloud
        self._username = username

    def take(self, kind: FaultKind[T]) -> T | None:
        """The fault's value if it strikes this call."""
        return self._cloud.faults.take(kind, "message", self._username)


def build(cloud: Cloud, patient: Patient, username: str, *, before_v11: bool = False) -> JsonObject:
    """The inner part, as v13 gives it, or as older versions gave it."""
    ask = Teller(cloud, username)
    moment = _moment(cloud, patient, ask, "zero_offset" if before_v11 else "none")
    rows, newest = _rows(cloud, moment, ask)
    told: JsonObject = {**_frame(patient, moment), **_times(patient, moment)}
    told["bgUnits"] = ask.take(faults.BG_UNITS) or "MGDL"
    told["medicalDeviceFamily"] = ask.take(faults.FAMILY) or patient.family
    told["lastSG"] = {name: value for name, value in newest.items() if name != "isBackfill"}
    told["lastSGTrend"] = ask.take(faults.TREND) or _trend(rows)
    told["markers"] = _markers(moment, ask)
    if ask.take(faults.PUMP_LOST):
        told["pumpCommunicationState"] = False
        told["medicalDeviceTime"] -= 7_200_000
    _leave_out_clocks(told, ask)
    told["sgs"] = _ordered(rows, ask.take(faults.ORDER))
    return _as_before_v11(told, moment) if before_v11 else told


def _ordered(rows: list[JsonObject], order: str | None) -> list[JsonObject]:
    if order == "shuffled":
        return random.Random(1).sample(rows, len(rows))  # noqa: S311 - reproducible on purpose
    if order == "backfill_last":
        return sorted(rows, key=lambda row: row["isBackfill"] is True)
    return rows[::-1] if order == "newest" else rows


def _as_before_v11(told: JsonObject, moment: Moment) -> JsonObject:
    """With the names of older versions; the phone's time had a true offset then."""
    old = {**told, "kind": "ConnectData", "version": 2}
    old["sgs"] = [_old_row(row) for row in told["sgs"]]
    old["lastSG"] = _old_row(told["lastSG"])
    old["markers"] = [_old_marker(marker) for marker in told["markers"]]
    old["lastConduitUpdateServerTime"] = old.pop("lastConduitUpdateServerDateTime")
    if "lastConduitDateTime" in old:
        old["lastConduitDateTime"] = written(moment.uploaded_at, moment.clocks.phone, "real_offset")
    return old


def _old_marker(marker: JsonObject) -> JsonObject:
    told = {"type": marker["type"], "index": 252, "kind": "Marker", "version": 1, "dateTime": marker["timestamp"]}
    return {**told, **marker["data"]["dataValues"]}


def _old_row(row: JsonObject) -> JsonObject:
    kept = {name: value for name, value in row.items() if name not in ("timestamp", "isBackfill")}
    return {**kept, "datetime": row.get("timestamp", ""), "timeChange": False, "version": 101}


def _moment(cloud: Cloud, patient: Patient, ask: Teller, text: str) -> Moment:
    now = cloud.clock().astimezone(UTC)
    at_home = timedelta(minutes=patient.utc_offset_min)
    pump, phone = ask.take(faults.PUMP_OFFSET_MIN), ask.take(faults.PHONE_OFFSET_MIN)
    drift_s = ask.take(faults.PUMP_DRIFT_S)
    change = ask.take(faults.CLOCK_CHANGE)
    clocks = Clocks(
        pump=(at_home if pump is None else timedelta(minutes=pump)) + timedelta(seconds=drift_s or 0),
        phone=at_home if phone is None else timedelta(minutes=phone),
        changed_at=datetime.fromtimestamp(change.set_at - change.minutes_ago * 60, UTC) if change else None,
        changed_by=timedelta(minutes=change.minutes) if change else timedelta(0),
    )
    stale = timedelta(minutes=ask.take(faults.STALE_MINUTES) or 0)
    return Moment(patient, now, now - stale, clocks, ask.take(faults.TIME_TEXT) or text)


def _rows(cloud: Cloud, moment: Moment, ask: Teller) -> tuple[list[JsonObject], JsonObject]:
    """Oldest first, and the newest of them."""
    trace = cloud.traces.get(moment.patient.username)
    held = ask.take(faults.BACKFILL)
    found = list(trace.records_between(moment.now - DAY, moment.uploaded_at + INSTANT)) if trace else []
    shown = [record for record in found if not _is_held_back(record, held, moment.uploaded_at)]
    rows = [_row(record, moment, late=_is_of(record, held)) for record in shown]
    most = ask.take(faults.ROWS)
    rows = rows[max(len(rows) - (MOST_ROWS if most is None else most), 0) :]
    _spoil(rows, ask)
    return rows, dict(rows[-1]) if rows else {"kind": "SG", "version": 1, "sg": 0, "sensorState": "UNKNOWN"}


def _is_of(record: TraceRecord, held: faults.Backfill | None) -> bool:
    if held is None:
        return False
    minutes_ago = (held.set_at - record.measured_at.timestamp()) / 60
    return held.to_minutes <= minutes_ago <= held.from_minutes


def _is_held_back(record: TraceRecord, held: faults.Backfill | None, uploaded_at: datetime) -> bool:
    if held is None or not _is_of(record, held):
        return False
    return uploaded_at.timestamp() < held.set_at + held.in_minutes * 60


def _row(record: TraceRecord, moment: Moment, *, late: bool) -> JsonObject:
    sg, state = wire_value(record.glucose_mg_dl)
    return {
        "kind": "SG",
        "version": 1,
        "sg": sg,
        "sensorState": state,
        "timestamp": moment.pump_text(record.measured_at),
        "isBackfill": late,
    }


def wire_value(glucose_mg_dl: int) -> tuple[float, str]:
    """The number and the state: beyond the range only the state says which side."""
    if glucose_mg_dl < LOWEST:
        return 0, "SG_BELOW_40_MGDL"
    return (0, "SG_ABOVE_400_MGDL") if glucose_mg_dl > HIGHEST else (glucose_mg_dl, "NO_ERROR_MESSAGE")


def _spoil(rows: list[JsonObject], ask: Teller) -> None:
    """What faults make of the newest rows."""
    if not rows:
        return
    if added := ask.take(faults.CHANGED_VALUE):
        rows[-1]["sg"] = max(LOWEST, rows[-1]["sg"] + added)
    if side := ask.take(faults.BEYOND):
        rows[-1] |= {"sg": 0, "sensorState": "SG_BELOW_40_MGDL" if side == "low" else "SG_ABOVE_400_MGDL"}
    if state := ask.take(faults.ERROR_STATE):
        rows[-1]["sensorState"] = state
    if ask.take(faults.MMOL_VALUES):
        for row in rows:
            row["sg"] = round(row["sg"] / 18, 1)
    if none := ask.take(faults.NO_VALUES):
        for row in rows[max(len(rows) - none.rows, 0) :]:
            _empty(row, none)


def _empty(row: JsonObject, none: faults.NoValues) -> None:
    row |= {"sg": 0, "sensorState": none.state}
    if none.time == "absent":
        del row["timestamp"]
    elif none.time != "kept":
        row["timestamp"] = EPOCH_TEXT if none.time == "epoch" else ""


def _trend(rows: list[JsonObject]) -> str:
    """The word for the rate between the last two readings; NONE also where there is none."""
    if len(rows) < 2 or not rows[-1]["sg"] or not rows[-2]["sg"]:
        return "NONE"
    rate = (rows[-1]["sg"] - rows[-2]["sg"]) / 5
    for least, count in TRENDS:
        if abs(rate) >= least:
            return "_".join(filter(None, ("UP" if rate > 0 else "DOWN", count)))
    return "NONE"


def _times(patient: Patient, moment: Moment) -> JsonObject:
    sent, clocks = moment.uploaded_at, moment.clocks
    return {
        "currentServerTime": epoch_ms(moment.now),
        "lastConduitDateTime": written(sent, clocks.phone),
        "lastConduitUpdateServerDateTime": epoch_ms(sent),
        # The pump's wall clock, read as UTC.
        "medicalDeviceTime": epoch_ms(local(sent, clocks.pump)),
        "lastMedicalDeviceDataUpdateServerTime": epoch_ms(sent),
        "clientTimeZoneName": patient.zone_name,
    }


def _leave_out_clocks(told: JsonObject, ask: Teller) -> None:
    missing = ask.take(faults.CLOCKS_MISSING)
    if missing:
        del told["medicalDeviceTime"]
    if missing in ("both", "all"):
        del told["lastConduitDateTime"]
    if missing == "all":
        told["clientTimeZoneName"] = "Zona desconocida"


def _markers(moment: Moment, ask: Teller) -> list[JsonObject]:
    """A meal and its bolus; the change of the pump's clock; one of a type that a fault names."""
    at = moment.uploaded_at - timedelta(hours=3)
    meal = {"amount": 45.0}
    bolus = {"deliveredFastAmount": "3.5", "programmedFastAmount": "3.5", "activationType": "RECOMMENDED"}
    found = [_marker("MEAL", at, moment, meal), _marker("INSULIN", at, moment, bolus)]
    change = ask.take(faults.CLOCK_CHANGE)
    if change and change.marked and moment.clocks.changed_at is not None:
        found.append(_marker("TIME_CHANGE", moment.clocks.changed_at, moment, {}))
    if kind := ask.take(faults.MARKER):
        found.append(_marker(kind, at, moment, {}))
    return found


def _marker(kind: str, at: datetime, moment: Moment, values: JsonObject) -> JsonObject:
    text = moment.pump_text(at)
    return {
        "type": kind,
        "timestamp": text,
        "displayTime": text,
        "data": {"dataValues": values, "resourceValues": {}},
        "views": [],
    }


def _frame(patient: Patient, moment: Moment) -> JsonObject:
    """What else an answer holds."""
    frame: JsonObject = {
        "lastName": patient.last_name,
        "firstName": patient.first_name,
        "appModelType": "BLE_20_COMM" if patient.family == "NGP" else "SIMPLERA",
        "appModelNumber": "NA",
        "conduitSerialNumber": "SIMULATED-CONDUIT-0001",
        "conduitBatteryLevel": 94,
        "conduitBatteryStatus": "FULL",
        "medicalDeviceInformation": {
            "manufacturer": "Medtronic",
            "modelNumber": patient.model,
            "deviceSerialNumber": "NG0000000X",
        },
        "cgmInfo": {"sensorType": "DISPOSABLE", "sensorSerialNumber": "B000000000"},
        "calibStatus": "UNKNOWN",
        "sensorDurationMinutes": 3248,
        "timeToNextCalibHours": 255,
        "conduitInRange": True,
        "conduitMedicalDeviceInRange": True,
        "conduitSensorInRange": True,
        "systemStatusMessage": "NO_ERROR_MESSAGE",
        "sensorState": "NO_ERROR_MESSAGE",
        "gstCommunicationState": True,
        "pumpCommunicationState": patient.family == "NGP",
        "timeFormat": "HR_24",
        "sgBelowLimit": 50,
        "approvedForTreatment": False,
        "limits": [],
    }
    if patient.family == "NGP":
        pump = {"pumpBatteryLevelPercent": 75, "reservoirRemainingUnits": 126.5, "pumpSuspended": False}
        insulin = {"amount": 1.275, "datetime": moment.pump_text(moment.uploaded_at), "kind": "INSULIN", "version": 1}
        frame |= pump | {"activeInsulin": insulin}
    return frame
