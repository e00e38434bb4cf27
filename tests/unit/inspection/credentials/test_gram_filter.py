"""The known grams of a text, found without a number for each of its grams."""

from __future__ import annotations

import string
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.credentials import index
from gateway.inspection.credentials.fingerprint import Fingerprints, grams_of_digests
from gateway.inspection.credentials.index import CredentialIndex, GramFilter
from gateway.model.shingles import gram, grams_of

KEYED = Fingerprints(b"k" * 32)
CHANCE = Random(11)
SECRETS = ["".join(CHANCE.choices(string.ascii_letters + string.digits, k=24)) for _ in range(30)]


def known(*values: str) -> set[int]:
    return {gram(shingle) for value in values for shingle in grams_of(KEYED.shingles(value))}


def found(text: str, grams: set[int]) -> set[int] | None:
    marks = GramFilter()
    for digest in grams:
        marks.add(digest)
    return marks.find(KEYED.gram_digests(text.encode()), grams)


@given(st.lists(st.sampled_from([*SECRETS, "some", "words", " and "]), max_size=12), st.integers(0, 5))
def test_it_finds_what_a_set_finds(parts: list[str], count: int):
    text, grams = "-".join(parts), known(*SECRETS[:count])
    assert found(text, grams) == grams & set(KEYED.grams(text.encode()))


def test_each_gram_is_found_at_each_place():
    text = f"{SECRETS[0]} is between {SECRETS[1]}"
    for digest in KEYED.grams(text.encode()):
        assert found(text, {digest}) == {digest}
    assert found("", known(SECRETS[0])) == set()


def test_many_known_grams_are_for_a_set_to_find():
    assert found(SECRETS[0], known(*SECRETS)) is None
    index = CredentialIndex({KEYED.of(value): KEYED.shingles(value) for value in SECRETS})
    assert index.find_grams(KEYED.gram_digests(SECRETS[3].encode())) == known(SECRETS[3])


def test_a_gram_that_was_removed_is_not_found():
    index = CredentialIndex({KEYED.of(value): KEYED.shingles(value) for value in SECRETS[:2]})
    index.remove(KEYED.of(SECRETS[0]))
    assert index.find_grams(KEYED.gram_digests(" ".join(SECRETS[:2]).encode())) == known(SECRETS[1])
    index.remove(KEYED.of(SECRETS[1]))
    assert index.find_grams(KEYED.gram_digests(SECRETS[1].encode())) == set()


def test_the_order_of_bytes_in_a_number_is_the_machines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "_ORDER", "big")
    digest = 0x1122_3344_5566_0000
    marks = GramFilter()
    marks.add(digest)
    block = digest.to_bytes(8, "big") + b"\xaa" * 8
    assert marks.find(bytearray(b"\x11" * 16 + block), {digest}) == {digest}
    assert list(grams_of_digests(bytearray())) == []
