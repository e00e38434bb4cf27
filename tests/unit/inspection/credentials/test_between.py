"""Words and letters that were put between the pieces of a credential."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.credentials.decoders import LONGEST, without_fillers
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from tests import effort
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
VALUE = "Vq7tR2xLm9zKd4Wb"
KNOWN = {KEYED.of(VALUE): KEYED.shingles(VALUE)}
FRUIT = ("apple", "pear", "grape", "lemon", "melon", "cherry", "banana")


def pieces(size: int) -> list[str]:
    return [VALUE[at : at + size] for at in range(0, len(VALUE), size)]


FILLED = {
    "one word": " and ".join(pieces(3)),
    "words": " ".join(f"{piece} {Random(piece).choice(FRUIT)}" for piece in pieces(3)),
    "words before": ", ".join(f"{fruit} {piece}" for fruit, piece in zip(FRUIT * 3, pieces(2), strict=False)),
    "sentences": " then comes the ".join(VALUE),
    "one letter": "x".join(VALUE),
    "letters": "".join(char + Random(char).choice("abcdefgh") for char in VALUE),
    "two letters": "".join(f"{char}{Random(char).choice('abcd')}q" for char in VALUE),
    "spelled": " x ".join(VALUE),
    "numbered": "\n".join(f"{number}. {char}" for number, char in enumerate(VALUE)),
    "dashed": "-x-".join(VALUE),
}


@pytest.mark.parametrize("way", FILLED)
def test_what_was_put_between_hides_nothing(way: str):
    for text in (FILLED[way], f"Please note:\n{FILLED[way]}\nThat is all."):
        found = DETECTOR.inspect({"x": text}, {}, KNOWN, new=False).findings
        assert [item.fingerprint for item in found] == [KEYED.of(VALUE)]


def test_words_in_several_arguments_are_left_out_too():
    arguments = {f"x{number}": text for number, text in enumerate(FILLED["words"].split())}
    assert DETECTOR.inspect(arguments, {}, KNOWN, new=False).findings


def test_prose_has_hardly_anything_left():
    assert len(without_fillers(b"The quick brown fox jumps over the lazy dog, every day of the week. " * 20)) < 400


@given(st.binary(max_size=400))
def test_nothing_makes_it_fail(data: bytes):
    assert len(without_fillers(data)) <= 8 * len(data) + 100


@pytest.mark.parametrize("text", [b"a " * 8_000, b"A1" * 8_000, b"aB " * 5_000, b"x" * LONGEST])
def test_hostile_text_takes_bounded_time(text: bytes):
    with effort.at_most(1):
        without_fillers(text)


def test_longer_text_is_not_looked_at():
    assert without_fillers(b"aB1 " * LONGEST) == b""
