"""Digests of values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json.canonical import digest
from gateway.model.wire import Json


def test_the_digest_is_over_the_rfc_8785_form():
    text = '{"a":1,"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"€":"$"}'
    value: Json = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "€": "$",
        "literals": [None, True, False],
        "a": 1,
    }
    assert digest(value) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_members_does_not_matter():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


DIFFERENT: list[tuple[Json, Json]] = [
        ([1], [1, 1]), ([[]], [{}]), ({"a": "1"}, {"a": 1}), ({"a": None}, {}), (["a", "b"], ["b", "a"]), ("é", "e\u0301"),
        ([2**53], [2**53 + 1]), ([2**60], [str(2**60)]), ([2**60], [f"i{2**60}"]), ([2**60, 2**60], [2**60, f"i{2**60}"]), ([2**60], [-(2**60)]), ([2**60, "a"], [2**60, "sa"]),
        ([True], [1]), ([False], [0]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_digests(one: Json, other: Json):
    assert digest(one) != digest(other)


def test_a_wide_integer_anywhere_has_a_digest():
    assert digest({"a": [{"b": 2**63 - 1, "c": [None, True, 1.5, 1, "x"]}]}).startswith("sha256:")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"a": ["\udfff"]}])
def test_what_is_not_json_is_an_error(value: Json):
    with pytest.raises(ValueError):
        digest(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def typed(value: Json) -> object:
    """A form in which `True` and `1` differ."""
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [typed(item) for item in value]
    return (type(value).__name__, value)


@given(values, values)
def test_digests_are_equal_exactly_if_the_values_are(one: Json, other: Json):
    assert (digest(one) == digest(other)) == (typed(one) == typed(other))
