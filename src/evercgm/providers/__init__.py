"""The register of providers: one line a way in."""

from evercgm.provider_kit.contract import Provider
from evercgm.providers.dexcom import PROVIDER as DEXCOM
from evercgm.providers.dexcom_share import PROVIDER as DEXCOM_SHARE
from evercgm.providers.libre import PROVIDER as LIBRE
from evercgm.providers.medtronic import PROVIDER as MEDTRONIC

PROVIDERS: dict[str, Provider] = {
    way.route: way
    for way in (
        DEXCOM,
        DEXCOM_SHARE,
        LIBRE,
        MEDTRONIC,
    )
}
