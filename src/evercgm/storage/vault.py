"""Seals secrets with AES-256-GCM under a ring of keys; one value opens only in its own row and column."""

import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret

VERSION = "v1"
NONCE_BYTES = 12
_TO_URL = bytes.maketrans(b"+/", b"-_")
# What is not of the alphabet becomes something that the decoder refuses.
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
_SEALED = re.compile(rf"{VERSION}\.([0-9a-f]{{8}})\.")


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


def _encode(raw: bytes) -> str:
    """As base64url, several times as fast as the library that wraps the same function."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).decode()


def _decode(body: str) -> bytes:
    """The bytes of the one spelling that ``_encode`` gives. Raises ValueError for any other."""
    raw = binascii.a2b_base64(body.encode().translate(_FROM_URL), strict_mode=True)
    # Even the strict decoder passes over the last bits where they mean nothing.
    if _encode(raw[-(len(raw) % 3 or 3) :]) != body[-4:]:
        raise ValueError
    return raw


def named_key(sealed: str) -> str | None:
    """The id of the key that a value says it was sealed with; None where it has another form than ours."""
    found = _SEALED.match(sealed)
    return found[1] if found else None


class Vault:
    """Seals with the first key, opens with any of the ring. ``key_ids`` names the ring, the primary first."""

    def __init__(self, primary: bytes, previous: tuple[bytes, ...] = ()):
        self._primary = key_id(primary)
        self._ring = {key_id(key): AESGCM(key) for key in (primary, *previous)}
        self.key_ids = tuple(self._ring)

    def __repr__(self) -> str:
        return f"Vault(primary={self._primary})"

    def seal(self, secret: Secret, place: Place) -> str:
        """``v1.<key id>.<base64url(nonce, ciphertext, tag)>``; an absent secret is '' and never sealed."""
        if not secret:
            return ""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ring[self._primary].encrypt(nonce, secret.reveal().encode(), place.associated_data())
        return f"{VERSION}.{self._primary}.{_encode(nonce + sealed)}"

    def open(self, sealed: str, place: Place) -> Secret:
        """The secret itself. Raises SealBroken: unknown form or key, another place, altered bytes."""
        if not sealed:
            return Secret("")
        version, _, rest = sealed.partition(".")
        name, _, body = rest.partition(".")
        if version != VERSION or name not in self._ring:
            raise SealBroken(f"{place.table}.{place.column}: no key of the ring opens this value")
        try:
            raw = _decode(body)
            opened = self._ring[name].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.associated_data())
        except (ValueError, InvalidTag):
            raise SealBroken(f"{place.table}.{place.column}: the value was altered or moved") from None
        return Secret(opened.decode())
