"""The simulated calls for accounts and readings: v2, v13, and the website's own."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.medtronic.simulator import faults, message
from evercgm.providers.medtronic.simulator.cloud import Account, Cloud, Patient, cloud_of, json_response

UNAUTHORIZED = {"message": "Unauthorized"}
NEVER_STARTED = {
    "sgs": [],
    "lastSG": {"kind": "SG", "version": 1, "sg": 0, "sensorState": "UNKNOWN"},
    "lastSGTrend": "NONE",
    "systemStatusMessage": "SENSOR_OFF",
}
METADATA = {"kind": "DisplayMessage", "version": 1, "typeCast": True, "iconResourceBundle": {}, "clientDateTime": None}
JsonObject = dict[str, Any]
AccountHandler = Callable[[Request, Cloud, Account], Awaitable[Response]]


def signed_in(handler: AccountHandler) -> Callable[[Request], Awaitable[Response]]:
    """Only with a living access token."""

    async def check_then_handle(request: Request) -> Response:
        cloud = cloud_of(request)
        grant = cloud.state.grant_of(bearer_of(request), cloud.clock())
        account = cloud.accounts.get(grant.username) if grant else None
        return await handler(request, cloud, account) if account else json_response(UNAUTHORIZED, 401)

    return check_then_handle


def bearer_of(request: Request) -> str:
    """The access token of a call; empty if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def me(_request: Request, cloud: Cloud, account: Account) -> Response:
    """Who signed in."""
    on = cloud.faults.take
    suspended, needs_consent = (
        on(faults.SUSPENDED, username=account.username),
        on(faults.NEEDS_CONSENT, username=account.username),
    )
    told: JsonObject = {
        "id": "10000001",
        "country": account.country,
        "language": "en",
        "firstName": "Fay",
        "lastName": "Follower",
        "accountId": 10000001,
        "username": account.username,
        "role": account.role,
        "loginDateUTC": cloud.clock().isoformat(timespec="milliseconds"),
        "cpRegistrationStatus": None,
        "accountSuspended": suspended,
        "needToReconsent": needs_consent is True,
        "mfaRequired": False,
        "mfaEnabled": False,
    }
    if on(faults.NO_USERNAME, username=account.username):
        del told["username"]
    return json_response(told)


async def patients(_request: Request, cloud: Cloud, account: Account) -> Response:
    """Whom the account follows."""
    status = "ACTIVE" if _may_follow(cloud, account) else "INACTIVE"
    return json_response([_link(cloud.patients[name], status) for name in account.follows])


def _link(patient: Patient, status: str) -> JsonObject:
    return {
        "firstName": patient.first_name,
        "lastName": patient.last_name,
        "status": status,
        "username": patient.username,
        "notificationsAllowed": True,
        "nickname": "",
        "lastDeviceFamily": "BLE_X" if patient.family == "NGP" else "SIMPLERA",
        "patientUsesConnect": True,
    }


async def display_message(request: Request, cloud: Cloud, account: Account) -> Response:
    """The readings, nested."""
    patient = await _asked_for(request, cloud, account)
    if patient is None:
        return Response(status_code=400)
    if empty := cloud.faults.take(faults.EMPTY, "message", account.username):
        return _empty(cloud, patient, account, empty)
    form = cloud.faults.take(faults.FORM, "message", account.username)
    told = message.build(cloud, patient, account.username, before_v11=form == "legacy")
    return json_response(told if form else {"metadata": METADATA, "patientData": told})


async def old_message(request: Request, cloud: Cloud, account: Account) -> Response:
    """The readings as the website's program asks for them: flat, the fields of before v11."""
    patient = await _asked_for(request, cloud, account)
    if patient is None:
        return Response(status_code=400)
    return json_response(message.build(cloud, patient, account.username, before_v11=True))


async def _asked_for(request: Request, cloud: Cloud, account: Account) -> Patient | None:
    """The patient of the body; None: not said, not followed, or not by this account."""
    try:
        asked = msgspec.json.decode(await request.body(), type=JsonObject)
    except msgspec.MsgspecError:
        return None
    if asked.get("username") != account.username:
        return None
    if cloud.faults.take(faults.NEEDS_APP_VERSION, "message", account.username) and "appVersion" not in asked:
        return None
    wanted = asked.get("patientId")
    if asked.get("role") == "patient" and not account.follows:
        return cloud.patients.get(account.username) if wanted in (None, account.username) else None
    if asked.get("role") != "carepartner" or wanted not in account.follows or not _may_follow(cloud, account):
        return None
    return cloud.patients[str(wanted)]


def _may_follow(cloud: Cloud, account: Account) -> bool:
    return not cloud.faults.take(faults.LINK_REMOVED, username=account.username)


def _empty(cloud: Cloud, patient: Patient, account: Account, form: str) -> Response:
    if form in ("no_content", "no_body"):
        return Response(status_code=204 if form == "no_content" else 200)
    if form == "no_sgs":
        built = message.build(cloud, patient, account.username)
        told: object = {name: value for name, value in built.items() if name not in ("sgs", "lastSG")}
    elif form == "never_started":
        told = {"medicalDeviceFamily": patient.family, **NEVER_STARTED}
    else:
        told = [] if form == "list" else None
    return json_response({"metadata": METADATA, "patientData": told})


async def web_profile(_request: Request, _cloud: Cloud, account: Account) -> Response:
    """The website's own."""
    return json_response({"username": account.username, "firstName": "Fay", "lastName": "Follower"})


async def web_monitor(_request: Request, cloud: Cloud, account: Account) -> Response:
    """Which device the newest data are of."""
    names = account.follows or (account.username,)
    return json_response({"deviceFamily": "BLE_X" if cloud.patients[names[0]].family == "NGP" else "SIMPLERA"})


async def web_follows(_request: Request, _cloud: Cloud, _account: Account) -> Response:
    """Whether care partners may follow at all; an older switch."""
    return json_response({"value": "true"})


async def web_uploads(_request: Request, _cloud: Cloud, _account: Account) -> Response:
    """By hand there were none."""
    return json_response({"recentUploads": []})


async def web_settings(request: Request, cloud: Cloud, account: Account) -> Response:
    """Of a country; names where the older data are."""
    own = f"{request.url.scheme}://{request.url.netloc}{cloud.prefix}"
    return json_response(
        {
            "name": account.country,
            "region": "US" if account.country == "US" else "EU",
            "bgUnits": "MG_DL",
            "timeFormat": "HR_24",
            "blePereodicDataEndpoint": f"{own}/connect/carepartner/v6/display/message",
            "cpMobileAppAvailable": True,
        }
    )
