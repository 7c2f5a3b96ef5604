"""The register of providers: one line a way in."""

from evercgm.provider_kit.contract import Provider
from evercgm.providers.dexcom import PROVIDER as DEXCOM
from evercgm.providers.libre import PROVIDER as LIBRE

PROVIDERS: dict[str, Provider] = {provider.route: provider for provider in (DEXCOM, LIBRE)}
