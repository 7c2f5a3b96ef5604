"""What a process needs to speak to vendors: our registration by route and region, and an HTTP client for each."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx2

from evercgm.core.errors import BadInput
from evercgm.provider_kit.contract import Provider, VendorApp
from evercgm.provider_kit.send import vendor_client


@dataclass(frozen=True, slots=True)
class Vendors:
    """``providers`` by route; ``apps`` and ``clients`` by (route, region), only where credentials are set."""

    providers: Mapping[str, Provider]
    apps: Mapping[tuple[str, str], VendorApp]
    clients: Mapping[tuple[str, str], httpx2.AsyncClient]

    def app(self, route: str, region: str) -> VendorApp:
        """Our registration there. Raises BadInput(region) where none is configured."""
        found = self.apps.get((route, region))
        if found is None:
            offered = ", ".join(sorted(r for p, r in self.apps if p == route)) or "none"
            raise BadInput("region", f"this region is not offered here; offered: {offered}")
        return found

    def client(self, route: str, region: str) -> httpx2.AsyncClient:
        """The HTTP client of this registration: it reaches the host of this region and no other, whoever asks."""
        return self.clients[route, region]


@asynccontextmanager
async def open_vendors(
    providers: Mapping[str, Provider], apps: Mapping[tuple[str, str], VendorApp]
) -> AsyncIterator[Vendors]:
    """A client for each registration, with connections of its own: a cloud that hangs uses up nobody else's."""
    async with AsyncExitStack() as opened:
        clients = {
            where: await opened.enter_async_context(vendor_client([app.base_url])) for where, app in apps.items()
        }
        yield Vendors(providers, apps, clients)
