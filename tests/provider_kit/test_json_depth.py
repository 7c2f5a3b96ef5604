"""How deep an answer may nest: 64 levels of brackets, whatever stands in its texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evercgm.core.errors import VendorChanged
from evercgm.provider_kit.send import DEEPEST, read_json

# Texts that try to look like structure, or to hide some.
HOSTILE = st.sampled_from(["[", "]", "{", "}", '"', "\\", '\\"', '["', '"]', "[]", "\\\\", ",", "\n", "é", ""])
TEXTS = st.lists(HOSTILE, max_size=6).map("".join)


def nested(depth: int, text: str, *, objects: bool) -> bytes:
    """``depth`` levels, each beside the text."""
    value: object = text
    for _ in range(depth):
        value = {text: value, "b": text} if objects else [text, value, text]
    return json.dumps(value).encode()


@given(TEXTS, st.booleans(), st.integers(0, 3))
def test_the_64th_level_is_read_and_the_65th_refused(text: str, objects: bool, beyond: int) -> None:
    body = nested(DEEPEST + 1 - beyond, text, objects=objects)

    if beyond:
        assert json.loads(body) == read_json(body, object)
    else:
        with pytest.raises(VendorChanged, match="nested"):
            read_json(body, object)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 65,
        b'{"unknown": ' + b"[" * 65 + b"]" * 65 + b"}",
        b'["]",' * 65 + b"1" + b"]" * 65,
        b'["\\"]",' * 65 + b"1" + b"]" * 65,
        b'["\\\\",' * 65 + b"1" + b"]" * 65,
        b"[[]," * 64 + b"[1]" + b"]" * 64,
    ],
)
def test_an_answer_of_65_levels_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(VendorChanged, match="nested more deeply"):
        read_json(body, dict[str, object])


@pytest.mark.parametrize(
    "body", [b"[" * 64 + b"]" * 64, json.dumps(["[" * 1000] * 100).encode(), b"[" + b"[]," * 99 + b"[]]"]
)
def test_breadth_and_brackets_in_texts_are_no_depth(body: bytes) -> None:
    assert json.loads(body) == read_json(body, object)
