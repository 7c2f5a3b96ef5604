"""Names the form of a stored token and opens the host app's own; never guesses, never writes that form."""

import re
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret

Form = Literal["host", "plain", "empty", "ours", "unreadable"]

IV_BYTES = 16
TAG_BYTES = 16
# The host app writes hex(iv):hex(tag):hex(ciphertext), without key id or associated data (database facts, 8).
_HOST = re.compile(r"([0-9a-fA-F]{32}):([0-9a-fA-F]{32}):((?:[0-9a-fA-F]{2})+)")
_OURS = re.compile(r"v1\.[0-9a-f]{8}\.[A-Za-z0-9_-]+=*")
# What a Bearer header can carry (RFC 6750, 2.1). Anything else, such as "enc:…", is somebody's envelope.
_PLAIN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# Versioned envelopes (a damaged one of ours among them) and Fernet's.
_SOMEBODYS = re.compile(r"v\d+\.|gAAAAA")
SHORTEST_TOKEN = 12


def form_of(stored: str) -> Form:
    """What a stored token looks like; ``host`` and ``ours`` still have to open. ``unreadable``: none of these."""
    if not stored:
        return "empty"
    if _HOST.fullmatch(stored):
        return "host"
    if _OURS.fullmatch(stored):
        return "ours"
    return "plain" if is_token(stored) and not _SOMEBODYS.match(stored) else "unreadable"


def is_token(text: str) -> bool:
    """Whether a text can be a token at all: what a Bearer header can carry, and longer than a word."""
    return len(text) >= SHORTEST_TOKEN and _PLAIN.fullmatch(text) is not None


class HostEnvelope:
    """Opens with the one key of the host app (AES-256-GCM, 16-byte iv)."""

    def __init__(self, key: bytes):
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "HostEnvelope(***)"

    def open(self, stored: str) -> Secret:
        """The token inside. Raises SealBroken: another form (it is named), another key, altered bytes."""
        match = _HOST.fullmatch(stored)
        if match is None:
            raise SealBroken(f"not the host app's envelope; its form is: {form_of(stored)}")
        iv, tag, sealed = (bytes.fromhex(part) for part in match.groups())
        try:
            opened = self._cipher.decrypt(iv, sealed + tag, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise SealBroken("the host app's envelope does not open with this key, or it was altered") from None
        if not is_token(opened):
            raise SealBroken("the host app's envelope holds no token")
        return Secret(opened)
