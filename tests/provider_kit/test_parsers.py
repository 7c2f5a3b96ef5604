"""Whatever bytes a vendor, a key server or a caller sends: every reader answers, or raises an error of ours."""

import ast
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from evercgm.api.jwks import read_key_set
from evercgm.core.errors import VendorChanged
from evercgm.core.tokens import LONGEST_LIFETIME_S, Secret, lifetime_s
from evercgm.provider_kit.oauth import _ErrorWire, _TokenWire
from evercgm.provider_kit.send import LONGEST_RETRY_AFTER_S, read_json, retry_after_s
from evercgm.storage.identity import SigningKeys, TokenRefused, token_header, verify_jwt

SOURCE = Path(__file__).resolve().parents[2] / "src" / "evercgm"
KEYS = SigningKeys(
    "http://cgm.test/auth/v1", "k", Secret(""), {"k": ec.generate_private_key(ec.SECP256R1()).public_key()}
)
NAMES = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "error", "keys", "kid", "kty", "alg", "x", "n", "e"]
)
WORDS = st.text(max_size=12) | st.sampled_from(["EC", "RSA", "ES256", "RS256", "P-256", "AQAB", "sig", "k"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | WORDS, inner, max_size=5),
    max_leaves=20,
)
BYTES = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())


@given(BYTES)
def test_no_bytes_raise_anything_but_a_changed_vendor(body: bytes) -> None:
    for kind in (_TokenWire, _ErrorWire, dict, list, object):
        try:
            read_json(body, kind)
        except VendorChanged:
            continue


@given(
    BYTES | st.fixed_dictionaries({"keys": st.lists(JSON, max_size=5)}).map(lambda value: json.dumps(value).encode())
)
def test_no_key_set_raises_anything_but_a_changed_vendor(body: bytes) -> None:
    try:
        found = read_key_set(body)
    except VendorChanged:
        return
    assert all(0 < len(kid) <= 200 and key.algorithm in ("ES256", "RS256") for kid, key in found.items())


@given(JSON)
def test_every_lifetime_lies_between_a_second_and_a_day(raw: object) -> None:
    assert 1 <= lifetime_s(raw) <= LONGEST_LIFETIME_S


DATES = st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))


@given(st.none() | st.text(max_size=60) | DATES | st.integers().map(str))
def test_every_wish_to_wait_is_none_or_at_most_an_hour(text: str | None) -> None:
    found = retry_after_s(text, datetime(2026, 11, 24, tzinfo=UTC))

    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER_S


PARTS = st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: urlsafe_b64encode(raw).decode())


@given(st.text(max_size=200) | st.lists(PARTS, min_size=1, max_size=5).map(".".join))
def test_no_bearer_raises_anything_but_a_refusal(token: str) -> None:
    for look in (token_header, lambda text: verify_jwt(KEYS, text)):
        try:
            look(token)
        except TokenRefused:
            continue


def test_no_other_room_reads_what_came_over_the_network() -> None:
    """Who decodes bytes that we did not write; a new reader belongs into the properties above or beside its mapping."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if "simulator" in path.parts or path.is_relative_to(SOURCE / "simulator_kit"):
            continue
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        if calls & {"read_json", "json.loads", "msgspec.json.decode", "json.load"}:
            found.add(str(path.relative_to(SOURCE)))

    network = {"provider_kit/send.py", "provider_kit/oauth.py", "providers/dexcom/mapping.py", "api/jwks.py"}
    # Held to any input by the tests of their own folders, and by the suite of all ways in.
    network |= {
        path for path in found if path.startswith(("providers/dexcom_share", "providers/libre", "providers/medt"))
    }
    # A caller's cursor and token are read here.
    callers = {"storage/views.py", "storage/identity.py"}
    assert found >= network
    assert {path for path in found if path.startswith(("provider", "api"))} == network
    assert callers <= found


@pytest.mark.parametrize("depth", [63, 500])
def test_a_key_set_is_held_to_the_same_depth(depth: int) -> None:
    body = b'{"keys": [], "more": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    if depth < 64:
        assert read_key_set(body) == {}
    else:
        with pytest.raises(VendorChanged, match="nested"):
            read_key_set(body)
