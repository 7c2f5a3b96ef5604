"""The host app's envelope opens with its key only; every other form is named, none is guessed."""

import base64
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret
from evercgm.storage.host_envelope import HostEnvelope, form_of
from evercgm.storage.vault import Place, Vault

KEY = secrets.token_bytes(32)


def host_sealed(text: str, key: bytes = KEY) -> str:
    """As the host app writes it: hex(iv):hex(tag):hex(ciphertext)."""
    iv = secrets.token_bytes(16)
    raw = AESGCM(key).encrypt(iv, text.encode(), None)
    return f"{iv.hex()}:{raw[-16:].hex()}:{raw[:-16].hex()}"


@pytest.mark.parametrize("token", ["a-token-of-theirs", "eyJhbGciOi.e30.c2ln", "t" * 3000])
def test_a_token_of_the_host_app_opens_with_its_key(token: str) -> None:
    sealed = host_sealed(token)

    assert Secret(token) == HostEnvelope(KEY).open(sealed)
    assert Secret(token) == HostEnvelope(KEY).open(sealed.upper())


def test_another_key_opens_nothing_and_says_nothing_of_the_token() -> None:
    with pytest.raises(SealBroken) as refused:
        HostEnvelope(secrets.token_bytes(32)).open(host_sealed("marked-token"))

    assert "does not open with this key" in str(refused.value)
    assert refused.value.__cause__ is None


def test_no_digit_of_an_envelope_can_be_changed() -> None:
    sealed = host_sealed("a-token")

    for place, digit in enumerate(sealed):
        if digit == ":":
            continue
        altered = sealed[:place] + ("1" if digit != "1" else "2") + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            HostEnvelope(KEY).open(altered)


@pytest.mark.parametrize(
    ("stored", "form"),
    [
        ("", "empty"),
        (host_sealed("x"), "host"),
        (Vault(KEY).seal(Secret("x"), Place("t", "c", "r")), "ours"),
        ("plain-access-b1", "plain"),
        ("eyJhbGciOi.eyJzdWIiOi.c2ln", "plain"),
        (base64.b64encode(b"\xfb\xff token").decode(), "plain"),
        ("enc:placeholder-a1a", "unreadable"),
        ("00ff:00ff:00ff", "unreadable"),
        (host_sealed("x") + ":00", "unreadable"),
        (host_sealed("x")[:-1], "unreadable"),
        (host_sealed("x") + "\n", "unreadable"),
        ("two words", "unreadable"),
        ('{"iv": "x"}', "unreadable"),
    ],
    # Names of their own: some values are random, and a test's name must not be.
    ids=range(13),
)
def test_each_form_is_named(stored: str, form: str) -> None:
    assert form == form_of(stored)


@pytest.mark.parametrize("stored", ["", "plain-access-b1", "enc:placeholder-a1a", "v1.00000000.QUJD"])
def test_what_is_no_envelope_of_the_host_is_refused_by_its_name(stored: str) -> None:
    with pytest.raises(SealBroken, match=form_of(stored)):
        HostEnvelope(KEY).open(stored)


def test_the_envelope_does_not_show_its_key() -> None:
    assert KEY.hex() not in repr(HostEnvelope(KEY))


@pytest.mark.parametrize("inside", ["short", "with a blank in it", "with\nbreak-in-it", "t\u00f6ken-not-ascii"])
def test_an_envelope_that_holds_no_token_is_refused(inside: str) -> None:
    with pytest.raises(SealBroken, match="holds no token"):
        HostEnvelope(KEY).open(host_sealed(inside))


@pytest.mark.parametrize(
    "stored", ["REVOKED", "null", "gAAAAABl" + "x" * 60 + "==", "v1.ABCDEF12.AAAA", "v2.aaaa.bbbbbbbb"]
)
def test_what_is_somebodys_envelope_or_a_word_is_no_plain_token(stored: str) -> None:
    assert form_of(stored) == "unreadable"
