"""A simulated CareLink in this process, a person who signs in there with a browser, and our way in beside them."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
from real_cloud import between_two_readings

from evercgm.core.errors import ChooseFirst
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Login, Paste, Pasted, VendorApp
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.providers.medtronic import PROVIDER
from evercgm.providers.medtronic.simulator.app import PREFIX, create_app
from evercgm.simulator_kit.answers import ConnectionCut

VERIFIER = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
PASSWORD = "simulated"
assert isinstance(PROVIDER.login, Paste)
LOGIN = PROVIDER.login


def any_window() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(hours=1), now)


class _Wire(httpx2.ASGITransport):
    """A connection that is cut is one without an answer, as on a network."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except ConnectionCut:
            raise httpx2.ReadError("the connection was cut") from None


@dataclass
class CareLink:
    """The cloud on a host of its own, so that nothing kept in memory reaches another test.

    Its clock stands between two readings until it is moved: what is read and what was measured are of one moment.
    """

    data_dir: Path
    region: str = "eu"
    version: str = ""
    trace: Path | None = None
    http: httpx2.AsyncClient = field(init=False)
    app: VendorApp = field(init=False)

    def __post_init__(self) -> None:
        opened_at = between_two_readings()
        asgi = create_app(self.data_dir, trace=self.trace, clock=lambda: opened_at)
        self.cloud = asgi.state.cloud
        self.http = httpx2.AsyncClient(transport=_Wire(asgi))
        self.move()

    def move(self) -> None:
        """The same cloud under another name: what our side keeps of it in memory is not used."""
        self.app = VendorApp(self.region, f"http://{secrets.token_hex(6)}.test{PREFIX}", version=self.version)

    async def close(self) -> None:
        await self.http.aclose()
        self.cloud.state.ledger.close()

    async def begin(self, state: str = "state-1") -> str:
        return await LOGIN.begin(self.http, self.app, Login(state, pkce_challenge(VERIFIER.reveal())))

    async def sign_in(self, username: str, state: str = "state-1", **changes: str) -> str:
        """The address that the person copies."""
        url = urlsplit(await self.begin(state))
        form = {**dict(parse_qsl(url.query)), "username": username, "password": PASSWORD, "captcha": "ticked"}
        answer = await self.http.post(
            f"{url.scheme}://{url.netloc}{url.path}", data={**form, "decision": "approve", **changes}
        )
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    async def finish(self, text: str, state: str = "state-1") -> Tokens:
        fresh = await LOGIN.finish(self.http, self.app, Pasted(Secret(text), Secret(state), VERIFIER))
        return await LOGIN.settle(self.http, self.app, fresh)

    async def connect(self, username: str = "follower.one", who: str | None = None) -> Tokens:
        try:
            return await self.finish(await self.sign_in(username))
        except ChooseFirst as several:
            if who is None or several.unfinished is None:
                raise
            return LOGIN.choose(several.unfinished, who)

    async def refresh(self, tokens: Tokens) -> Tokens:
        return await PROVIDER.refresh(self.http, self.app, tokens.refresh)

    async def read(self, tokens: Tokens) -> Batch:
        return await PROVIDER.read(self.http, self.app, tokens.access, any_window())

    def truth(self, patient: str = "pat.alpha") -> dict[datetime, int]:
        """What the sensor measured within the last 24 hours."""
        now = self.cloud.clock()
        found = self.cloud.traces[patient].records_between(now - timedelta(hours=24), now + timedelta(microseconds=1))
        return {record.measured_at: min(max(record.glucose_mg_dl, 39), 401) for record in found}

    def calls(self, place: str) -> int:
        return int(self.cloud.state.ledger.counts("calls").get(place, 0))


def values(batch: Batch) -> dict[datetime, int]:
    return {reading.measured_at: reading.glucose_mg_dl for reading in batch.readings}
