"""JSON pointers beside the examples of RFC 6901, and beside a plain walk on generated values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json.walk import child, escape, find_value, item_number, split_pointer, unescape
from gateway.model.wire import Json

DOCUMENT: Mapping[str, Json] = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
NAMES = st.text("ab/~01é", max_size=5)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_a_pointer_of_the_rfc_has_its_value(pointer: str, value: Json):
    assert find_value(DOCUMENT, split_pointer(pointer)) == value


@given(NAMES)
def test_a_name_comes_back_from_its_step(name: str):
    assert unescape(escape(name)) == name
    assert "/" not in escape(name)


def test_an_escaped_tilde_does_not_begin_another_escape():
    assert unescape("~01") == "~1"
    assert escape("~1") == "~01"


@given(st.lists(NAMES, max_size=4))
def test_names_come_back_from_their_pointer(names: list[str]):
    pointer = ""
    for name in names:
        pointer = child(pointer, name)

    assert split_pointer(pointer) == names


def places(value: Json, pointer: str = "") -> Iterator[tuple[str, Json]]:
    """Yield each pointer of a document with its value."""
    yield pointer, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from places(item, child(pointer, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, f"{pointer}/{number}")


@given(VALUES)
def test_each_value_of_a_document_is_found_at_its_pointer(document: Json):
    for pointer, value in places(document):
        assert find_value(document, split_pointer(pointer)) is value


@pytest.mark.parametrize(
    "pointer", ["/foo/2", "/foo/-1", "/foo/-", "/foo/+0", "/foo/0x0", "/foo/bar", "/foo/0/0", "/x"]
)
def test_a_pointer_to_nothing_has_no_value(pointer: str):
    assert find_value(DOCUMENT, split_pointer(pointer)) is None


def test_only_ascii_digits_number_an_item():
    assert item_number("01", 2) == 1
    assert item_number("²", 3) is None
    assert item_number("٠", 3) is None
    assert item_number("", 3) is None
    assert item_number("9" * 5_000, 3) is None
