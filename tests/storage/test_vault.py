"""Sealed values: open only in their own place, with a key of the ring, unaltered."""

import base64
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret
from evercgm.storage.vault import Place, Vault, key_id, named_key

PLACE = Place("cgm_connections", "access_token", "c-1")
KEY = secrets.token_bytes(32)


def test_a_value_opens_where_it_was_sealed() -> None:
    vault = Vault(KEY)

    assert vault.open(vault.seal(Secret("a token"), PLACE), PLACE) == Secret("a token")


@given(st.text(), st.text(), st.text(), st.text())
def test_any_text_opens_as_it_was_in_any_place(text: str, table: str, column: str, row_id: str) -> None:
    vault = Vault(KEY)
    place = Place(table, column, row_id)

    sealed = vault.seal(Secret(text), place)

    assert vault.open(sealed, place) == Secret(text)
    assert sealed == "" or named_key(sealed) == key_id(KEY)


def test_any_aes_256_gcm_opens_a_value_with_the_key_and_the_place_and_nothing_less() -> None:
    raw = base64.urlsafe_b64decode(Vault(KEY).seal(Secret("a token"), PLACE).split(".")[2])
    nonce, ciphertext, tag = raw[:12], raw[12:-16], raw[-16:]

    def opened(place: bytes) -> bytes:
        cipher = Cipher(AES256(KEY), GCM(nonce, tag)).decryptor()
        cipher.authenticate_additional_data(place)
        return cipher.update(ciphertext) + cipher.finalize()

    assert opened(PLACE.associated_data()) == b"a token"
    with pytest.raises(InvalidTag):
        opened(b"")


def test_the_same_text_is_sealed_differently_each_time() -> None:
    vault = Vault(KEY)

    assert len({vault.seal(Secret("a token"), PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place("cgm_connections", "access_token", "c-2"),
        Place("cgm_connections", "refresh_token", "c-1"),
        Place("sync_state", "access_token", "c-1"),
        Place("cgm_connectionsa", "ccess_token", "c-1"),
    ],
)
def test_a_value_moved_to_another_row_column_or_table_does_not_open(elsewhere: Place) -> None:
    vault = Vault(KEY)
    sealed = vault.seal(Secret("a token"), PLACE)

    with pytest.raises(SealBroken):
        vault.open(sealed, elsewhere)


@given(st.lists(st.text(), min_size=3, max_size=3), st.lists(st.text(), min_size=3, max_size=3))
def test_two_places_have_the_same_associated_data_only_if_they_are_one(one: list[str], other: list[str]) -> None:
    same = Place(*one).associated_data() == Place(*other).associated_data()

    assert same == (one == other)


@pytest.mark.parametrize("text", ["a", "a token", "two words of token", "t" * 1200])
def test_no_byte_of_nonce_ciphertext_or_tag_can_be_changed(text: str) -> None:
    vault = Vault(KEY)
    version, name, body = vault.seal(Secret(text), PLACE).split(".")
    raw = base64.urlsafe_b64decode(body)

    for n in range(len(raw)):
        altered = raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :]
        with pytest.raises(SealBroken):
            vault.open(f"{version}.{name}.{base64.urlsafe_b64encode(altered).decode()}", PLACE)


# Lengths that leave 0, 1 and 2 characters of padding: the last character then has bits that mean nothing.
@pytest.mark.parametrize("text", ["a", "ab", "abc"])
def test_no_character_of_a_sealed_value_can_be_changed(text: str) -> None:
    vault = Vault(KEY, (secrets.token_bytes(32),))
    sealed = vault.seal(Secret(text), PLACE)

    for n, old in enumerate(sealed):
        for new in {chr(ord(old) ^ bit) for bit in (1, 2, 4, 8, 16, 32, 64, 128)} | set("+/-_=. \n\x00é"):
            if new != old:
                with pytest.raises(SealBroken):
                    vault.open(sealed[:n] + new + sealed[n + 1 :], PLACE)


def test_a_value_cut_at_any_length_does_not_open_and_nothing_at_all_is_an_absent_secret() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(Secret("a token"), PLACE)

    for length in range(1, len(sealed)):
        with pytest.raises(SealBroken):
            vault.open(sealed[:length], PLACE)
    assert not vault.open(sealed[:0], PLACE)


@pytest.mark.parametrize("more", [".", "=", "A", "AAAA", " ", "\n", "\x00", ".AAAA"])
def test_a_value_with_more_behind_it_does_not_open(more: str) -> None:
    vault = Vault(KEY)

    with pytest.raises(SealBroken):
        vault.open(vault.seal(Secret("a token"), PLACE) + more, PLACE)


@pytest.mark.parametrize("version", ["v0", "v2", "v10", "v255", "V1", "1", "v", "", " v1", "v1 "])
def test_another_version_is_refused_whatever_follows(version: str) -> None:
    vault = Vault(KEY)
    _, name, body = vault.seal(Secret("a token"), PLACE).split(".")

    with pytest.raises(SealBroken):
        vault.open(f"{version}.{name}.{body}", PLACE)


def test_a_value_under_the_name_of_another_key_of_the_ring_does_not_open() -> None:
    other = secrets.token_bytes(32)
    _, _, body = Vault(KEY).seal(Secret("a token"), PLACE).split(".")

    for name in (key_id(other), "00000000", key_id(KEY).upper() + "x", ""):
        with pytest.raises(SealBroken):
            Vault(KEY, (other,)).open(f"v1.{name}.{body}", PLACE)


@given(st.text(min_size=1))
def test_any_other_text_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SealBroken) as caught:
        Vault(KEY).open(text, PLACE)

    assert str(caught.value) == "cgm_connections.access_token: no key of the ring opens this value"


@pytest.mark.parametrize("text", ["x", "v1", "v1.", "v0.00000000.AAAA", "v255.00000000.AAAA", "a:b:c", "v1.00000000.é"])
def test_another_form_or_an_unknown_key_is_refused(text: str) -> None:
    with pytest.raises(SealBroken):
        Vault(KEY).open(text, PLACE)


def test_nothing_of_a_key_shows_in_the_text_of_a_vault() -> None:
    vault = Vault(KEY, (secrets.token_bytes(32),))

    assert repr(vault) == str(vault) == f"Vault(primary={key_id(KEY)})"
    assert vault.key_ids[0] == key_id(KEY)
    assert KEY.hex()[:8] not in vault.key_ids


def test_a_previous_key_still_opens_and_the_new_one_seals() -> None:
    new = secrets.token_bytes(32)
    sealed = Vault(KEY).seal(Secret("a token"), PLACE)
    ring = Vault(new, (KEY,))

    assert ring.open(sealed, PLACE) == Secret("a token")
    assert ring.seal(Secret("a token"), PLACE).split(".")[1] == key_id(new)


def test_an_absent_secret_is_an_empty_text_and_never_sealed() -> None:
    vault = Vault(KEY)

    assert vault.seal(Secret(""), PLACE) == ""
    assert not vault.open("", PLACE)
