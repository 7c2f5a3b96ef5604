"""Every deed has a sentence, and nobody is told who another account is."""

from typing import get_args

import pytest

from evercgm.core.audit import OPERATOR, SERVICE, Action, by, owner_of, sentence


@pytest.mark.parametrize("action", get_args(Action))
def test_every_deed_has_a_sentence_of_its_own(action: str) -> None:
    others = {sentence(other) for other in get_args(Action) if other != action}

    assert sentence(action) not in {*others, sentence("a deed of a later version")}
    assert sentence(action).endswith(".")


@pytest.mark.parametrize(
    ("actor", "told"),
    [
        (owner_of("ada", "request").name, "you"),
        (owner_of("bob", None).name, "another account"),
        (SERVICE.name, "the service"),
        (OPERATOR.name, "the operator"),
        ("ada", "another account"),
        ("", "another account"),
    ],
)
def test_who_it_was_is_told_without_a_name(actor: str, told: str) -> None:
    assert by(actor, "ada") == told
