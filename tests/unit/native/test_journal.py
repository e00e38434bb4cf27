"""The journal of the native core is that of Python, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.journal.chain import GENESIS, Chain
from gateway.native.core import Core

KEYS = st.none() | st.binary(max_size=130)
FIELDS = st.binary(max_size=200) | st.sampled_from([b"{}", b"{", b"", b'{"a":1}'])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(key=KEYS, seq=st.integers(0, 2**63), time=TEXTS, kind=TEXTS, fields=FIELDS, prev=TEXTS)
@example(key=b"k" * 64, seq=1, time="", kind="", fields=b"{}", prev=GENESIS)
@example(key=b"k" * 65, seq=1, time="", kind="", fields=b"{}", prev=GENESIS)
def test_a_line_and_its_link_are_those_of_python(
    core: Core, *, key: bytes | None, seq: int, time: str, kind: str, fields: bytes, prev: str
):
    assert core.Chain(key).linked(seq, time, kind, fields, prev) == Chain(key).linked(seq, time, kind, fields, prev)


def test_a_chain_that_the_core_wrote_is_intact(core: Core):
    chain, prev = Chain.of(b"k" * 32), GENESIS
    native = core.Chain(chain.key)
    for seq in range(1, 50):
        line, link = native.linked(seq, "2026-11-25T10:00:00.000Z", "call", b'{"id":"x"}', prev)
        assert (chain.checked(line), chain.follows(line, prev)) == (link, True)
        prev = link


@pytest.mark.parametrize("text", ["time", "kind", "prev"])
def test_a_text_that_is_no_unicode_is_refused_as_in_python(core: Core, text: str):
    parts = {"time": "", "kind": "", "prev": "", text: "\ud800"}
    for chain in (core.Chain(None), Chain(None)):
        with pytest.raises(UnicodeEncodeError):
            chain.linked(1, fields=b"{}", **parts)
