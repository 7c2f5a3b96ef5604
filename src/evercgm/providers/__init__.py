"""The register of providers: one line a way in."""

from evercgm.provider_kit.contract import Provider
from evercgm.providers.dexcom import PROVIDER as DEXCOM
from evercgm.providers.dexcom_share import PROVIDER as DEXCOM_SHARE
from evercgm.providers.libre import PROVIDER as LIBRE

PROVIDERS: dict[str, Provider] = {
    DEXCOM.route: DEXCOM,
    DEXCOM_SHARE.route: DEXCOM_SHARE,
    LIBRE.route: LIBRE,
}
