"""Dexcom Share in the shared suite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
from starlette.applications import Starlette

from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.providers.dexcom_share import PROVIDER
from evercgm.providers.dexcom_share.simulator.app import PREFIX, create_app
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS

__all__ = ["PREFIX"]
REGION = "us"
WHO = ACCOUNTS[0]
TRUTH = (f"/accounts/{WHO.username}/truth", "systemTime", "value")
SHOWN_AFTER = timedelta(0)
READ, AUTHENTICATE, LOG_IN = (
    "ReadPublisherLatestGlucoseValues", "AuthenticatePublisherAccount", "LoginPublisherAccountById",
)  # fmt: skip

TROUBLES = {
    "ended": [
        {"set": {"session_ended": "not_found"}, "count": 1},
        {"set": {"session_ended": "not_valid"}, "count": 1},
        {"set": {"client_error": 401}, "path": READ, "count": 1},
    ],
    "forbidden": [{"set": {"client_error": 403}, "path": READ}],
    "rate_limited": [{"set": {"rate_limited": "120"}, "path": READ}],
    "rate_limited_in_silence": [{"set": {"rate_limited": ""}, "path": READ}],
    "outage": [{"set": {"server_error": 503}, "path": READ}, {"set": {"unknown_fault": 500}, "path": READ}],
    "cut": [{"set": {"cut_body": how}, "path": READ} for how in ("dropped", "short")],
    "page": [{"set": {"html": True}, "path": READ}],
    "not_found": [{"set": {"client_error": 404}, "path": READ}],
    "unknown_words": [{"set": {"trend_text": how}} for how in ("unknown", "misspelt", "spaced", "number")],
    "odd_times": [{"set": {"time_text": how}} for how in ("no_st", "no_times", "no_offset", "words")]
    + [{"set": {"form": "legacy"}}],
    "future": [{"set": {"future_time": 48}}],
    "odd_record": [{"set": {"odd_record": how}} for how in ("text", "null", "error_code")],
    "empty": [{"set": {"empty": True}}],
    "late": [{"set": {"late_batch": {"last_hours": 2, "in_hours": 3}}}],
    "wrong_credentials": [{"set": {}}, {"set": {"zero_uuid": "refusals"}}]
    + [{"set": {"refusal_code": code}} for code in ("SSO_InternalError", "SSO_AuthenticatePasswordInvalid")],
    "locked": [{"set": {}}, {"set": {"lock_after": 2}}],
    "sign_in_outage": [{"set": {"server_error": 503}, "path": place} for place in (AUTHENTICATE, LOG_IN)]
    + [{"set": {"sign_in_outage": True}}],
    "sign_in_page": [{"set": {"html": True}, "path": place} for place in (AUTHENTICATE, LOG_IN)],
    "renewal_outage": [{"set": {"server_error": 503}, "path": LOG_IN}, {"set": {"sign_in_outage": True}}],
    "revoked": [{"set": {"password_changed": "another"}}],
}
CANNOT: dict[str, str] = {}


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
