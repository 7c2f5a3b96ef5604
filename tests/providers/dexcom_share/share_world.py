"""A simulated Share on a socket, and our own way in to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
from real_cloud import between_two_readings, on_a_socket

from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Credentials, Password, VendorApp
from evercgm.provider_kit.send import vendor_client
from evercgm.providers.dexcom_share import PROVIDER
from evercgm.providers.dexcom_share.mapping import WINDOW_TOLERANCE
from evercgm.providers.dexcom_share.simulator.app import create_app
from evercgm.providers.dexcom_share.simulator.cloud import Cloud

DAY, ALMOST_A_DAY = timedelta(hours=24), timedelta(hours=23)
NAME, PASSWORD = "User7", "evercgm-demo-7"


@dataclass
class ShareWorld:
    """``http`` reaches this cloud and nothing else; its clock stands still at ``opened_at`` until it is moved."""

    opened_at: datetime
    cloud: Cloud
    vendor: VendorApp
    http: httpx2.AsyncClient

    async def sign_in(self, name: str = NAME, password: str = PASSWORD, *, keep: bool = True) -> Tokens:
        assert isinstance(PROVIDER.login, Password)
        return await PROVIDER.login.sign_in(self.http, self.vendor, Credentials(Secret(name), Secret(password), keep))

    @property
    def window(self) -> Window:
        """A little less than Share keeps: time goes on while a test runs."""
        return Window(self.opened_at - ALMOST_A_DAY, self.opened_at + DAY)

    @property
    def held(self) -> int:
        """How many readings the cloud has of the window, with the second before it that a read lets in."""
        start, end = self.window.start - WINDOW_TOLERANCE, self.opened_at + timedelta(microseconds=1)
        return sum(1 for _ in self.cloud.traces[NAME].records_between(start, end))

    async def read(self, tokens: Tokens) -> Batch:
        return await PROVIDER.read(self.http, self.vendor, tokens.access, self.window)

    def trouble(self, name: str, value: object, **limits: object) -> None:
        self.cloud.desk.set_fault(name, value, **limits)  # type: ignore[arg-type]

    def calls(self) -> dict[str, int]:
        """How often each call came."""
        return self.cloud.ledger.counts("calls")


@asynccontextmanager
async def open_share(
    data_dir: Path,
    region: str = "us",
    now: datetime | None = None,
    anchor: datetime | None = None,
    trace: Path | None = None,
) -> AsyncIterator[ShareWorld]:
    opened_at = now or between_two_readings()
    app = create_app(data_dir, clock=lambda: opened_at, anchor=anchor, trace=trace)
    async with on_a_socket(app) as url, vendor_client([url]) as http:
        yield ShareWorld(opened_at, app.state.cloud, VendorApp(region, f"{url}/dexcom_share"), http)
