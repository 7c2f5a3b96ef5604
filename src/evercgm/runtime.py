"""Wiring: settings into a database, the vendors that are configured and HTTP clients; built once, passed on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Provider, VendorApp
from evercgm.provider_kit.send import vendor_client
from evercgm.provider_kit.vendors import Vendors, open_vendors
from evercgm.providers import PROVIDERS
from evercgm.settings import Settings, require_key
from evercgm.storage.budgets import Budgets
from evercgm.storage.database import Database, open_database
from evercgm.storage.identity import SigningKeys, issuer_of, load_keys
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the doors need. ``keys`` is the identity of standalone mode, ``key_server`` the way to a project's."""

    settings: Settings
    db: Database
    vendors: Vendors
    keys: SigningKeys
    key_server: httpx2.AsyncClient


def make_vault(settings: Settings) -> Vault:
    """The key ring of the settings. Raises SettingsError where no key is set."""
    primary, *previous = require_key(settings)
    return Vault(primary, tuple(previous))


def vendor_apps(settings: Settings) -> dict[tuple[str, str], VendorApp]:
    """As whom we call, by route and region: with credentials of ours, or where the operator allows an unofficial way.

    Beside a simulator of a route the real vendor is not offered: what is meant for it would go there.
    """
    found: dict[tuple[str, str], VendorApp] = {}
    for route, provider in PROVIDERS.items():
        simulated = settings.vendor_base_urls.get(route, {})
        for region, place in provider.regions.items():
            app = _app(settings, provider, region, simulated.get(region) or place.base_url)
            allowed = provider.official or route in settings.unofficial
            if app is not None and (region in simulated if simulated else allowed):
                found[route, region] = app
    return found


def _app(settings: Settings, provider: Provider, region: str, base_url: str) -> VendorApp | None:
    """None where a registration is needed and there is none."""
    if not provider.official:
        return VendorApp(region, base_url, version=settings.app_versions.get(provider.route, ""))
    credentials = settings.dexcom.get(region)
    if credentials is None:
        return None
    return VendorApp(region, base_url, credentials.client_id, credentials.client_secret, settings.dexcom_redirect_uri)


def key_server_client(settings: Settings) -> httpx2.AsyncClient:
    """The HTTP client for the keys of the Supabase project: reaches its host alone; nobody where none is set."""
    return vendor_client([settings.supabase.url] if settings.supabase else [])


@asynccontextmanager
async def open_runtime(settings: Settings, database_url: Secret, *, connections: int = 10) -> AsyncIterator[Runtime]:
    """Open all of it. Raises SettingsError: no key, a database that cannot be used, rights beyond our own."""
    vault = make_vault(settings)
    await refuse_too_much(database_url.reveal())
    async with (
        open_database(database_url.reveal(), vault, largest=connections) as db,
        open_vendors(PROVIDERS, vendor_apps(settings), Budgets(db)) as vendors,
        key_server_client(settings) as key_server,
    ):
        yield Runtime(
            settings=settings,
            db=db,
            vendors=vendors,
            keys=await load_keys(db, issuer_of(settings.public_url)),
            key_server=key_server,
        )
