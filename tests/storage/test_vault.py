"""Sealed values: open only in their own place, with a key of the ring, unaltered."""

import base64
import secrets

import pytest

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret
from evercgm.storage.vault import Place, Vault, key_id

PLACE = Place("cgm_connections", "access_token", "c-1")
KEY = secrets.token_bytes(32)


def test_a_value_opens_where_it_was_sealed() -> None:
    vault = Vault(KEY)

    assert vault.open(vault.seal(Secret("a token"), PLACE), PLACE) == Secret("a token")


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


def test_no_byte_of_a_sealed_value_can_be_changed() -> None:
    vault = Vault(KEY)
    version, name, body = vault.seal(Secret("a token"), PLACE).split(".")
    raw = base64.urlsafe_b64decode(body)

    for n in range(len(raw)):
        altered = raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :]
        with pytest.raises(SealBroken):
            vault.open(f"{version}.{name}.{base64.urlsafe_b64encode(altered).decode()}", PLACE)


@pytest.mark.parametrize("text", ["x", "v1", "v1.", "v0.00000000.AAAA", "v255.00000000.AAAA", "a:b:c", "v1.00000000.é"])
def test_another_form_or_an_unknown_key_is_refused(text: str) -> None:
    with pytest.raises(SealBroken):
        Vault(KEY).open(text, PLACE)


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
