from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json import walk
from gateway.base.json.walk import FlatValue, Leaf, flatten, leaves
from gateway.model.wire import Json

VALUES = st.recursive(
    st.text(max_size=6) | st.integers(-(10**6), 10**18) | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~é", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def one_by_one(value: Json, pointer: str = "", name: str = "", member: str = "") -> Iterator[Leaf]:
    """Yield the leaves of a value by recursion."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = value if isinstance(value, str) else repr(value) if is_number else ""
    if text or member:
        yield Leaf(pointer, name, text.encode(), isinstance(value, str), member.encode())
    if isinstance(value, Mapping):
        for key, item in value.items():
            step = key.replace("~", "~0").replace("/", "~1")
            yield from one_by_one(item, f"{pointer}/{step}", key, key)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from one_by_one(item, f"{pointer}/{number}", name)


@given(VALUES)
def test_the_leaves_are_those_of_a_recursive_walk(value: Json):
    expected = list(one_by_one(value))

    found = leaves(value)

    assert found.found == expected
    assert found.complete
    assert found.size == sum(len(leaf.text) + len(leaf.member) for leaf in expected)
    parts = [leaf.text for leaf in expected] + [leaf.member for leaf in expected if leaf.member]
    assert found.data == b"\0".join(parts)
    assert sorted(text.encode() for text in found.texts) == sorted(part for part in parts if part)


def test_other_mappings_and_tuples_have_the_same_leaves():
    assert leaves(MappingProxyType({"a": ("b", 1)})) == leaves({"a": ["b", 1]})


def test_a_value_with_too_many_bytes_is_not_walked_to_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(walk, "MAX_BYTES", 10)

    assert [leaf.text for leaf in leaves(["12345", "67890"]).found] == [b"12345", b"67890"]
    assert leaves(["12345", "67890"]).complete
    cut = leaves(["12345", "678901", "2"])
    assert ([leaf.text for leaf in cut.found], cut.size, cut.complete) == ([b"12345"], 5, False)


def test_a_lone_surrogate_is_a_leaf():
    assert leaves(["\ud800"]).data == b"\xed\xa0\x80"


def flat(value: Json) -> FlatValue:
    """Return the scalars and names of a value by recursion."""
    if not isinstance(value, Mapping | list):
        return FlatValue([value], [])
    parts = [flat(item) for item in (value.values() if isinstance(value, Mapping) else value)]
    own = list(value) if isinstance(value, Mapping) else []
    return FlatValue(
        [item for part in parts for item in part.scalars], [*own, *(name for part in parts for name in part.names)]
    )


@given(VALUES)
def test_a_flat_value_has_all_scalars_and_names_in_order(value: Json):
    assert flatten(value) == flat(value)
