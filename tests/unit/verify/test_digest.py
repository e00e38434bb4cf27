"""The digest of arguments has to be the same on both sides, or honest calls are refused and others pass."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.base.json import canonical
from gateway.model.wire import Disposition
from gateway.wire.protocol.methods import TABLE
from opagate import verify

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.integers(-(2**53) - 9, 2**53 + 9)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5), max_leaves=20
)


@given(VALUES)
@example({"\ue000": 1, "\U0001f600": 2})
@example({"a": 2**53, "b": "i9007199254740992"})
@example({"": {"\x00": "\u007f\u2028"}})
def test_the_digest_is_that_of_the_gateway(value: Any):
    assert verify.digest(value) == canonical.digest(value)


@given(
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0]).filter(math.isfinite)
)
@example(1e21)
@example(1e-7)
@example(5e-324)
@example(123456789012345680000.0)
@example(-0.0)
def test_each_double_is_written_as_the_reference_writes_it(value: float):
    assert verify._number(value).encode() == rfc8785.dumps(value)


@given(VALUES)
def test_the_digest_survives_any_spelling_of_the_same_json(value: Any):
    spaced = json.dumps(value, indent=1, ensure_ascii=True)

    assert verify.digest(verify._load(spaced.encode())) == verify.digest(value)


@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any):
    same = verify.digest(one) == verify.digest(other)

    assert same is (canonical.digest(one) == canonical.digest(other))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800", {"\udfff": 1}])
def test_a_value_that_is_not_json_has_no_digest(value: Any):
    with pytest.raises(ValueError):
        verify.digest(value)


def test_a_number_is_the_same_however_it_is_written():
    assert verify.digest({"n": 1}) == verify.digest({"n": 1.0}) == verify.digest({"n": 1e0})
    assert verify.digest({"n": 1}) != verify.digest({"n": "1"})
    assert verify.digest({"n": 1}) != verify.digest({"n": True})


def test_messages_are_exactly_the_methods_that_policy_does_not_decide():
    passed = {name for name, row in TABLE.items() if row.disposition in {Disposition.PASS, Disposition.FILTER}}

    assert passed == verify.MESSAGES
