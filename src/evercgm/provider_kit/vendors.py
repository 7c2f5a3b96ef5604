"""What a process needs to speak to vendors: one HTTP client, and our registration by route and region."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from evercgm.core.errors import BadInput
from evercgm.provider_kit.contract import Provider, VendorApp


@dataclass(frozen=True, slots=True)
class Vendors:
    """``providers`` by route; ``apps`` by (route, region), only where credentials are set."""

    http: httpx2.AsyncClient
    providers: Mapping[str, Provider]
    apps: Mapping[tuple[str, str], VendorApp]

    def app(self, route: str, region: str) -> VendorApp:
        """Our registration there. Raises BadInput(region) where none is configured."""
        found = self.apps.get((route, region))
        if found is None:
            offered = ", ".join(sorted(r for p, r in self.apps if p == route)) or "none"
            raise BadInput("region", f"this region is not offered here; offered: {offered}")
        return found
