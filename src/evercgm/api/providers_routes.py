"""What can be connected here, and with what delay."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from evercgm.api.caller import Reading, Wired
from evercgm.provider_kit.contract import Consent, Password, Provider
from evercgm.runtime import Runtime

router = APIRouter(tags=["providers"])


class RegionOffer(BaseModel):
    """``delay_s``: the usual age of the newest reading; ``configured``: it can be connected here."""

    region: str
    title: str
    delay_s: int
    configured: bool


class ProviderOffer(BaseModel):
    """One way in; ``official`` is the vendor's own interface for apps.

    ``connect``: on the vendor's consent page, by user name and password, by pasting back what the vendor's page leads
    to, or by importing files. ``beside``: it joins the provider's connection. ``terms``: what the vendor says about it,
    where it is not official. ``keeps_s``: how far back the vendor gives readings, null for all there are. ``stored``:
    what we keep. ``on_change``: what happens when the vendor changes something.
    """

    route: str
    provider: str
    title: str
    official: bool
    connect: Literal["consent", "password", "paste", "import"]
    beside: bool
    terms: str | None
    poll_every_s: int | None
    keeps_s: int | None
    stored: str
    on_change: str
    regions: list[RegionOffer]


class Providers(BaseModel):
    """All ways in that this version knows."""

    providers: list[ProviderOffer]


STORED = {
    "consent": "The vendor’s tokens, sealed; the account’s id. Never a password.",
    "password": "The vendor’s session, sealed; the account’s id. The password only where you allow it, sealed.",
    "paste": "The vendor’s tokens, sealed; the names of the two accounts. Never a password.",
    "import": "The readings of the file, and hashes of the sensors’ numbers. Not the file, not the names in it.",
}
ON_CHANGE = {
    True: "The vendor announces changes of its interface; the operator is told of answers that cannot be read.",
    False: "The vendor may change or end this without notice. The operator is told, nothing stored is lost, and a file "
    "from the vendor fills the gap.",
}
ABBOTT = ProviderOffer(
    route="abbott",
    provider="abbott",
    title="LibreView file",
    official=True,
    connect="import",
    beside=False,
    terms="Abbott has no public interface for apps. Download your glucose data at libreview.com and import the file.",
    poll_every_s=None,
    keeps_s=None,
    stored=STORED["import"],
    on_change="A file of a form that is not known is refused whole, with the line and column.",
    regions=[],
)


@router.get("/providers")
async def list_providers(runtime: Wired, _caller: Reading) -> Providers:
    """What can be connected, how, with what delay, and what is configured here."""
    return Providers(providers=[*(_offer(runtime, item) for item in runtime.vendors.providers.values()), ABBOTT])


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
    connect: Literal["consent", "password", "paste"] = "consent"
    if not isinstance(provider.login, Consent):
        connect = "password" if isinstance(provider.login, Password) else "paste"
    return ProviderOffer(
        route=provider.route,
        provider=provider.provider,
        title=provider.title,
        official=provider.official,
        connect=connect,
        beside=provider.is_side_route,
        terms=provider.terms,
        poll_every_s=int(provider.poll_every.total_seconds()),
        keeps_s=int(provider.keeps.total_seconds()) if provider.keeps else None,
        stored=STORED[connect],
        on_change=ON_CHANGE[provider.official],
        regions=regions,
    )
