"""Medtronic's CareLink in the shared suite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.applications import Starlette

from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Login, Paste, Pasted, VendorApp
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.providers.medtronic import PROVIDER
from evercgm.providers.medtronic.simulator.app import PREFIX, create_app
from evercgm.providers.medtronic.simulator.cloud import ACCOUNTS
from evercgm.providers.medtronic.simulator.faults import Empty, TimeText

__all__ = ["PREFIX"]
REGION = "eu"
WHO = ACCOUNTS[0]
TRUTH = (f"/patients/{WHO.follows[0]}/truth", "measured_at", "glucose_mg_dl")
SHOWN_AFTER = timedelta(0)
STATE, VERIFIER = "a-state", "a-verifier-of-forty-three-characters-or-more"

TROUBLES = {
    "ended": [{"set": {"unauthorized": True}, "path": "message", "count": 1}, {"set": {"tokens_ended": "access"}}],
    "forbidden": [{"set": {"forbidden": True}, "path": "message"}],
    "rate_limited": [{"set": {"rate_limited": "120"}, "path": "message"}],
    "rate_limited_in_silence": [{"set": {"rate_limited": ""}, "path": "message"}],
    "outage": [{"set": {"server_error": status}, "path": "message"} for status in (500, 504)],
    "cut": [{"set": {"gone": True}, "path": "message"}],
    "page": [{"set": {"html": 200}}],
    "not_found": [{"set": {"client_error": 404}}],
    "unknown_words": [{"set": {name: "SOMETHING_NEW"}} for name in ("trend", "marker", "family")],
    "odd_times": [{"set": {"time_text": how}} for how in TimeText.__args__],  # type: ignore[attr-defined]
    "odd_record": [
        {"set": {"no_values": {"rows": 1, "state": "WARM_UP", "time": time}}}
        for time in ("kept", "epoch", "empty", "absent")
    ],
    "empty": [{"set": {"empty": how}} for how in Empty.__args__],  # type: ignore[attr-defined]
    "late": [{"set": {"backfill": {"from_minutes": 120, "in_minutes": 180}}}],
    "wrong_credentials": [{"set": {}}],
    "sign_in_outage": [{"set": {"server_error": 503}, "path": "token"}],
    "sign_in_page": [{"set": {"html": 200}, "path": "token"}],
    "renewal_outage": [{"set": {"server_error": 503}, "path": "token"}],
    "revoked": [
        {"set": {"tokens_ended": "refresh"}},
        {"set": {"login_elsewhere": True}},
        {"set": {"token_error": "invalid_grant"}},
    ],
}
CANNOT = {
    "future": "the pump's own clock comes with the answer: one that is ahead is set right, so that no record is",
    "locked": "a person signs in on the vendor's own page: we send no password that could lock an account",
}


def start(data_dir: Path, clock: Callable[[], datetime]) -> Starlette:
    return create_app(data_dir, clock=clock)


def vendor(url: str) -> VendorApp:
    return VendorApp(REGION, url)


async def sign_in(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    """As a browser walks it; the address that it ends at is what the person copies."""
    assert isinstance(PROVIDER.login, Paste)
    page = urlsplit(await PROVIDER.login.begin(http, vendor, Login(STATE, pkce_challenge(VERIFIER))))
    form = {**dict(parse_qsl(page.query)), "username": WHO.username, "password": WHO.password, "captcha": "ticked"}
    back = await http.post(page._replace(query="").geturl(), data={**form, "decision": "approve"})
    return await _with_address(http, vendor, back.headers["location"])


async def sign_in_wrongly(http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
    """An address with a code that was never given."""
    redirect = "com.medtronic.carepartner:/sso"
    return await _with_address(http, vendor, f"{redirect}?code=never-given&state={STATE}")


async def _with_address(http: httpx2.AsyncClient, vendor: VendorApp, address: str) -> Tokens:
    assert isinstance(PROVIDER.login, Paste)
    fresh = await PROVIDER.login.finish(http, vendor, Pasted(Secret(address), Secret(STATE), Secret(VERIFIER)))
    return await PROVIDER.login.settle(http, vendor, fresh)
