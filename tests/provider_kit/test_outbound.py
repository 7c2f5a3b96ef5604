"""What leaves for the network goes to the host table, over verified TLS, and nowhere else; seen at real listeners."""

import json
import ssl
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from listener import listening
from ways_out import ways_out

from evercgm.core.errors import SettingsError, VendorChanged, VendorTryLater
from evercgm.provider_kit.send import send, vendor_client
from evercgm.provider_kit.vendors import Vendors, open_vendors
from evercgm.providers import PROVIDERS
from evercgm.runtime import key_server_client, vendor_apps
from evercgm.settings import read_settings

SOURCE = Path(__file__).resolve().parents[2] / "src" / "evercgm"
BEARER = {"Authorization": "Bearer marked-token"}


def redirect(address: str, status: int) -> bytes:
    return (
        f"HTTP/1.1 {status} Elsewhere\r\nLocation: {address}/collect\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_no_token_to_another_host(status: int) -> None:
    async with listening() as thief, listening(redirect(thief.address, status)) as vendor:
        async with vendor_client([vendor.address, thief.address]) as http:
            answer = await send(http, "POST", f"{vendor.address}/token", headers=BEARER, form={"code": "marked-code"})

        assert answer.status == status
        assert b"marked-token" in vendor.told[0]
        assert (thief.callers, thief.told) == (0, [])


async def test_a_client_that_follows_redirects_by_mistake_is_stopped_at_the_table() -> None:
    async with listening() as thief, listening(redirect(thief.address, 307)) as vendor:
        async with vendor_client([vendor.address]) as http:
            with pytest.raises(VendorChanged):
                await http.get(f"{vendor.address}/data", headers=BEARER, follow_redirects=True)

        assert (vendor.callers, thief.callers) == (1, 0)


async def test_a_host_outside_the_table_is_told_nothing() -> None:
    async with listening() as stranger, listening() as vendor:
        port = stranger.address.rpartition(":")[2]
        async with vendor_client([vendor.address]) as http:
            for address in (
                stranger.address,
                f"http://localhost:{port}",
                f"{vendor.address}@127.0.0.1:{port}",
                f"{vendor.address.replace('http://', 'https://')}",
                f"http://vendor@127.0.0.1:{port}",
            ):
                with pytest.raises(VendorChanged):
                    await send(http, "GET", f"{address}/data", headers=BEARER)
            assert (await send(http, "GET", f"{vendor.address}/data", headers=BEARER)).body == b"ok"

        assert (stranger.callers, vendor.callers) == (0, 1)


@pytest.mark.parametrize("user", ["user", "user:marked-password", ":marked-password", "%20", "vendor.test%2F"])
async def test_an_address_that_names_a_user_is_refused_though_its_host_is_in_the_table(user: str) -> None:
    async with listening() as vendor:
        host = vendor.address.removeprefix("http://")
        # Even where the table itself was given with a user.
        async with vendor_client([vendor.address, f"http://{user}@{host}"]) as http:
            with pytest.raises(VendorChanged, match="names a user") as refused:
                await send(http, "GET", f"http://{user}@{host}/data", headers=BEARER)
            with pytest.raises(VendorChanged):
                await http.get(f"http://{user}@{host}/data")

        assert (vendor.callers, vendor.told) == (0, [])
        assert "marked" not in str(refused.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "vendor.test", "127.0.0.1.vendor.test", "0.0.0.0"])
async def test_without_tls_nothing_leaves_this_machine_though_the_table_says_so(host: str) -> None:
    async with vendor_client([f"http://{host}"]) as http:
        with pytest.raises(VendorChanged, match="host"):
            await send(http, "GET", f"http://{host}/data", headers=BEARER)


def self_signed(folder: Path, name: str) -> ssl.SSLContext:
    """A certificate for this address, or for another, that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def test_a_vendor_with_a_self_signed_certificate_is_told_nothing(tmp_path: Path) -> None:
    async with listening(tls=self_signed(tmp_path, "127.0.0.1")) as vendor:
        async with vendor_client([vendor.address]) as http:
            with pytest.raises(VendorTryLater):
                await send(http, "GET", f"{vendor.address}/data", headers=BEARER)

        assert vendor.told in ([], [b""])


CREDENTIALS = {
    "DEXCOM_CLIENT_ID": "id",
    "DEXCOM_CLIENT_SECRET": "us-secret",
    "DEXCOM_EU_CLIENT_ID": "eu-id",
    "DEXCOM_EU_CLIENT_SECRET": "eu-secret",
}


def vendors_of(**env: str) -> AbstractAsyncContextManager[Vendors]:
    return open_vendors(PROVIDERS, vendor_apps(read_settings({**CREDENTIALS, **env}, simulators=True)))


async def test_only_the_regions_that_are_set_up_have_a_client() -> None:
    async with vendors_of() as vendors:
        assert sorted(vendors.clients) == [("dexcom", "eu"), ("dexcom", "sandbox"), ("dexcom", "us")]
    async with open_vendors(PROVIDERS, vendor_apps(read_settings({}))) as vendors:
        assert vendors.clients == {}


async def test_beside_simulators_no_client_reaches_a_vendors_own_host() -> None:
    simulator = {"EVERCGM_VENDOR_BASE_URLS": '{"dexcom": {"us": "http://127.0.0.1:8401/dexcom"}}'}

    async with vendors_of(**simulator) as vendors:
        assert list(vendors.clients) == [("dexcom", "us")]
        for region in PROVIDERS["dexcom"].regions.values():
            with pytest.raises(VendorChanged, match="host"):
                await send(vendors.client("dexcom", "us"), "GET", f"{region.base_url}/data", headers=BEARER)
    with pytest.raises(SettingsError, match="EVERCGM_ALLOW_SIMULATORS"):
        read_settings({**CREDENTIALS, **simulator})


@pytest.mark.parametrize("address", ["http://simulator.test:8401", "http://192.0.2.1", "ftp://127.0.0.1", "file:///x"])
def test_a_simulator_on_another_machine_is_reached_by_tls_only(address: str) -> None:
    base_urls = {"EVERCGM_VENDOR_BASE_URLS": f'{{"dexcom": {{"us": "{address}"}}}}'}

    with pytest.raises(SettingsError, match="EVERCGM_VENDOR_BASE_URLS"):
        read_settings({**CREDENTIALS, **base_urls}, simulators=True)


def test_every_region_of_every_provider_is_reached_by_tls() -> None:
    hosts = [region.base_url for provider in PROVIDERS.values() for region in provider.regions.values()]

    assert hosts
    assert [host for host in hosts if not host.startswith("https://")] == []


async def test_the_client_of_a_region_sends_nothing_to_the_host_of_another() -> None:
    async with listening() as us, listening() as eu:
        hosts = {"us": us, "eu": eu}
        base_urls = json.dumps({"dexcom": {region: host.address for region, host in hosts.items()}})
        async with vendors_of(EVERCGM_VENDOR_BASE_URLS=base_urls) as vendors:
            for region, other in (("us", eu), ("eu", us)):
                http, app = vendors.client("dexcom", region), vendors.app("dexcom", region)
                form = {"client_secret": app.client_secret.reveal()}
                with pytest.raises(VendorChanged, match="host"):
                    await send(http, "POST", f"{other.address}/v3/oauth2/token", headers=BEARER, form=form)
                assert (await send(http, "POST", f"{app.base_url}/v3/oauth2/token", form=form)).body == b"ok"

        assert [(region, host.callers) for region, host in hosts.items()] == [("us", 1), ("eu", 1)]
        assert (b"us-secret" in us.told[0], b"eu-secret" in eu.told[0]) == (True, True)


async def test_the_key_server_is_spoken_to_by_a_client_of_its_own_that_reaches_no_vendor() -> None:
    async with listening() as project, listening() as vendor:
        settings = read_settings({"SUPABASE_URL": project.address}, simulators=True)
        simulator = {"EVERCGM_VENDOR_BASE_URLS": json.dumps({"dexcom": {"us": vendor.address}})}
        async with key_server_client(settings) as keys, vendors_of(**simulator) as vendors:
            with pytest.raises(VendorChanged, match="host"):
                await send(keys, "GET", f"{vendor.address}/data", headers=BEARER)
            with pytest.raises(VendorChanged, match="host"):
                await send(vendors.client("dexcom", "us"), "GET", f"{project.address}/data", headers=BEARER)
            assert (await send(keys, "GET", f"{project.address}/keys")).body == b"ok"

        assert (project.callers, vendor.callers) == (1, 0)


async def test_without_a_project_its_client_reaches_nobody() -> None:
    async with listening() as anybody, key_server_client(read_settings({})) as keys:
        with pytest.raises(VendorChanged, match="host"):
            await send(keys, "GET", f"{anybody.address}/keys")

        assert anybody.callers == 0


def test_the_secret_of_a_region_belongs_to_its_own_host() -> None:
    apps = vendor_apps(read_settings(CREDENTIALS))

    assert {(app.base_url, app.client_secret.reveal()) for app in apps.values()} == {
        ("https://api.dexcom.com", "us-secret"),
        ("https://sandbox-api.dexcom.com", "us-secret"),
        ("https://api.dexcom.eu", "eu-secret"),
    }


# Whoever else opens a socket, by what, and why: none of them sends a vendor anything.
OTHERS = {
    # Asks the children of the demo, on this machine, whether they are up.
    "cli/children.py": {"httpx2"},
    # evercgm doctor: whether a vendor's host answers; nothing is said there.
    "actions/checkup.py": {"asyncio"},
    # They listen, or look for a free port.
    "cli/serve.py": {"socket"},
    "cli/simulate.py": {"socket"},
    "cli/metrics_port.py": {"socket"},
    "storage/embedded.py": {"socket"},
}


def test_nothing_else_in_the_house_makes_an_http_client() -> None:
    found = {str(path.relative_to(SOURCE)): ways_out(path.read_text()) for path in SOURCE.rglob("*.py")}

    assert found.pop("provider_kit/send.py") == {"httpx2.AsyncClient", "httpx2.AsyncHTTPTransport"}
    assert {path: {name.partition(".")[0] for name in names} for path, names in found.items() if names} == OTHERS


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import httpx2\nhttpx2.AsyncClient()", "httpx2.AsyncClient"),
        ("import httpx2 as h\nh.get('x')", "httpx2.get"),
        ("import httpx2\nmake = httpx2.Client", "httpx2.Client"),
        ("import httpx2\ngetattr(httpx2, 'Async' + 'Client')()", "httpx2"),
        ("import httpx2\n{}[httpx2.get('x')]", "httpx2.get"),
        ("from httpx2 import AsyncClient", "httpx2.AsyncClient"),
        ("from httpx2 import AsyncClient as Timeout", "httpx2.AsyncClient"),
        ("from httpx2 import *", "httpx2.*"),
        ("from httpx2._client import AsyncClient", "httpx2._client.AsyncClient"),
        ("def later():\n    from httpx2 import post", "httpx2.post"),
        ("from http import client", "http.client"),
        ("from http.client import HTTPSConnection as C", "http.client.HTTPSConnection"),
        ("import http\nhttp.client.HTTPSConnection('x')", "http.client.HTTPSConnection"),
        ("from urllib import request", "urllib.request"),
        ("import urllib.request as x", "urllib.request"),
        ("import urllib.parse\nurllib.request.urlopen('x')", "urllib.request.urlopen"),
        ("import requests", "requests"),
        ("import importlib\nimportlib.import_module('httpx2')", "importlib.import_module"),
        ("from importlib import import_module as get", "importlib.import_module"),
        ("__import__('httpx2')", "__import__"),
        ("import sys\nsys.modules['httpx2']", "sys.modules"),
        ("exec('import socket')", "exec"),
        ("import socket as s", "socket"),
        ("from socket import create_connection", "socket.create_connection"),
        ("import asyncio\nasyncio.open_connection('x', 1)", "asyncio.open_connection"),
        ("from asyncio import open_connection as o", "asyncio.open_connection"),
        ("async def f(loop):\n    await loop.create_connection(object, 'x', 1)", "create_connection"),
        ("import asyncio\nasyncio.get_running_loop().sock_connect(s, a)", "sock_connect"),
        ("import asyncio\ngetattr(asyncio, 'open_connection')", "open_connection"),
    ],
)
def test_each_spelling_of_a_way_to_the_network_is_found(source: str, name: str) -> None:
    assert name in ways_out(source)


@pytest.mark.parametrize(
    "source",
    [
        "import httpx2\ndef f(http: httpx2.AsyncClient) -> httpx2.AsyncClient: ...",
        "import httpx2\nFinish = Callable[[httpx2.AsyncClient, str], str]",
        "import httpx2\ntry: ...\nexcept httpx2.HTTPError: ...",
        "from urllib.parse import urlsplit",
        "from http.cookiejar import CookieJar",
        "async def f(http):\n    await http.send('client')",
    ],
)
def test_a_client_that_a_type_only_names_is_no_way_to_the_network(source: str) -> None:
    assert ways_out(source) == set()


async def test_the_environment_sends_nothing_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as proxy, listening() as vendor:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.address)
        async with vendor_client([vendor.address]) as http:
            await send(http, "GET", f"{vendor.address}/data", headers=BEARER)

        assert (proxy.callers, vendor.callers) == (0, 1)


def test_a_client_speaks_to_nobody_unless_told_to_whom() -> None:
    with pytest.raises(TypeError):
        vendor_client()  # type: ignore[call-arg]
    assert isinstance(vendor_client([]), httpx2.AsyncClient)
