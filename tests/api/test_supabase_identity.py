"""Beside a Supabase project its users are callers; what the project did not sign for a person asks nothing."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_person, make_settings
from cryptography.hazmat.primitives import serialization
from supabase_world import (
    EC_KEY,
    OTHER_EC_KEY,
    PROJECT,
    RSA_KEY,
    SECRET,
    Beside,
    KeyServer,
    beside_project,
    claims_of,
    jwk,
    on_a_socket,
    signed,
)

from evercgm.api import jwks
from evercgm.api.app import create_app
from evercgm.core.tokens import Secret
from evercgm.runtime import open_runtime
from evercgm.storage.identity import sign_in_link, use_link

OWNER = str(uuid4())


@pytest.fixture
async def beside(database: Any) -> AsyncIterator[Beside]:
    async with beside_project(database.service_dsn) as found:
        yield found


@pytest.fixture
async def with_secret(database: Any) -> AsyncIterator[Beside]:
    async with beside_project(database.service_dsn, SUPABASE_JWT_SECRET=SECRET) as found:
        yield found


def _part(value: Any) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None) -> str:
    """A token that no library would make; ``secret`` None leaves the signature empty."""
    text = _part(header) + b"." + _part(claims)
    mac = b"" if secret is None else _part(hmac.new(secret, text, hashlib.sha256).digest())
    return (text + b"." + mac).decode()


def _pem(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _forgeries() -> dict[str, str]:
    now = int(time.time())
    good = claims_of(OWNER)
    changed = {
        "wrong aud": {"aud": "anon"},
        "aud of several, none ours": {"aud": ["a", "b"]},
        "no aud": {"aud": None},
        "wrong iss": {"iss": f"{PROJECT}/auth/v1/"},
        "iss of the old api keys": {"iss": "supabase"},
        "iss of ourselves": {"iss": "http://cgm.test/auth/v1"},
        "no iss": {"iss": None},
        "role anon": {"role": "anon"},
        "role service_role": {"role": "service_role"},
        "role of several": {"role": ["authenticated"]},
        "role in another case": {"role": "Authenticated"},
        "no role": {"role": None},
        "expired": {"exp": now - 31},
        "no exp": {"exp": None},
        "exp is no number": {"exp": "soon"},
        "not yet valid": {"nbf": now + 3600},
        "made in the future": {"iat": now + 3600},
        "no iat": {"iat": None},
        "sub is no UUID": {"sub": "ada"},
        "sub is SQL": {"sub": "1' or '1'='1"},
        "sub is a UUID with more": {"sub": f"{{{OWNER}}}"},
        "sub without dashes": {"sub": OWNER.replace("-", "")},
        "sub is a number": {"sub": 7},
        "no sub": {"sub": None},
        "anonymous": {"is_anonymous": True},
        "anonymous by a word": {"is_anonymous": "true"},
    }
    tokens = {name: _unchecked(claims_of(OWNER, **changes)) for name, changes in changed.items()}
    head, _, signature = signed(good).split(".")
    stranger = {"jwk": jwk("ec", OTHER_EC_KEY), "jku": "https://evil.test/k", "x5u": "https://evil.test/x"}
    return tokens | {
        "alg none": _by_hand({"alg": "none", "kid": "ec"}, good, None),
        "alg NONE": _by_hand({"alg": "NONE", "kid": "ec"}, good, None),
        "alg left out": _by_hand({"kid": "ec"}, good, None),
        "HS256 with the public key": _by_hand({"alg": "HS256", "kid": "ec"}, good, _pem(EC_KEY)),
        "HS256 with the RSA key": _by_hand({"alg": "HS256", "kid": "rsa"}, good, _pem(RSA_KEY)),
        "HS256 with the key's JSON": _by_hand({"alg": "HS256"}, good, json.dumps(jwk("ec", EC_KEY)).encode()),
        "HS256 where no secret is set": _by_hand({"alg": "HS256"}, good, SECRET.encode()),
        "HS256 with an empty secret": _by_hand({"alg": "HS256", "kid": "ec"}, good, b""),
        "ES256 said of the RSA key": signed(good, EC_KEY, kid="rsa"),
        "RS256 said of the EC key": signed(good, RSA_KEY, kid="ec", alg="RS256"),
        "PS256 with the RSA key": signed(good, RSA_KEY, kid="rsa", alg="PS256"),
        "RS512 with the RSA key": signed(good, RSA_KEY, kid="rsa", alg="RS512"),
        "a stranger's key under our id": signed(good, OTHER_EC_KEY, **stranger),
        "unknown kid": signed(good, OTHER_EC_KEY, kid="other"),
        "no kid": signed(good, kid=None),
        "kid that is a path": signed(good, kid="../../keys"),
        "kid without end": signed(good, kid="k" * 300),
        "altered claims": ".".join((head, _part(claims_of(str(uuid4()))).decode(), signature)),
        "deep header": base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.e30",
        "no token": "marked",
        "empty": "",
        "too long": signed({**good, "more": "x" * 9000}),
    }  # fmt: skip


def _unchecked(claims: dict[str, Any]) -> str:
    """Signed by the project's key, whatever the claims are: the library would refuse some."""
    text = _part({"alg": "ES256", "typ": "JWT", "kid": "ec"}) + b"." + _part(claims)
    return (
        text + b"." + _part(jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(text, EC_KEY))
    ).decode()


FORGERIES = _forgeries()


async def test_a_forgery_is_refused_and_asks_the_database_nothing(beside: Beside) -> None:
    before = beside.db.taken

    for path in ("session", "readings", "connections/x"):
        answers = {name: await beside.ask(token, path) for name, token in FORGERIES.items()}
        assert dict.fromkeys(FORGERIES, 401) == {name: answer.status_code for name, answer in answers.items()}
        assert {"not_signed_in"} == {answer.json()["code"] for answer in answers.values()}
        assert {"Bearer"} == {answer.headers["www-authenticate"] for answer in answers.values()}

    assert before == beside.db.taken
    assert await beside.status(signed(claims_of(OWNER))) == 200
    assert beside.db.taken > before


@pytest.mark.parametrize(
    "token",
    [
        signed(claims_of(OWNER)),
        signed(claims_of(OWNER), RSA_KEY, kid="rsa", alg="RS256"),
        signed(claims_of(OWNER, aud=["other", "authenticated"])),
        signed(claims_of(OWNER, is_anonymous=None)),
        signed(claims_of(OWNER.upper())),
    ],
    ids=["ES256", "RS256", "aud of several", "old token without is_anonymous", "sub in capitals"],
)
async def test_a_user_of_the_project_is_a_caller(beside: Beside, admin: Run, token: str) -> None:
    person_id = str(uuid4())
    await add_person(admin, OWNER, person_id, "Ada")

    answer = await beside.ask(token)

    assert answer.status_code == 200
    assert answer.json() == {
        "owner_id": OWNER,
        "persons": [{"id": person_id, "label": "Ada"}],
        "mode": "supabase",
    }
    assert "set-cookie" not in answer.headers


async def test_clocks_may_differ_by_half_a_minute(beside: Beside) -> None:
    changes = [{"exp": -5}, {"exp": -31}, {"nbf": 29}, {"nbf": 60}, {"iat": 29}, {"iat": 60}]

    found = [
        await beside.status(signed(claims_of(OWNER, **{name: int(time.time()) + by for name, by in change.items()})))
        for change in changes
    ]

    assert found == [200, 401, 200, 401, 200, 401]


async def test_the_keys_are_fetched_once_for_many(beside: Beside) -> None:
    token = signed(claims_of(OWNER))
    beside.server.delay_s = 0.05

    found = await asyncio.gather(*(beside.status(token) for _ in range(20)))

    assert found == [200] * 20
    assert beside.server.calls == 1
    assert beside.server.addresses == {f"{PROJECT}/auth/v1/.well-known/jwks.json"}


async def test_a_legacy_token_is_accepted_only_where_its_secret_is_set(beside: Beside, with_secret: Beside) -> None:
    token = signed(claims_of(OWNER), SECRET, kid=None, alg="HS256")
    wrong = signed(claims_of(OWNER), SECRET[::-1], kid=None, alg="HS256")
    key_of_old = signed(
        {"iss": "supabase", "role": "service_role", "iat": 1, "exp": 4_000_000_000}, SECRET, alg="HS256"
    )

    assert (await beside.status(token), await with_secret.status(token)) == (401, 200)
    assert await with_secret.status(signed(claims_of(OWNER), SECRET, kid="legacy", alg="HS256")) == 200
    assert await with_secret.status(wrong) == 401
    assert await with_secret.status(key_of_old) == 401
    assert with_secret.server.calls == 0


async def test_a_configured_secret_opens_no_other_door(with_secret: Beside) -> None:
    forgeries = {name: token for name, token in FORGERIES.items() if name != "HS256 where no secret is set"}
    before = with_secret.db.taken

    found = {name: await with_secret.status(token) for name, token in forgeries.items()}

    assert dict.fromkeys(forgeries, 401) == found
    assert before == with_secret.db.taken


async def test_a_new_key_is_found_and_a_revoked_one_refused(beside: Beside) -> None:
    old, new = signed(claims_of(OWNER)), signed(claims_of(OWNER), OTHER_EC_KEY, kid="new")
    assert await beside.status(old) == 200

    beside.server.keys = [jwk("new", OTHER_EC_KEY)]

    assert await beside.status(new) == 200
    assert await beside.status(old) == 401
    assert beside.server.calls <= 3


async def test_a_revoked_key_is_refused_once_the_set_is_fetched_anew(beside: Beside) -> None:
    token = signed(claims_of(OWNER))
    assert await beside.status(token) == 200
    beside.server.keys = []

    beside.clock.now += jwks.FRESH_S + 1

    assert await beside.status(token) == 401


async def test_made_up_key_ids_do_not_make_us_ask_without_end(beside: Beside) -> None:
    good = signed(claims_of(OWNER))
    assert await beside.status(good) == 200

    for number in range(30):
        assert await beside.status(signed(claims_of(OWNER), kid=f"made-up-{number}")) == 401

    assert beside.server.calls == jwks.MOST_FETCHES
    assert await beside.status(good) == 200
    beside.clock.now += jwks.FETCHES_IN_S
    beside.server.keys.append(jwk("new", OTHER_EC_KEY))
    assert await beside.status(signed(claims_of(OWNER), OTHER_EC_KEY, kid="new")) == 200


async def test_an_unknown_key_while_the_key_server_is_down_asks_the_database_nothing(beside: Beside) -> None:
    beside.server.down = True
    before = beside.db.taken

    answer = await beside.ask(signed(claims_of(OWNER)))

    assert (answer.status_code, answer.json()["code"]) == (401, "keys_unavailable")
    assert answer.headers["retry-after"] == "60"
    assert "marked" not in answer.text
    assert before == beside.db.taken


async def test_the_old_set_serves_for_an_hour_while_the_key_server_is_down(beside: Beside) -> None:
    token = signed(claims_of(OWNER, exp=int(time.time()) + 7200))
    assert await beside.status(token) == 200
    beside.server.down = True

    beside.clock.now += jwks.OLD_SET_S - 1
    within = await beside.ask(token)
    unknown = await beside.ask(signed(claims_of(OWNER), kid="other"))
    beside.clock.now += 1
    before = beside.db.taken
    beyond = await beside.ask(token)

    assert (within.status_code, unknown.status_code, beyond.status_code) == (200, 401, 401)
    assert beyond.json()["code"] == "keys_unavailable"
    assert before == beside.db.taken
    beside.server.down = False
    beside.clock.now += jwks.FETCHES_IN_S
    assert await beside.status(token) == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<!doctype html><title>Sign in</title>", 200),
        (b'{"keys": [' + b" " * jwks.LARGEST_SET + b"]}", 200),
        (json.dumps({"keys": [jwk(f"k{n}", EC_KEY) for n in range(jwks.MOST_KEYS + 1)]}).encode(), 200),
        (b'{"keys": ' + b"[" * 20_000, 200),
        (b'{"keys": {"ec": 1}}', 200),
        (b"[]", 200),
        (b"null", 200),
        (b"\xff\xfe", 200),
        (b"", 200),
        (json.dumps({"keys": [jwk("ec", EC_KEY)]}).encode(), 404),
        (json.dumps({"keys": [jwk("ec", EC_KEY)]}).encode(), 302),
        (b"try later", 503),
    ],
    ids=["HTML", "too big", "too many", "deep", "no list", "list", "null", "bytes", "empty", "404", "302", "503"],
)
async def test_an_answer_that_is_no_key_set_changes_nothing(beside: Beside, body: bytes, status: int) -> None:
    token = signed(claims_of(OWNER))
    beside.server.body, beside.server.status = body, status
    assert await beside.status(token) == 401

    beside.server.body, beside.server.status = None, 200
    assert await beside.status(token) == 200
    beside.server.body, beside.server.status = body, status
    beside.clock.now += jwks.FRESH_S + 1
    assert await beside.status(token) == 200


async def test_a_key_server_that_hangs_holds_nobody_long(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_WITHIN_S", 0.05)
    beside.server.delay_s = 30

    async with asyncio.timeout(20):
        found = await asyncio.gather(*(beside.status(signed(claims_of(OWNER))) for _ in range(10)))

    assert found == [401] * 10
    assert beside.server.calls == 1


async def test_beside_a_project_there_are_no_links_and_no_sessions(beside: Beside, ada: Owner, admin: Run) -> None:
    link = f"/sign-in/{await sign_in_link(beside.runtime.db, ada.owner_id)}"
    session = await use_link(beside.runtime.db, await sign_in_link(beside.runtime.db, ada.owner_id))
    token = signed(claims_of(OWNER))

    looks = [await beside.client.get(link), await beside.client.post(link)]
    looks.append(await beside.client.post(f"{BASE}/session/sign-out", headers={"Authorization": f"Bearer {token}"}))
    beside.client.cookies.set("evercgm_session", session)
    by_cookie = await beside.client.get(f"{BASE}/session")
    by_our_own_token = await beside.client.get(f"{BASE}/session", headers=ada.bearer)

    assert {(404, "no_sign_in_here")} == {(look.status_code, look.json()["code"]) for look in looks}
    assert (by_cookie.status_code, by_our_own_token.status_code) == (401, 401)


async def test_a_projects_user_sees_own_persons_only(beside: Beside, ada: Owner, bob: Owner) -> None:
    token = signed(claims_of(ada.owner_id))

    own = await beside.ask(token, f"readings?person_id={ada.person_id}")
    foreign = await beside.ask(token, f"readings?person_id={bob.person_id}")

    assert (own.status_code, foreign.status_code) == (200, 404)


async def test_no_failure_of_the_key_server_reaches_an_answer(beside: Beside) -> None:
    beside.server.body = b"marked-inner"

    answer = await beside.ask(signed(claims_of(OWNER)))

    assert "marked" not in answer.text
    assert "supabase.co" not in answer.text
    assert isinstance(answer, httpx2.Response)


async def test_the_keys_come_over_the_network_by_the_runtimes_own_client(database: Any) -> None:
    server = KeyServer()
    async with on_a_socket(server) as address:
        settings = make_settings(SUPABASE_URL=f"{address}/", EVERCGM_ALLOW_SIMULATORS="1")
        async with (
            open_runtime(settings, Secret(database.service_dsn), connections=2) as runtime,
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=create_app(runtime)), base_url=ORIGIN) as client,
        ):
            for issuer, expected in ((address, 200), (PROJECT, 401)):
                token = signed(claims_of(OWNER, iss=f"{issuer}/auth/v1"))
                answer = await client.get(f"{BASE}/session", headers={"Authorization": f"Bearer {token}"})
                assert expected == answer.status_code

    assert server.addresses == {f"{address}/auth/v1/.well-known/jwks.json"}
    assert server.calls == 1
