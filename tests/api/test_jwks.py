"""A key set is read narrowly: public keys of the two kinds that Supabase signs with, nothing else."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from supabase_world import EC_KEY, OTHER_EC_KEY, RSA_KEY, jwk

from evercgm.api.jwks import read_key_set
from evercgm.core.errors import VendorChanged


@pytest.mark.parametrize(
    "member",
    [
        {**jwk("ec", EC_KEY), "alg": "ES384"},
        {**jwk("ec", EC_KEY), "alg": "none"},
        {**jwk("ec", EC_KEY), "use": "enc"},
        {**jwk("ec", EC_KEY), "kid": 7},
        {**jwk("ec", EC_KEY), "kid": ""},
        {**jwk("ec", EC_KEY), "x": "AAAA"},
        {"kty": "oct", "kid": "ec", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ec", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        jwk("ec", ec.generate_private_key(ec.SECP384R1())),
        jwk("ec", rsa.generate_private_key(65537, 1024)),
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY)) | {"kid": "ec"},
        "ec",
        None,
    ],
    ids=lambda member: getattr(member, "get", {}.get)("kty"),
)
def test_a_key_of_another_kind_is_left_out(member: Any) -> None:
    found = read_key_set(json.dumps({"keys": [member, jwk("good", OTHER_EC_KEY)]}).encode())

    assert list(found) == ["good"]


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    found = read_key_set(json.dumps({"keys": [jwk("a", EC_KEY), jwk("a", RSA_KEY)]}).encode())

    assert found["a"].algorithm == "ES256"
    with pytest.raises(VendorChanged):
        read_key_set(b"{}")
