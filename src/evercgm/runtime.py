"""Wiring: settings into a database, the vendors that are configured and HTTP clients; built once, passed on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import VendorApp
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
    """Our registrations, by route and region: only where credentials are set."""
    provider = PROVIDERS["dexcom"]
    base_urls = settings.vendor_base_urls.get(provider.route, {})
    simulated_only = bool(base_urls)
    return {
        (provider.route, region): VendorApp(
            region=region,
            base_url=base_urls.get(region, provider.regions[region].base_url),
            client_id=credentials.client_id,
            client_secret=credentials.client_secret,
            redirect_uri=settings.dexcom_redirect_uri,
        )
        for region, credentials in settings.dexcom.items()
        # Beside simulators no region of the real vendor is offered: its credentials would go there.
        if not simulated_only or region in base_urls
    }


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
