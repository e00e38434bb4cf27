"""The words of the native core are those of Python, byte for byte."""

from __future__ import annotations

import sys
from itertools import product
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.words import words
from gateway.inspection.words.native import PYTHON_WORDS, Core, Words

DISTINCTIVE, DIGESTS = PYTHON_WORDS
KEY = bytes(range(32))
MARKS = "_-.@+%:/$ \t\n\"',;()\u00a0\u2019\u2014\uff0c"
PIECES = st.one_of(
    st.sampled_from(
        [
            "2024-01-02",
            "20240102",
            "t10:00:00.5z",
            "T10:00+01:00",
            "9:30",
            "09:30:15.25Z",
            "DE44",
            "de44 5001 0517",
            "GB12 ABCD 1234 5678 9",
            "because",
            "everything",
            "ann@corp.example",
            "https://x.example/a/long-path/12345678",
            "İstanbul",
            "STRASSE\u1e9e",
            "\ud800",
            "\x00",
            "\u212aelvin-12345",
        ]
    ),
    st.text(alphabet=MARKS, max_size=4),
    st.text(alphabet="ab01234567@_/:. ", max_size=24),
    st.text(alphabet="abcXYZ0123456789:t+-z.", max_size=12),
    st.text(max_size=12),
    st.integers(0, 10**12).map(str),
    st.sampled_from("abz9").map(lambda letter: letter * 300),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text()


@pytest.fixture(scope="session")
def native(core: Core) -> Words:
    return core.Words(sorted(words.COMMON), words.accounts)


@given(text=TEXTS)
@example(text="2024-01-02t10:00:00z+ 1:00:00.z 12:345 2024-1-02 0000-19-39t:.z")
@example(text="invoices 48213_, 59124@, a12345/ and 60235/a")
@example(text="DE44 5001 0517 5407 3249 31")
def test_the_distinctive_words_of_a_text_are_those_of_python(native: Words, text: str):
    assert native.distinctive(text) == DISTINCTIVE(text)


def test_every_letter_parts_or_joins_words_as_in_python(native: Words):
    for first in range(0, sys.maxunicode + 1, 4096):
        text = " ".join([f"{letter}ab{letter}cd12345" for letter in map(chr, range(first, first + 4096))])
        assert native.distinctive(text) == DISTINCTIVE(text)


def test_each_short_word_of_letters_digits_and_marks_counts_as_in_python(native: Words):
    """Each alone: in a text another word may have the same part."""
    found = ["".join(letters) for length in range(4, 8) for letters in product("a1_:/", repeat=length)]

    assert [word for word in found if native.distinctive(word) != DISTINCTIVE(word)] == []


def test_words_that_are_nearly_dates_or_times_count_as_in_python(native: Words):
    random = Random(16)
    moments = ("2024-01-02t10:00:00.5+01:00", "20240102t1000z", "2024-12-31", "10:20:30.125z", "9:05z")
    found: list[str] = []
    for _ in range(20_000):
        letters = list(random.choice(moments))
        for _ in range(random.randrange(1, 3)):
            letters[random.randrange(len(letters))] = random.choice(("", "", *"0123459:tz.-+ax"))
        found.append("".join(letters))

    assert [word for word in found if native.distinctive(word) != DISTINCTIVE(word)] == []


@given(found=st.lists(st.binary(max_size=40)), key=st.binary(min_size=1, max_size=80))
def test_the_digests_of_words_are_those_of_python(native: Words, found: list[bytes], key: bytes):
    for given_words in (found, set(found), iter(found)):
        assert native.digests(given_words, key) == DIGESTS(found, key)


def test_digests_without_a_key_are_refused_as_in_python(native: Words):
    for digests in (native.digests, DIGESTS):
        with pytest.raises(ValueError, match="digests of words need a key"):
            digests([b"word"], b"")
