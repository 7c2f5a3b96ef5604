"""Only a token that our own key signed, for a person, now, is a caller."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from api_world import BASE, Owner, open_runtime_on
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from evercgm.runtime import Runtime
from evercgm.storage.identity import SigningKeys, issue_jwt, load_keys, sign_in_link, use_link, verify_jwt

ADDRESS = f"{BASE}/session"


def claims_of(keys: SigningKeys, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    claims = {
        "iss": keys.issuer,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": str(uuid4()),
        "iat": now,
        "exp": now + timedelta(hours=1),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def sign(keys: SigningKeys, claims: dict[str, Any], **headers: Any) -> str:
    return jwt.encode(claims, keys.private.reveal(), algorithm="ES256", headers={"kid": keys.kid, **headers})


async def status_of(client: httpx2.AsyncClient, token: str) -> int:
    answer = await client.get(ADDRESS, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def test_a_token_of_our_own_key_is_accepted(client: httpx2.AsyncClient, ada: Owner) -> None:
    answer = await client.get(ADDRESS, headers=ada.bearer)

    assert answer.status_code == 200
    assert answer.json() == {
        "owner_id": ada.owner_id,
        "persons": [{"id": ada.person_id, "label": "Ada"}],
        "mode": "standalone",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"aud": None},
        {"iss": None},
        {"role": None},
        {"aud": "anon"},
        {"iss": "http://cgm.test"},
        {"role": "service_role"},
        {"role": "anon"},
        {"role": ["authenticated"]},
        {"sub": "1 or 1=1"},
        {"is_anonymous": True},
        {"is_anonymous": "yes"},
        {"iat": datetime(2100, 1, 1, tzinfo=UTC)},
        {"nbf": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(
    client: httpx2.AsyncClient, runtime: Runtime, changes: dict[str, Any]
) -> None:
    token = sign(runtime.keys, claims_of(runtime.keys, **changes))

    assert await status_of(client, token) == 401


async def test_a_token_without_signature_is_refused(client: httpx2.AsyncClient, runtime: Runtime) -> None:
    def part(value: dict[str, Any]) -> str:
        return urlsafe_b64encode(json.dumps(value, default=str).encode()).decode().rstrip("=")

    claims = claims_of(runtime.keys, iat=1_700_000_000, exp=4_000_000_000)
    token = f"{part({'alg': 'none', 'kid': runtime.keys.kid})}.{part(claims)}."

    assert await status_of(client, token) == 401


async def test_the_public_key_used_as_a_shared_secret_is_refused(client: httpx2.AsyncClient, runtime: Runtime) -> None:
    public = runtime.keys.public[runtime.keys.kid].public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": runtime.keys.kid}
    claims = claims_of(runtime.keys, iat=1_700_000_000, exp=4_000_000_000)
    signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    mac = urlsafe_b64encode(hmac.new(public, signed, hashlib.sha256).digest()).rstrip(b"=")

    assert await status_of(client, (signed + b"." + mac).decode()) == 401


async def test_a_key_that_comes_with_the_token_is_ignored(client: httpx2.AsyncClient, runtime: Runtime) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key()))
    headers = {"kid": runtime.keys.kid, "jwk": jwk, "jku": "http://evil.test/keys"}
    token = jwt.encode(claims_of(runtime.keys), stranger, algorithm="ES256", headers=headers)

    assert await status_of(client, token) == 401


@pytest.mark.parametrize("kid", [None, "unknown", 7, ["a"]])
async def test_an_unknown_key_id_is_refused(client: httpx2.AsyncClient, runtime: Runtime, kid: Any) -> None:
    headers = {"kid": kid} if isinstance(kid, str) else {}
    token = jwt.encode(claims_of(runtime.keys), runtime.keys.private.reveal(), "ES256", headers=headers)

    assert await status_of(client, token) == 401


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "e" * 20_000, "...", "e30.e30.e30"])
async def test_what_is_no_token_is_refused_with_a_problem(client: httpx2.AsyncClient, token: str) -> None:
    answer = await client.get(ADDRESS, headers={b"Authorization": b"Bearer " + token.encode()})

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "not_signed_in"


async def test_a_wrong_bearer_is_not_mended_by_a_session(browser: httpx2.AsyncClient, runtime: Runtime) -> None:
    session = await use_link(runtime.db, await sign_in_link(runtime.db, str(uuid4())))
    browser.cookies.set("evercgm_session", session)

    assert (await browser.get(ADDRESS)).status_code == 200
    assert await status_of(browser, "wrong") == 401


async def test_nobody_gets_nothing(client: httpx2.AsyncClient) -> None:
    for path in ("session", "connections", "readings", "syncs", "providers", "connections/x", "syncs/x"):
        assert (await client.get(f"{BASE}/{path}")).status_code == 401
    assert (await client.post(f"{BASE}/sync", json={})).status_code == 401
    assert (await client.post(f"{BASE}/dexcom/oauth", json={"region": "us"})).status_code == 401
    assert (await client.delete(f"{BASE}/connections/x")).status_code == 401


async def test_two_processes_share_one_key(runtime: Runtime, database: Any) -> None:
    async with open_runtime_on(database.service_dsn) as other:
        token = issue_jwt(other.keys, str(uuid4()), timedelta(minutes=1))

        assert runtime.keys.kid == other.keys.kid
        assert verify_jwt(runtime.keys, token)["role"] == "authenticated"
        assert runtime.keys.private == (await load_keys(other.db, other.keys.issuer)).private
