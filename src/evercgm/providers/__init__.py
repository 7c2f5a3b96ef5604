"""The register of providers: one line a way in."""

from evercgm.provider_kit.contract import Provider
from evercgm.providers.dexcom import PROVIDER as DEXCOM

PROVIDERS: dict[str, Provider] = {DEXCOM.route: DEXCOM}
