"""LibreLinkUp's answers into our records; pure: no clock, no network. One bad record never fails its answer.

No documentation of it exists: what is said here of fields was read in recorded answers of 2022 to 2026.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Literal

import msgspec

from evercgm.core.errors import VendorChanged, VendorTryLater
from evercgm.core.reading import (
    ABOVE_RANGE_MG_DL,
    BELOW_RANGE_MG_DL,
    Batch,
    Flag,
    Reading,
    Rejected,
    Trend,
    epoch_ms,
)
from evercgm.provider_kit.send import read_json
from evercgm.providers.libre.times import LONGEST_TEXT, display_offset_min, parse_time

# The sensors measure 40 to 500, in the US and Canada to 400. How LO and HI are written was never seen.
LOWEST_MEASURED, HIGHEST_MEASURED = 40, 500
LOWEST_HIGH_LIMIT = 400
HIGHEST_PLAUSIBLE = 1000
# Twelve hours of one reading a minute are 720.
MOST_RECORDS = 20_000
MOST_FOLLOWED = 1000
FUTURE_ALLOWANCE = timedelta(minutes=10)
LATEST_ACTIVATION_S = 2**33
LONGEST_NAME = 80
# The arrows of the app, falling quickly to rising quickly; a rate is never said.
_TRENDS: dict[int, Trend] = {1: "singleDown", 2: "fortyFiveDown", 3: "flat", 4: "fortyFiveUp", 5: "singleUp"}
# "dtid" is the kind of the phone's app, and surer than "pt": a Libre 1 with that of a Libre 2 was seen.
_APPS = {40066: "libre1", 40067: "libre2", 40068: "libre3"}
_SENSORS = {0: "libre1", 3: "libre2", 4: "libre3"}
SCAN = 1
_BY_TIME = attrgetter("measured_at")
_VERSION = re.compile(r"[0-9.]{1,20}")
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

Series = Literal["history", "live"]
Reason = Literal["unreadable", "bad_time", "future_time", "no_value", "implausible_value"]
JsonObject = dict[str, object]


class _Wire(msgspec.Struct, frozen=True):
    """What every answer is wrapped in. The tokens beside the data are not read (docs/decisions/0008)."""

    status: object = None
    data: object = None
    error: object = None
    message: object = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """An answer: its own status, what it holds, and the vendor's word for what is wrong, without blanks and case."""

    status: int | None
    data: object
    word: str = ""

    @property
    def fields(self) -> JsonObject:
        """The data where they are an object; else empty."""
        return _object(self.data)

    def part(self, name: str) -> JsonObject:
        """An object among the data; empty where there is none."""
        return _object(self.fields.get(name))

    @property
    def sends_on(self) -> bool:
        """Whether the account lives on another of the vendor's hosts."""
        return self.fields.get("redirect") is True


@dataclass(frozen=True, slots=True)
class Followed:
    """Somebody whom the account follows: name to choose by, newest value's instant (aware UTC), sensor."""

    id: str
    label: str
    newest: datetime | None
    device_id: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Whom the account follows. ``entries``: how many the vendor lists, those included that cannot be read."""

    people: tuple[Followed, ...]
    entries: int


@dataclass(frozen=True, slots=True)
class _Sensor:
    """What the readings of an answer are said to come from. ``since``: none of it is older."""

    device_id: str | None = None
    serial_hash: bytes | None = None
    since: datetime | None = None


class _Measurement(msgspec.Struct, frozen=True, gc=False):
    """One reading. Every field is ``object``: what is of another type is left out, never the reading with it."""

    FactoryTimestamp: object = None
    Timestamp: object = None
    ValueInMgPerDl: object = None
    TrendArrow: object = None
    isHigh: object = None  # noqa: N815
    isLow: object = None  # noqa: N815


def read_envelope(body: bytes) -> Envelope:
    """Any answer of the vendor. Raises VendorTryLater where it is no JSON: so its outages look."""
    try:
        wire = read_json(body, _Wire)
    except VendorChanged:
        raise VendorTryLater("the vendor's cloud answered with something that is not its JSON") from None
    status = wire.status if isinstance(wire.status, int) and not isinstance(wire.status, bool) else None
    word = _object(wire.error).get("message") or wire.message
    return Envelope(status, wire.data, re.sub(r"\s", "", word).lower() if isinstance(word, str) else "")


def version_in(envelope: Envelope) -> str | None:
    """The least version of the app, where an answer names one that may be told."""
    version = envelope.fields.get("minimumVersion")
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else None


def read_graph(data: object, now: datetime, patient_id: str) -> Batch:
    """A "graph" answer: history of 12 hours as readings, the present value as a live one.

    ``now`` (aware UTC) judges records from the future. Raises VendorChanged for data that are none.
    """
    graph = _object(data)
    connection = _object(graph.get("connection"))
    if not connection and not graph.get("graphData"):
        raise VendorChanged("a graph without a connection and without values")
    sensor = _sensor_of(connection, graph.get("activeSensors"))
    latest = now + FUTURE_ALLOWANCE
    readings, rejected = _each("history", _list(graph.get("graphData")), sensor, latest)
    live, live_rejected = _each("live", _current(connection), sensor, latest)
    return Batch(readings, rejected + live_rejected, _id(connection.get("patientId")) or patient_id, live)


def read_logbook(data: object, now: datetime) -> Batch:
    """A "logbook" answer: its scans as live readings. Alarms are passed over, with a value or without.

    No data are an empty logbook. Raises VendorChanged for data that are no list.
    """
    if data is not None and not isinstance(data, list):
        raise VendorChanged("a logbook that is no list")
    scans = [entry for entry in _list(data) if _object(entry).get("type") == SCAN]
    live, rejected = _each("live", scans, _Sensor(), now + FUTURE_ALLOWANCE)
    return Batch((), rejected, None, live)


def no_logbook(now: datetime) -> Batch:
    """In place of a logbook that could not be had: another record each day (UTC), since each has but a few tries."""
    return Batch((), (Rejected(f"logbook:unread:{now:%Y-%m-%d}", "unreadable"),), None)


def joined(batch: Batch, logbook: Batch) -> Batch:
    """A graph with the scans of the logbook; of a scan that is also the present value the latter stands."""
    live = {reading.record_key: reading for reading in logbook.live + batch.live}
    in_order = sorted(live.values(), key=_BY_TIME)
    return replace(batch, rejected=batch.rejected + logbook.rejected, live=tuple(in_order))


def read_connections(data: object) -> Listing:
    """Whom the account follows; nobody is no error. Raises VendorChanged where none of it can be read."""
    if not isinstance(data, list) or len(data) > MOST_FOLLOWED:
        raise VendorChanged("a list of connections that is none")
    followed = tuple(one for entry in data if (one := _followed(_object(entry))) is not None)
    if data and not followed:
        raise VendorChanged("no connection of the list could be read")
    return Listing(followed, len(data))


def _followed(connection: JsonObject) -> Followed | None:
    id_ = _id(connection.get("patientId"))
    if id_ is None:
        return None
    names = (connection.get("firstName"), connection.get("lastName"))
    label = " ".join(name.strip() for name in names if isinstance(name, str))
    times = (parse_time(_object(value).get("FactoryTimestamp")) for value in _current(connection))
    newest = max((at for at in times if at is not None), default=None)
    shown = "".join(letter for letter in label.strip()[:LONGEST_NAME] if letter.isprintable())
    return Followed(id_, shown or "?", newest, _sensor_of(connection, None).device_id)


def _current(connection: JsonObject) -> list[object]:
    """The present value, which comes twice; none where the person has no reading yet."""
    value = connection.get("glucoseMeasurement") or connection.get("glucoseItem")
    return [value] if value else []


def _sensor_of(connection: JsonObject, active: object) -> _Sensor:
    """Nothing says which of several sensors a value comes from: then it is of none."""
    sensors = [_object(_object(entry).get("sensor")) for entry in _list(active)]
    sensors.append(_object(connection.get("sensor")))
    by_serial = {serial: sensor for sensor in sensors if (serial := _serial(sensor.get("sn"))) is not None}
    app = _object(connection.get("patientDevice")).get("dtid")
    kinds = {kind for sensor in by_serial.values() if (kind := _kind(_SENSORS, sensor.get("pt"))) is not None}
    device_id = _kind(_APPS, app) or (kinds.pop() if len(kinds) == 1 else None)
    if len(by_serial) != 1:
        return _Sensor(device_id)
    ((serial, sensor),) = by_serial.items()
    activated = _number(sensor.get("a"))
    if activated is None or not 0 < activated < LATEST_ACTIVATION_S:
        return _Sensor(device_id)
    return _Sensor(device_id, hashlib.sha256(serial.encode()).digest(), datetime.fromtimestamp(activated, UTC))


def _kind(kinds: dict[int, str], raw: object) -> str | None:
    number = _number(raw)
    return None if number is None else kinds.get(number)


def _each(
    series: Series, records: list[object], sensor: _Sensor, latest: datetime
) -> tuple[tuple[Reading, ...], tuple[Rejected, ...]]:
    """Readings by time, one a record key (the last one said), and what was refused."""
    readings: dict[str, Reading] = {}
    rejected: dict[str, Rejected] = {}
    for result in _results(series, records, sensor, latest):
        if isinstance(result, Reading):
            readings[result.record_key] = result
        else:
            rejected[result.record_key] = result
    return tuple(sorted(readings.values(), key=_BY_TIME)), tuple(rejected.values())


def _results(
    series: Series, records: Iterable[object], sensor: _Sensor, latest: datetime
) -> Iterator[Reading | Rejected]:
    for record in records:
        try:
            measurement = msgspec.convert(record, _Measurement)
        except msgspec.ValidationError:
            yield _rejected(series, "unreadable", record, None)
            continue
        result = _reading(series, measurement, sensor, latest)
        text = measurement.FactoryTimestamp
        yield _rejected(series, result, record, text) if isinstance(result, str) else result


def _reading(series: Series, record: _Measurement, sensor: _Sensor, latest: datetime) -> Reading | Reason:
    """The reading that a record is, or why it is none."""
    instant = parse_time(record.FactoryTimestamp)
    if instant is None:
        return "bad_time"
    if instant > latest:
        return "future_time"
    glucose = _glucose(record)
    if isinstance(glucose, str):
        return glucose
    is_of_sensor = sensor.since is not None and instant >= sensor.since
    return Reading(
        record_key=f"{series}:{epoch_ms(instant)}",
        measured_at=instant,
        glucose_mg_dl=glucose[0],
        flag=glucose[1],
        trend=_trend(record.TrendArrow),
        display_offset_min=display_offset_min(instant, record.Timestamp),
        transmitter_hash=sensor.serial_hash if is_of_sensor else None,
        device_id=sensor.device_id,
    )


def _glucose(record: _Measurement) -> tuple[int, Flag | None] | Reason:
    """mg/dL with its flag, or why there is none. "Value" is in the unit that the person sees, and never read.

    With a number a flag counts at a limit of the measuring range only. A true one was never recorded (a false one at
    278 mg/dL with the alarm at 250); one that some day means the person's own limits must not turn 180 mg/dL into
    "above range", nor 54 into "below": what the sensor can measure is exact, and stands.
    """
    raw = record.ValueInMgPerDl
    if isinstance(raw, bool) or (raw is not None and not isinstance(raw, int | float)):
        return "unreadable"
    if raw is None or raw == 0:
        return _by_flag_alone(record)
    if raw < 0:
        return "no_value"
    if raw > HIGHEST_PLAUSIBLE:
        return "implausible_value"
    mg_dl = math.floor(raw + 0.5)
    if mg_dl < LOWEST_MEASURED or (mg_dl == LOWEST_MEASURED and record.isLow is True):
        return BELOW_RANGE_MG_DL, "low"
    if mg_dl > HIGHEST_MEASURED or (mg_dl >= LOWEST_HIGH_LIMIT and record.isHigh is True):
        return ABOVE_RANGE_MG_DL, "high"
    return mg_dl, None


def _by_flag_alone(record: _Measurement) -> tuple[int, Flag] | Reason:
    """LO and HI may come without a number, and a severe low must not be lost. Both at once say nothing."""
    is_low, is_high = record.isLow is True, record.isHigh is True
    if is_low == is_high:
        return "no_value"
    return (BELOW_RANGE_MG_DL, "low") if is_low else (ABOVE_RANGE_MG_DL, "high")


def _trend(raw: object) -> Trend | None:
    """None where no arrow is said, as always in the history: that is not "stable"."""
    if raw is None:
        return None
    return _TRENDS.get(_number(raw) or 0, "unknown")


def _rejected(series: Series, reason: Reason, record: object, time_text: object) -> Rejected:
    """Its own content names it: the same record is kept aside once."""
    digest = hashlib.sha256(msgspec.json.encode(record)).hexdigest()[:32]
    is_time = isinstance(time_text, str) and 0 < len(time_text) <= LONGEST_TEXT and time_text.isprintable()
    return Rejected(f"{series}:unread:{digest}", reason, str(time_text) if is_time else None)


def _object(raw: object) -> JsonObject:
    return raw if isinstance(raw, dict) else {}


def _list(raw: object) -> list[object]:
    """Absent and null are empty lists here. Raises VendorChanged for more than an answer can hold."""
    if isinstance(raw, list) and len(raw) > MOST_RECORDS:
        raise VendorChanged("an answer with more records than it can hold")
    return raw if isinstance(raw, list) else []


def _number(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def _id(raw: object) -> str | None:
    """An id that may stand in a path."""
    return raw if isinstance(raw, str) and _ID.fullmatch(raw) else None


def _serial(raw: object) -> str | None:
    return raw if isinstance(raw, str) and raw and len(raw) <= LONGEST_NAME else None
