"""The public keys of a Supabase project: fetched, checked, kept for a bounded time. Verifies no token."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from evercgm.core.errors import EvercgmError, VendorChanged, VendorError, VendorTryLater
from evercgm.logs import get_logger
from evercgm.provider_kit.send import read_json, send

log = get_logger(__name__)
PATH = "/auth/v1/.well-known/jwks.json"
LARGEST_SET = 64 * 1024
MOST_KEYS = 50
LONGEST_KID = 200
RSA_BITS = (2048, 8192)
FETCH_WITHIN_S = 5.0
# The project's own edge keeps the set for 10 minutes, too (Supabase, "JWT signing keys", read 2026-11).
FRESH_S = 600.0
OLD_SET_S = 3600.0
# Whatever tokens come: at most so many fetches in so many seconds.
MOST_FETCHES, FETCHES_IN_S = 5, 60.0

_PLAIN_JSON = {"Accept": "application/json", "Accept-Encoding": "identity"}

Clock = Callable[[], float]


class KeysUnavailable(EvercgmError):
    """The project's keys cannot be had at the moment, and those of before are unknown or too old."""


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """A public key and the one algorithm that it is for."""

    algorithm: str
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class ProjectKeys:
    """The key set of one project. ``clock`` counts seconds and never goes back."""

    def __init__(self, project_url: str, http: httpx2.AsyncClient, clock: Clock = time.monotonic):
        self._url = project_url + PATH
        self._http = http
        self._clock = clock
        self._keys: Mapping[str, ProjectKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: deque[float] = deque(maxlen=MOST_FETCHES)
        self._failed = False
        self._fetches = 0
        self._one_at_a_time = asyncio.Lock()

    async def find(self, kid: str) -> ProjectKey | None:
        """The key of this id, None where the project has none. Raises KeysUnavailable."""
        known = self._keys.get(kid) if self._age() < OLD_SET_S else None
        if known is None or (self._age() >= FRESH_S and not self._one_at_a_time.locked()):
            await self._refetch(self._fetches)
            known = self._keys.get(kid) if self._age() < OLD_SET_S else None
        if known is None and (self._failed or self._age() >= OLD_SET_S):
            raise KeysUnavailable("the keys of the Supabase project cannot be fetched")
        return known

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    async def _refetch(self, seen: int) -> None:
        """Fetch anew, unless somebody did while we waited or it was done too often."""
        async with self._one_at_a_time:
            if self._fetches != seen:
                return
            now = self._clock()
            if len(self._tried_at) == MOST_FETCHES and now - self._tried_at[0] < FETCHES_IN_S:
                return
            self._tried_at.append(now)
            await self._fetch()
            self._fetches += 1

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_WITHIN_S):
                answer = await send(self._http, "GET", self._url, headers=_PLAIN_JSON, largest=LARGEST_SET)
            if answer.status != 200:
                raise VendorTryLater(f"the key server answered with status {answer.status}")
            self._keys = read_key_set(answer.body)
        except (VendorError, TimeoutError) as failure:
            if not self._failed:
                log.warning("project_keys_not_fetched", error=type(failure).__name__, age_s=_whole(self._age()))
            self._failed = True
            return
        if self._failed:
            log.info("project_keys_fetched_again", keys=len(self._keys))
        self._failed = False
        self._fetched_at = self._clock()


def read_key_set(body: bytes) -> dict[str, ProjectKey]:
    """The usable keys by their id: P-256 for ES256, RSA for RS256; others are left out.

    Raises VendorChanged: no key set, one with more than 50 keys, or with keys but none usable.
    """
    members = read_json(body, dict[str, Any]).get("keys")
    if not isinstance(members, list) or len(members) > MOST_KEYS:
        raise VendorChanged("the key server's answer is no key set, or too large a one")
    found: dict[str, ProjectKey] = {}
    for member in members:
        kid, key = _read_key(member) if isinstance(member, dict) else ("", None)
        if key is not None:
            found.setdefault(kid, key)
    if members and not found:
        # An empty set revokes them all; a set of nothing but strange keys is somebody's mistake.
        raise VendorChanged("the key server's answer holds no usable key")
    return found


def _read_key(member: dict[str, Any]) -> tuple[str, ProjectKey | None]:
    kid = member.get("kid")
    algorithm = {"EC": "ES256", "RSA": "RS256"}.get(str(member.get("kty")))
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID or algorithm is None:
        return "", None
    if member.get("alg", algorithm) != algorithm or member.get("use", "sig") != "sig":
        return "", None
    try:
        key = jwt.PyJWK(member, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return "", None
    return kid, ProjectKey(algorithm, key) if _is_public(key) else None


def _is_public(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return RSA_BITS[0] <= key.key_size <= RSA_BITS[1]
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def _whole(seconds: float) -> int | None:
    return None if seconds == float("inf") else int(seconds)
