"""What the shared suite needs of each way in, and a world of one: its simulated cloud on a socket, its own record."""

import importlib.util
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import httpx2
import pytest
from real_cloud import between_two_readings, on_a_socket
from starlette.applications import Starlette

from evercgm.core.errors import EvercgmError
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Tokens
from evercgm.provider_kit.contract import Provider, VendorApp
from evercgm.provider_kit.send import vendor_client
from evercgm.providers import PROVIDERS

HERE = Path(__file__).parent
# An order to the control path: faults by name, and for which calls.
Order = Mapping[str, object]

# Each way in says how its simulated cloud is brought to it, or why its vendor cannot have it.
TROUBLES: dict[str, str] = {
    "ended": "a data call is refused once as if the access token had ended",
    "forbidden": "data calls are refused with 403, whatever the token",
    "rate_limited": "data calls are answered 429 with Retry-After 120",
    "rate_limited_in_silence": "data calls are answered 429 without Retry-After",
    "outage": "data calls are answered 503 with a page",
    "cut": "the connection is cut in the middle of a data answer",
    "page": "data calls are answered 200 with HTML",
    "not_found": "data calls are answered 404",
    "unknown_words": "arrows, states, devices that no documentation knows",
    "odd_times": "times written in every odd way that was seen",
    "future": "the newest record is dated two days ahead",
    "odd_record": "one record cannot be read, the others can",
    "empty": "there is nothing in the answer",
    "late": "the last two hours are uploaded three hours from now and not before",
    "wrong_credentials": "the sign-in is refused for what the person gave",
    "locked": "the vendor takes no sign-in of this account for a while",
    "sign_in_outage": "sign-in calls are answered 503 with a page",
    "sign_in_page": "sign-in calls are answered 200 with HTML",
    "renewal_outage": "refresh calls are answered 503 with a page",
    "revoked": "the person has ended our access at the vendor",
}


class Adapter(Protocol):
    """The file ``tests/providers/<route>/in_suite.py``.

    REGION: of the record. PREFIX: where the simulator stands on its server. TRUTH: where its control path tells what
    was measured, and the names of instant and value there. SHOWN_AFTER: at most so long after that it is among the
    readings (a live value may come before). TROUBLES: orders to the control path by name; several where one name has
    several forms. CANNOT: the rest, with the reason.
    """

    REGION: str
    PREFIX: str
    TRUTH: tuple[str, str, str]
    SHOWN_AFTER: timedelta
    TROUBLES: Mapping[str, Sequence[Order]]
    CANNOT: Mapping[str, str]

    def start(self, data_dir: Path, clock: Callable[[], datetime]) -> Starlette:
        """The simulated cloud."""

    def vendor(self, url: str) -> VendorApp:
        """Our registration there; ``url`` ends with the prefix."""

    async def sign_in(self, http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
        """As the first account, as a person would, through the record's own functions."""

    async def sign_in_wrongly(self, http: httpx2.AsyncClient, vendor: VendorApp) -> Tokens:
        """With what the vendor refuses; raises what the record's functions raise."""


@dataclass
class World:
    """One way in and its cloud, whose clock stands still at ``opened_at`` until it is moved."""

    route: str
    opened_at: datetime
    adapter: Adapter
    vendor: VendorApp
    http: httpx2.AsyncClient
    control: httpx2.AsyncClient

    @property
    def provider(self) -> Provider:
        return PROVIDERS[self.route]

    @property
    def window(self) -> Window:
        """A little less than the shortest memory of a vendor, and beyond each clock that a test moves."""
        return Window(self.opened_at - timedelta(hours=11), self.opened_at + timedelta(hours=40))

    async def sign_in(self) -> Tokens:
        return await self.adapter.sign_in(self.http, self.vendor)

    async def refresh(self, tokens: Tokens) -> Tokens:
        return await self.provider.refresh(self.http, self.vendor, tokens.refresh)

    async def read(self, tokens: Tokens, window: Window | None = None) -> Batch:
        return await self.provider.read(self.http, self.vendor, tokens.access, window or self.window)

    async def bring(self, order: Order) -> None:
        answer = await self.control.post("/faults", json=dict(order))
        assert answer.status_code == 200, answer.text

    async def clear(self) -> None:
        assert (await self.control.post("/faults", json={})).status_code == 200

    async def move(self, by: timedelta) -> None:
        answer = await self.control.post("/clock", json={"advance_s": by.total_seconds()})
        assert answer.status_code == 200, answer.text

    async def calls(self) -> Counter[str]:
        """How many the vendor has had, by place."""
        return Counter((await self.control.get("/stats")).json()["calls"])

    async def truth(self) -> dict[datetime, int]:
        """What the sensor has measured up to now, by whole seconds, with its placeholders for out of range."""
        path, instant, value = self.adapter.TRUTH
        rows = (await self.control.get(path)).json()
        return {_whole_seconds(row[instant]): min(max(row[value], 39), 401) for row in rows}


def _whole_seconds(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)


def values_of(batch: Batch) -> dict[datetime, int]:
    return {one.measured_at.replace(microsecond=0): one.glucose_mg_dl for one in batch.readings}


def keys_of(batch: Batch) -> set[str]:
    return {reading.record_key for reading in batch.readings}


def adapter_of(route: str) -> Adapter:
    """The adapter of a way in; its absence is a failure."""
    file = HERE / route / "in_suite.py"
    assert file.is_file(), f"a way in without {file.relative_to(HERE.parent)}: see docs/adding-a-provider.md"
    name = f"in_suite_of_{route}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return cast(Adapter, sys.modules[name])


def with_trouble(*names: str) -> list[Any]:
    """(route, order) of each form of these troubles, for every way in that can have them."""
    return [
        pytest.param(route, order, id=f"{route}-{name}" + (f"-{n + 1}" if len(orders) > 1 else ""))
        for route in PROVIDERS
        for name in names
        for orders in [adapter_of(route).TROUBLES.get(name, ())]
        for n, order in enumerate(orders)
    ]


@asynccontextmanager
async def open_world(route: str, data_dir: Path) -> AsyncIterator[World]:
    adapter, opened_at = adapter_of(route), between_two_readings()
    app = adapter.start(data_dir, lambda: opened_at)
    async with on_a_socket(app) as url:
        vendor = adapter.vendor(url + adapter.PREFIX)
        hosts = PROVIDERS[route].hosts(vendor.base_url)
        async with (
            vendor_client(hosts) as http,
            httpx2.AsyncClient(base_url=f"{url}{adapter.PREFIX}/control", timeout=30, verify=False) as control,
        ):
            yield World(route, opened_at, adapter, vendor, http, control)


async def refused(call: Awaitable[object], *kinds: type[EvercgmError]) -> EvercgmError:
    """The error that a call must end in: one of these kinds itself, and none of its special cases."""
    with pytest.raises(kinds) as caught:
        await call
    assert type(caught.value) in kinds, f"{caught.value!r} is more special than {kinds}"
    return caught.value
