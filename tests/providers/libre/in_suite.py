"""LibreLinkUp in the shared suite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
from starlette.applications import Starlette

from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.providers.libre import PROVIDER
from evercgm.providers.libre.simulator.app import PREFIX, create_app
from evercgm.providers.libre.simulator.faults import TimeText
from evercgm.providers.libre.simulator.people import ALEX, DEMO_ACCOUNTS

__all__ = ["PREFIX"]
REGION = "world"
WHO = DEMO_ACCOUNTS[0]
TRUTH = (f"/patients/{ALEX.patient_id}/truth", "at", "value")
# History lags behind the live value.
SHOWN_AFTER = timedelta(minutes=20)

TROUBLES = {
    "ended": [{"set": {"token_refused": how}, "count": 1} for how in ("jwt", "session", "user")],
    "forbidden": [{"set": {"client_error": 403}, "path": "graph"}, {"set": {"cloudflare": 403}, "path": "graph"}],
    "rate_limited": [{"set": {"rate_limited": "120"}, "path": "graph"}],
    "rate_limited_in_silence": [
        {"set": {"rate_limited": ""}, "path": "graph"},
        {"set": {"cloudflare": 429}, "path": "graph"},
    ],
    "outage": [{"set": {"server_error": 503}, "path": "graph"}, {"set": {"maintenance": True}, "path": "graph"}],
    "cut": [{"set": {"cut_body": how}, "path": "graph"} for how in ("dropped", "short")],
    "page": [{"set": {"html": True}}],
    "not_found": [{"set": {"client_error": 404}}],
    "unknown_words": [{"set": {"arrow": arrow}} for arrow in ("0", "6", "null")],
    "odd_times": [{"set": {"time_text": how}} for how in TimeText.__args__],  # type: ignore[attr-defined]
    "future": [{"set": {"future_time": 48}}],
    "empty": [{"set": {"upload_delay_min": minutes}} for minutes in (7_200, 60_000)],
    "late": [{"set": {"phone_offline": {"last_hours": 2, "in_hours": 3}}}],
    "wrong_credentials": [{"set": {}}, {"set": {"wrong_password_word": "incorrect username/password"}}],
    "locked": [{"set": {"lock_rule": {"failures": 3}}}, {"set": {"locked": True}}],
    "sign_in_outage": [{"set": {"server_error": 503}, "path": "login"}],
    "sign_in_page": [{"set": {"html": True}, "path": "login"}],
    "renewal_outage": [{"set": {"server_error": 503}, "path": "login"}],
    "revoked": [
        {"set": {"unfollowed": word}}
        for word in ("couldNotLoadPatient", "followerNotConnectToPatient", "follower not connect to patient")
    ],
}
CANNOT = {
    "odd_record": "the simulator writes all values alike, as recordings show them; single odd ones are fixtures",
}


def start(data_dir: Path, clock: Callable[[], datetime]) -> Starlette:
    return create_app(data_dir, clock=clock)


def vendor(url: str) -> VendorApp:
    return VendorApp(REGION, url)


async def sign_in(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    return await _with_password(http, vendor, WHO.password)


async def sign_in_wrongly(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    return await _with_password(http, vendor, "not this one")


async def _with_password(http: httpx2.AsyncClient, vendor: VendorApp, password: str) -> Tokens:
    assert isinstance(PROVIDER.login, Password)
    return await PROVIDER.login.sign_in(http, vendor, Credentials(Secret(WHO.username), Secret(password), keep=True))
