"""The clouds that are signed in at without a consent page of ours: LibreLinkUp, Share and CareLink, in this process."""

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from sync_world import Weather

from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Login, Paste, Pasted, VendorApp
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.providers.dexcom_share.simulator import app as share
from evercgm.providers.dexcom_share.simulator.cloud import ACCOUNTS as SHARE_ACCOUNTS
from evercgm.providers.libre.simulator import app as libre
from evercgm.providers.libre.simulator.people import DEMO_ACCOUNTS as LIBRE_ACCOUNTS
from evercgm.providers.medtronic import kept
from evercgm.providers.medtronic.simulator import app as carelink
from evercgm.providers.medtronic.simulator.cloud import ACCOUNTS as CARELINK_ACCOUNTS

LIBRE, SHARE, CARELINK = ("libre", "world"), ("dexcom_share", "us"), ("medtronic", "eu")
CARELINK_PASSWORD = "simulated"
THEIR_VERIFIER = Secret("another-tools-own-verifier-of-forty-three-characters")
assert isinstance(PROVIDERS["medtronic"].login, Paste)
CARELINK_LOGIN = PROVIDERS["medtronic"].login


@dataclass
class SignInClouds:
    """``vendors`` offers one region of each; the clouds are their simulators', with their faults."""

    vendors: Vendors
    libre: Any
    share: Any
    carelink: Any

    async def leave_page(self, url: str, username: str, password: str = CARELINK_PASSWORD) -> str:
        """Sign in on CareLink's page as a browser does; the address that the person copies."""
        page = urlsplit(url)
        form = {**dict(parse_qsl(page.query)), "username": username, "password": password}
        answer = await self.vendors.client(*CARELINK).post(
            page._replace(query="").geturl(), data={**form, "captcha": "ticked", "decision": "approve"}
        )
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    async def bundle(self, username: str = "follower.one", password: str = CARELINK_PASSWORD) -> str:
        """The tokens of a sign-in that another tool made, as it would keep them."""
        http, app = self.vendors.client(*CARELINK), self.vendors.app(*CARELINK)
        page = await CARELINK_LOGIN.begin(http, app, Login("their-state", pkce_challenge(THEIR_VERIFIER.reveal())))
        address = Secret(await self.leave_page(page, username, password))
        tokens = await CARELINK_LOGIN.finish(http, app, Pasted(address, Secret("their-state"), THEIR_VERIFIER))
        access, refresh = kept.opened(tokens.access, kept.Access), kept.opened(tokens.refresh, kept.Refresh)
        return json.dumps(
            {
                "access_token": access.token.reveal(),
                "refresh_token": refresh.token.reveal(),
                "client_id": refresh.client_id,
                "token_url": refresh.token_url,
            }
        )


@asynccontextmanager
async def open_clouds(
    folder: Path,
    *,
    libre_accounts: Sequence[Any] = LIBRE_ACCOUNTS,
    share_accounts: Sequence[Any] = SHARE_ACCOUNTS,
    carelink_accounts: Sequence[Any] = CARELINK_ACCOUNTS,
) -> AsyncIterator[SignInClouds]:
    """Each with the accounts that its simulator ships, or with these."""
    of_libre = libre.create_app(folder / "libre", accounts=libre_accounts)
    of_share = share.create_app(folder / "share", accounts=share_accounts)
    of_carelink = carelink.create_app(folder / "carelink", accounts=carelink_accounts)
    # What our side keeps of CareLink's documents in memory is of another test's host.
    host = f"http://{secrets.token_hex(6)}.test"
    apps = {
        LIBRE: VendorApp("world", f"{host}/libre"),
        SHARE: VendorApp("us", f"{host}/dexcom_share"),
        CARELINK: VendorApp("eu", f"{host}{carelink.PREFIX}"),
    }
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(Weather(of_libre))) as to_libre,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(Weather(of_share))) as to_share,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(Weather(of_carelink))) as to_carelink,
    ):
        clients = {LIBRE: to_libre, SHARE: to_share, CARELINK: to_carelink}
        clouds = of_libre.state.cloud, of_share.state.cloud, of_carelink.state.cloud
        yield SignInClouds(Vendors(PROVIDERS, apps, clients), *clouds)
    of_libre.state.cloud.state.ledger.close()
    of_share.state.cloud.ledger.close()
    of_carelink.state.cloud.state.ledger.close()
