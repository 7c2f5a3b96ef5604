"""The simulated discovery document and login configurations: which version gives which track; knows no accounts."""

from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from evercgm.providers.medtronic.simulator import faults
from evercgm.providers.medtronic.simulator.cloud import Cloud, cloud_of, json_response

# CareLink, probed 2026-10: which app version is answered how. Everything else is v2 without Auth0.
PLAIN_V2 = ("v2", False)
TRACKS = {
    "3.8": ("v13", True), "3.7": ("v13", True), "3.6": ("v13", True), "3.5": ("v11", True),
    "3.4": ("v11", False), "3.3": ("v11", False), "3.2": ("v11", False), "3.1": ("v6", False),
}  # fmt: skip
# Public identifiers, 32 characters; another one for each region.
CLIENT_IDS = {"EU": "SimulatedCareLinkClientEu0000001", "US": "SimulatedCareLinkClientUs0000001"}
AUDIENCES = {"EU": "carepartner.patient.ous", "US": "carepartner.patient.us"}
SCOPE = "profile openid offline_access"
REDIRECT_URI = "com.medtronic.carepartner:/sso"
LOGIN_PREFIX = "/login"
COUNTRIES = {"US": "US", "IT": "EU", "DE": "EU", "GB": "EU", "CA": "EU", "AU": "EU", "IN": "EU"}
ISO3 = {"US": "USA", "IT": "ITA", "DE": "DEU", "GB": "GBR", "CA": "CAN", "AU": "AUS", "IN": "IND"}
JsonObject = dict[str, Any]


async def discover(request: Request) -> Response:
    """`/connect/carepartner/{base}/discover/android/{version}`: only base v13 is there."""
    cloud = cloud_of(request)
    base = request.path_params["base"]
    if base == "v10":
        return Response(status_code=204)
    if base != "v13":
        return json_response({"message": "Missing Authentication Token"}, 401 if base == "v12" else 403)
    version = cloud.faults.take(faults.TRACK, "discover") or request.path_params["version"]
    own = _own_url(cloud, request, "discover")
    entries = [_entry(cloud, own, region, version) for region in ("US", "EU", "CLINICAL")]
    countries = [
        {country: {"region": region, "isoCode": country, "iso3Code": ISO3[country], "flag": ""}}
        for country, region in COUNTRIES.items()
    ]
    return json_response(
        {"config": f"android,{version}", "supportedCountries": countries, "CP": entries, "certificates": []}
    )


def _entry(cloud: Cloud, own: str, region: str, version: str) -> JsonObject:
    track, auth0 = TRACKS.get(version, PLAIN_V2)
    found: JsonObject = {"region": region}
    if auth0:
        configured = f"{own}/configs/v1/{'US' if region == 'CLINICAL' else region}"
        found["Layer7SSOConfiguration"] = f"{configured}/sso_cp_v6.json"
        found["Auth0SSOConfiguration"] = f"{configured}/carepartner_auth0.json"
        renamed = cloud.faults.take(faults.SSO_KEY_RENAMED, "discover")
        found["UseSSOConfiguration"] = "NextSSOConfiguration" if renamed else "Auth0SSOConfiguration"
    else:
        found["SSOConfiguration"] = f"{own}/configs/v1/{region}/sso_cp_v6.json"
    return found | {
        "baseUrlCareLink": f"{own}/api/carepartner/v2",
        "baseUrlCumulus": f"{own}/connect/carepartner/{track}",
        "baseUrlPde": f"{own}/connect/pde/v2",
        "baseUrlAem": "https://www.medtronic.com/content/dam/emc",
    }


async def sso(request: Request) -> Response:
    """The Auth0 configuration of a region. The login lives below a prefix of its own."""
    cloud, region = cloud_of(request), request.path_params["region"]
    if region not in CLIENT_IDS:
        return json_response({"message": "Missing Authentication Token"}, 403)
    own = urlsplit(_own_url(cloud, request, "sso"))
    return json_response(
        {
            "server": {
                "hostname": own.hostname,
                "port": own.port or (443 if own.scheme == "https" else 80),
                "prefix": (own.path + LOGIN_PREFIX).strip("/"),
            },
            "client": {
                "client_id": CLIENT_IDS[region],
                "scope": SCOPE,
                "audience": AUDIENCES[region],
                "redirect_uri": REDIRECT_URI,
            },
            "system_endpoints": {
                "authorization_endpoint_path": "/authorize",
                "token_endpoint_path": "/oauth/token",
                "token_revocation_endpoint_path": "/oauth/revoke",
                "usersession_logout_endpoint_path": "/oidc/logout",
            },
        }
    )


def _own_url(cloud: Cloud, request: Request, place: str) -> str:
    """As the caller reached us; or on another host."""
    moved = cloud.faults.take(faults.HOST_MOVED, place)
    host = moved or request.url.netloc
    return f"{request.url.scheme}://{host}{cloud.prefix}"
