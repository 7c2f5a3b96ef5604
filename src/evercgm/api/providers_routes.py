"""What can be connected here, and with what delay."""

from fastapi import APIRouter
from pydantic import BaseModel

from evercgm.api.caller import Reading, Wired
from evercgm.provider_kit.contract import Provider
from evercgm.runtime import Runtime

router = APIRouter(tags=["providers"])


class RegionOffer(BaseModel):
    """``delay_s``: the usual age of the newest reading; ``configured``: it can be connected here."""

    region: str
    title: str
    delay_s: int
    configured: bool


class ProviderOffer(BaseModel):
    """One way in; ``official`` is the vendor's own interface for apps."""

    route: str
    provider: str
    title: str
    official: bool
    poll_every_s: int
    regions: list[RegionOffer]


class Providers(BaseModel):
    """All ways in that this version knows."""

    providers: list[ProviderOffer]


@router.get("/providers")
async def list_providers(runtime: Wired, _caller: Reading) -> Providers:
    """What can be connected, how, with what delay, and what is configured here."""
    return Providers(providers=[_offer(runtime, item) for item in runtime.vendors.providers.values()])


def _offer(runtime: Runtime, provider: Provider) -> ProviderOffer:
    regions = [
        RegionOffer(
            region=name,
            title=region.title,
            delay_s=int(region.delay.total_seconds()),
            configured=(provider.route, name) in runtime.vendors.apps,
        )
        for name, region in provider.regions.items()
    ]
    return ProviderOffer(
        route=provider.route,
        provider=provider.provider,
        title=provider.title,
        official=provider.official,
        poll_every_s=int(provider.poll_every.total_seconds()),
        regions=regions,
    )
