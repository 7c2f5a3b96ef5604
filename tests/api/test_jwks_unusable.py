"""A key set of nothing that we can use is somebody's mistake: the keys of before go on working."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from supabase_world import EC_KEY, Beside, beside_project, claims_of, jwk, signed

from evercgm.api import jwks
from evercgm.api.jwks import read_key_set
from evercgm.core.errors import VendorChanged

OWNER = str(uuid4())
STRANGE: list[Any] = [
    {"kty": "oct", "kid": "ec", "k": "c2VjcmV0", "alg": "HS256"},
    jwk("ec", ec.generate_private_key(ec.SECP384R1())),
    "ec",
]


@pytest.fixture
async def beside(database: Any) -> AsyncIterator[Beside]:
    async with beside_project(database.service_dsn) as found:
        yield found


def test_keys_of_which_none_is_usable_are_no_key_set_and_an_empty_set_is_one() -> None:
    with pytest.raises(VendorChanged):
        read_key_set(json.dumps({"keys": STRANGE}).encode())

    assert read_key_set(b'{"keys": []}') == {}


async def test_a_set_without_a_usable_key_signs_nobody_out(beside: Beside) -> None:
    token = signed(claims_of(OWNER), EC_KEY)
    assert await beside.status(token) == 200

    beside.server.keys = STRANGE
    beside.clock.now += jwks.FRESH_S + 1

    assert await beside.status(token) == 200
    beside.server.keys = []
    beside.clock.now += jwks.FETCHES_IN_S
    assert await beside.status(token) == 401
