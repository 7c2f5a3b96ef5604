"""The register of providers: one line a way in."""

from evercgm.provider_kit.contract import Provider
from evercgm.providers.dexcom import PROVIDER as DEXCOM
from evercgm.providers.medtronic import PROVIDER as MEDTRONIC

PROVIDERS: dict[str, Provider] = {DEXCOM.route: DEXCOM, MEDTRONIC.route: MEDTRONIC}
