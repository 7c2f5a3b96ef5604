"""Seals secrets with AES-256-GCM under a ring of keys; one value opens only in its own row and column."""

import base64
import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret

VERSION = "v1"
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value lives; it is the associated data, so a copied value does not open elsewhere."""

    table: str
    column: str
    row_id: str

    def associated_data(self) -> bytes:
        parts = [part.encode() for part in (self.table, self.column, self.row_id)]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def key_id(key: bytes) -> str:
    """Eight hex digits that name a key without telling anything of it."""
    return hashlib.sha256(b"evercgm key id" + key).hexdigest()[:8]


class Vault:
    """Seals with the first key, opens with any of the ring."""

    def __init__(self, primary: bytes, previous: tuple[bytes, ...] = ()):
        self._primary = key_id(primary)
        self._ring = {key_id(key): AESGCM(key) for key in (primary, *previous)}

    def __repr__(self) -> str:
        return f"Vault(primary={self._primary})"

    def seal(self, secret: Secret, place: Place) -> str:
        """``v1.<key id>.<base64url(nonce, ciphertext, tag)>``; an absent secret is '' and never sealed."""
        if not secret:
            return ""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ring[self._primary].encrypt(nonce, secret.reveal().encode(), place.associated_data())
        return f"{VERSION}.{self._primary}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, place: Place) -> Secret:
        """The secret itself. Raises SealBroken: unknown form or key, another place, altered bytes."""
        if not sealed:
            return Secret("")
        version, _, rest = sealed.partition(".")
        name, _, body = rest.partition(".")
        if version != VERSION or name not in self._ring:
            raise SealBroken(f"{place.table}.{place.column}: no key of the ring opens this value")
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            opened = self._ring[name].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.associated_data())
        except (ValueError, InvalidTag):
            raise SealBroken(f"{place.table}.{place.column}: the value was altered or moved") from None
        return Secret(opened.decode())
