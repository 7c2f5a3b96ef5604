"""Dexcom's official API in the shared suite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.applications import Starlette

from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Consent, Login, VendorApp
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.providers.dexcom import PROVIDER
from evercgm.providers.dexcom.simulator.app import PREFIX, create_app
from evercgm.providers.dexcom.simulator.quirks import TIME_TEXTS
from evercgm.providers.dexcom.simulator.state import Client

__all__ = ["PREFIX"]
REGION = "us"
ACCOUNT = "User7"
TRUTH = (f"/accounts/{ACCOUNT}/truth", "systemTime", "value")
SHOWN_AFTER = timedelta(0)
CALLBACK = "https://app.test/callback"
CLIENT = Client("client-1", "key-1", (CALLBACK,))
VERIFIER = "a-verifier-of-forty-three-characters-or-more"

TROUBLES = {
    "ended": [{"set": {"unauthorized": body}, "count": 1} for body in ("apigee", "empty")],
    "forbidden": [{"set": {"forbidden": True}}],
    "rate_limited": [{"set": {"rate_limited": "120"}}],
    "rate_limited_in_silence": [{"set": {"rate_limited": ""}}],
    "outage": [{"set": {"server_error": status}} for status in (500, 503)],
    "cut": [{"set": {"cut_body": how}} for how in ("dropped", "short")],
    "page": [{"set": {"html": True}}],
    "not_found": [{"set": {"client_error": 404}}],
    "unknown_words": [{"set": {"unknown_enums": True}}],
    "odd_times": [{"set": {"system_time_text": how}} for how in ("every", *TIME_TEXTS)]
    + [{"set": {"display_time_text": "every"}}],
    "future": [{"set": {"future_time": 48}}],
    "empty": [{"set": {"empty": True}}],
    "late": [{"set": {"late_batch": {"last_hours": 2, "in_hours": 3}}}],
    "wrong_credentials": [{"set": {}}],
    "sign_in_outage": [{"set": {"server_error": 503}, "path": "token"}],
    "sign_in_page": [{"set": {"html": True}, "path": "token"}],
    "renewal_outage": [
        {"set": {"server_error": 503}, "path": "token"},
        {"set": {"token_error": "html"}},
    ],
    "revoked": [
        {"set": {"consent_revoked": "at_once"}},
        {"set": {"consent_revoked": "lives_on"}},
        {"set": {"password_changed": True}},
    ],
}
CANNOT = {
    "odd_record": "the simulator spoils times, units and words of all records alike; single odd ones are fixtures",
    "locked": "a person signs in on the vendor's own page: we send no password that could lock an account",
}


def start(data_dir: Path, clock: Callable[[], datetime]) -> Starlette:
    return create_app(data_dir, clients=[CLIENT], clock=clock)


def vendor(url: str) -> VendorApp:
    return VendorApp(REGION, url, CLIENT.client_id, Secret(CLIENT.client_secret), CALLBACK)


async def sign_in(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    return await _with_code(http, vendor, await _consent(http, vendor))


async def sign_in_wrongly(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    return await _with_code(http, vendor, "US_a-code-that-was-never-given")


async def _consent(http: httpx2.AsyncClient, vendor: VendorApp) -> str:
    """What a person does on the vendor's page; the code that comes back."""
    assert isinstance(PROVIDER.login, Consent)
    page = urlsplit(PROVIDER.login.begin(vendor, Login("a-state", pkce_challenge(VERIFIER))))
    form = {**dict(parse_qsl(page.query)), "username": ACCOUNT, "decision": "approve"}
    back = await http.post(page._replace(query="").geturl(), data=form)
    return dict(parse_qsl(urlsplit(back.headers["location"]).query))["code"]


async def _with_code(http: httpx2.AsyncClient, vendor: VendorApp, code: str) -> Tokens:
    assert isinstance(PROVIDER.login, Consent)
    return await PROVIDER.login.finish(http, vendor, Secret(code), Secret(VERIFIER))
