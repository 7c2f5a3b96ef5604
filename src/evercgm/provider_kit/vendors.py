"""What a process needs to speak to vendors: our registration by route and region, an HTTP client for each, counts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from evercgm.core.counts import Counts
from evercgm.core.errors import BadInput
from evercgm.core.limits import Place, sign_in_place
from evercgm.provider_kit.contract import Provider, VendorApp
from evercgm.provider_kit.metered import Ledger, Meter
from evercgm.provider_kit.send import vendor_client


@dataclass(frozen=True, slots=True)
class Vendors:
    """``providers`` by route; ``apps`` and ``clients`` by (route, region), only where credentials are set.

    ``counts``: what this process did at vendors and with what came from them.
    """

    providers: Mapping[str, Provider]
    apps: Mapping[tuple[str, str], VendorApp]
    clients: Mapping[tuple[str, str], httpx2.AsyncClient]
    counts: Counts = field(default_factory=Counts)

    def app(self, route: str, region: str) -> VendorApp:
        """Our registration there. Raises BadInput(region) where none is configured."""
        found = self.apps.get((route, region))
        if found is None:
            offered = ", ".join(sorted(r for p, r in self.apps if p == route)) or "none"
            raise BadInput("region", f"this region is not offered here; offered: {offered}")
        return found

    def offered(self, route: str) -> Provider:
        """A way in that this service offers somewhere. Raises BadInput(provider)."""
        if not any(offered == route for offered, _region in self.apps):
            raise BadInput("provider", "is not offered here; the operator decides which are")
        return self.providers[route]

    def client(self, route: str, region: str) -> httpx2.AsyncClient:
        """The HTTP client of this registration: it reaches the hosts of this region and no other, whoever asks."""
        return self.clients[route, region]


def meters_of(provider: Provider, place: Place, ledger: Ledger, counts: Counts) -> tuple[Meter, Meter | None]:
    """Of all calls at a place, and of its sign-ins where these may be banned by themselves."""
    calls = provider.calls
    meter = Meter(place, calls, ledger, counts)
    if calls is None or not calls.sign_in_waits:
        return meter, None
    # Each is counted once, with all other calls of the place.
    return meter, Meter(sign_in_place(place), None, ledger, Counts(), waits=calls.sign_in_waits)


@asynccontextmanager
async def open_vendors(
    providers: Mapping[str, Provider], apps: Mapping[tuple[str, str], VendorApp], ledger: Ledger | None = None
) -> AsyncIterator[Vendors]:
    """A client for each registration, with connections of its own: a cloud that hangs uses up nobody else's.

    Each call is counted in the ``ledger``, and made only while it may be; without one nobody counts.
    """
    counts = Counts()
    async with AsyncExitStack() as opened:
        clients = {}
        for where, app in apps.items():
            provider = providers[where[0]]
            meters = meters_of(provider, where, ledger, counts) if ledger else (None, None)
            clients[where] = await opened.enter_async_context(vendor_client(provider.hosts(app.base_url), *meters))
        yield Vendors(providers, apps, clients, counts)
