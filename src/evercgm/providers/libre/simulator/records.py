"""LibreLinkUp's answers as JSON values, in the shapes that were recorded; pure, no HTTP, no clock."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from evercgm.providers.libre.simulator.curve import WARM_UP, Live, Uploads
from evercgm.providers.libre.simulator.people import Account, Patient
from evercgm.providers.libre.simulator.state import Ticket

JsonObject = dict[str, object]

HISTORY, CURRENT, ALARM, ALARM_WITH_VALUE = 0, 1, 2, 3
MG_DL_OF_MMOL_L = 18.0182
# From this rate on (mg/dL per minute), mirrored below.
FAST, SLOW = 2.0, 1.0
TARGET_LOW, TARGET_HIGH = 70, 180
SENSOR_TYPES = {"libre2": 3, "libre3": 4}
APP_TYPES = {"libre2": 40067, "libre3": 40068}
WORN = timedelta(days=6)
LIMITS: dict[str, tuple[int | None, bool, bool]] = {
    "low_flag": (40, False, True), "low_limit": (40, False, False), "low_beyond": (39, False, False),
    "low_zero": (0, False, True), "low_null": (None, False, True),
    "high_flag": (500, True, False), "high_limit": (500, False, False), "high_beyond": (501, False, False),
    "high_zero": (0, True, False), "high_null": (None, True, False),
}  # fmt: skip
ALARM_RULES = {
    "c": True,
    "h": {"on": True, "th": 250, "thmm": 13.9, "d": 1440, "f": 0.1},
    "f": {"th": 55, "thmm": 3.0, "d": 30, "tl": 10, "tlmm": 0.6},
    "l": {"on": True, "th": 70, "thmm": 3.9, "d": 1440, "tl": 10, "tlmm": 0.6},
    "nd": {"i": 20, "r": 5, "l": 6},
    "p": 5,
    "r": 5,
    "std": {},
}


@dataclass(frozen=True, slots=True)
class Style:
    """How values of one person are written in one answer. ``arrow``: instead of the true one, "null" for none."""

    uom: int
    utc_offset_min: int
    ahead_from: datetime | None = None
    time_text: str | None = None
    arrow: str | None = None

    def wall(self, at: datetime) -> datetime:
        """What the person's clock showed."""
        ahead = self.ahead_from is not None and at >= self.ahead_from
        return at + timedelta(minutes=self.utc_offset_min + (60 if ahead else 0))


def usual_text(at: datetime) -> str:
    """Month first, 12 hours, no leading zeros."""
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'PM' if at.hour >= 12 else 'AM'}"


def time_text(kind: str | None, at: datetime) -> str | None:
    """The time written in this way."""
    half = "PM" if at.hour >= 12 else "AM"
    hour = at.hour % 12 or 12
    texts = {
        None: usual_text(at),
        "no_seconds": f"{at.month}/{at.day}/{at.year} {hour}:{at:%M} {half}",
        "leading_zeros": f"{at:%m/%d/%Y} {hour:02}:{at:%M:%S} {half}",
        "lower_case": usual_text(at).lower(),
        "narrow_blank": f"{at.month}/{at.day}/{at.year} {hour}:{at:%M:%S}\u202f{half}",
        "hours_24": f"{at.month}/{at.day}/{at.year} {at:%H:%M:%S}",
        "iso": f"{at:%Y-%m-%dT%H:%M:%S}",
        "day_first": f"{at.day}/{at.month}/{at.year} {hour}:{at:%M:%S} {half}",
        "zero": "1/1/0001 12:00:00 AM",
        "empty": "",
        "null": None,
    }
    return texts[kind]


def measurement(style: Style, at: datetime, mg_dl: int, kind: int) -> JsonObject:
    """One reading, without an arrow."""
    record: JsonObject = {
        "FactoryTimestamp": time_text(style.time_text if style.time_text != "absent" else None, at.astimezone(UTC)),
        "Timestamp": usual_text(style.wall(at.astimezone(UTC))),
        "type": kind,
        **_value(style, mg_dl),
        "isHigh": False,
        "isLow": False,
    }
    if style.time_text == "absent":
        del record["FactoryTimestamp"]
    return record


def with_arrow(style: Style, value: Live, kind: int = CURRENT) -> JsonObject:
    """A value as it was shown, with its arrow."""
    record = measurement(style, value.measured_at, value.glucose_mg_dl, kind)
    arrow: object = arrow_of(value.rate)
    if style.arrow is not None:
        arrow = None if style.arrow == "null" else int(style.arrow)
    return record | {"TrendArrow": arrow, "TrendMessage": None}


def put_out_of_range(style: Style, record: JsonObject, how: str) -> JsonObject:
    """The same record, LO or HI."""
    mg_dl, is_high, is_low = LIMITS[how]
    return record | _value(style, mg_dl) | {"isHigh": is_high, "isLow": is_low}


def alarms(style: Style, value: Live) -> list[JsonObject]:
    """An alarm with a value and one without."""
    with_value = with_arrow(style, value, ALARM_WITH_VALUE) | {"alarmType": 1}
    times: JsonObject = {name: with_value[name] for name in ("FactoryTimestamp", "Timestamp") if name in with_value}
    return [with_value, {**times, "type": ALARM, "alarmType": 2}]


def arrow_of(rate: float) -> int:
    """1 falling quickly to 5 rising quickly."""
    steepness = 2 if abs(rate) > FAST else 1 if abs(rate) >= SLOW else 0
    return 3 + steepness if rate > 0 else 3 - steepness


def connection(
    patient: Patient, style: Style, uploads: Uploads, current: JsonObject | None, *, reinvited: bool = False
) -> JsonObject:
    """A followed person with the present value."""
    worn = None if current is None else sensor(patient, uploads)
    return {
        "id": str(uuid5(NAMESPACE_URL, f"{patient.patient_id}/{reinvited}")),
        "patientId": patient.patient_id,
        "country": patient.country,
        "status": 2,
        "firstName": patient.first_name,
        "lastName": patient.last_name,
        "targetLow": TARGET_LOW,
        "targetHigh": TARGET_HIGH,
        "uom": style.uom,
        "sensor": worn,
        "alarmRules": ALARM_RULES,
        "glucoseMeasurement": current,
        "glucoseItem": current,
        "glucoseAlarm": None,
        "patientDevice": device(patient, uploads),
        "created": _whole_day_s(uploads.now - timedelta(days=90)),
    }


def sensor(patient: Patient, uploads: Uploads, device_id: str = "") -> JsonObject:
    """The sensor that is worn now."""
    serial, activated_s = patient.serial, _whole_day_s((uploads.changed_at or uploads.now) - WORN)
    if uploads.has_changed and uploads.changed_at is not None:
        serial, activated_s = f"{patient.serial[:-2]}2{patient.serial[-1]}", int(uploads.changed_at.timestamp())
    return {
        "deviceId": device_id,
        "sn": serial,
        "a": activated_s,
        "w": int(WARM_UP.total_seconds() // 60),
        "pt": SENSOR_TYPES[patient.sensor],
        "s": False,
        "lj": False,
    }


def active_sensors(patient: Patient, uploads: Uploads) -> list[JsonObject]:
    """Sensor and phone."""
    phone = device(patient, uploads)
    return [{"sensor": sensor(patient, uploads, str(phone["did"])), "device": phone}]


def device(patient: Patient, uploads: Uploads) -> JsonObject:
    """The phone with its limits of alarms."""
    return {
        "did": str(uuid5(NAMESPACE_URL, f"{patient.patient_id}/phone")),
        "dtid": APP_TYPES[patient.sensor],
        "v": "3.6.0.9000",
        "l": True,
        "ll": 65,
        "h": True,
        "hl": 250,
        "u": _whole_day_s(uploads.now - timedelta(days=30)),
        "fixedLowAlarmValues": {"mgdl": 60, "mmoll": 3.3},
        "alarms": False,
        "fixedLowThreshold": 0,
    }


def ticket_of(ticket: Ticket, now: datetime) -> JsonObject:
    """Seconds and milliseconds, as the vendor mixes them."""
    life = ticket.expires_at - now
    return {
        "token": ticket.token,
        "expires": int(ticket.expires_at.timestamp()),
        "duration": round(life.total_seconds()) * 1000,
    }


def logged_in(account: Account, ticket: Ticket, now: datetime) -> JsonObject:
    """The good answer to a sign-in."""
    at = int(now.timestamp())
    user: JsonObject = {
        "id": account.user_id,
        "firstName": "Test",
        "lastName": "Follower",
        "email": account.username,
        "country": "DE",
        "uiLanguage": "de-DE",
        "communicationLanguage": "de-DE",
        "accountType": "pat",
        "uom": "1",
        "dateFormat": "2",
        "timeFormat": "2",
        "emailDay": [1],
        "system": {"messages": {"firstUsePhoenix": at, "lluOnboarding": at, "lvWebPostRelease": "3.20.10"}},
        "details": {},
        "twoFactor": dict.fromkeys(("primaryMethod", "primaryValue", "secondaryMethod", "secondaryValue"), ""),
        "created": at,
        "lastLogin": at,
        "programs": {},
        "dateOfBirth": 315532800,
        "practices": {},
        "devices": {},
        "consents": {"llu": {"policyAccept": at, "touAccept": at}},
    }
    return {
        "user": user,
        "messages": {"unread": 0},
        "notifications": {"unresolved": 0},
        "authTicket": ticket_of(ticket, now),
        "invitations": None,
        "trustedDeviceToken": "",
    }


def step(kind: str, ticket: Ticket, now: datetime) -> JsonObject:
    """What the vendor wants before it lets this account in."""
    titles = {"tou": "Common.termsOfUse", "pp": "Common.privacyPolicy"}
    if kind in titles:
        component, props = "AcceptDocument", {"reaccept": True, "titleKey": titles[kind], "type": kind}
    elif kind == "verifyEmail":
        component, props = "VerifyEmail", {"email": ticket.username}
    elif kind == "2faVerify":
        component, props = "VerifyTwoFactor", {"primaryValue": "f***@example.com"}
    else:
        component, props = "SomethingNew", {}
    return {
        "step": {"type": kind, "componentName": component, "props": props},
        "user": {"accountType": "pat", "country": "DE", "uiLanguage": "de-DE"},
        "authTicket": ticket_of(ticket, now),
    }


def _whole_day_s(at: datetime) -> int:
    """Seconds since 1970 of the day's begin: two answers of a day are alike."""
    return int(at.timestamp()) // 86_400 * 86_400


def _value(style: Style, mg_dl: int | None) -> JsonObject:
    if mg_dl is None:
        return {"ValueInMgPerDl": None, "MeasurementColor": 2, "GlucoseUnits": style.uom, "Value": None}
    colour = 1 if TARGET_LOW <= mg_dl <= TARGET_HIGH else 2
    shown: float = mg_dl if style.uom == 1 else round(mg_dl / MG_DL_OF_MMOL_L, 1)
    return {"ValueInMgPerDl": mg_dl, "MeasurementColor": colour, "GlucoseUnits": style.uom, "Value": shown}
