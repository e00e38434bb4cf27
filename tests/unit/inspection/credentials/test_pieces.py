"""Pieces of a known credential, and the words and numbers that are none."""

from __future__ import annotations

import string
from random import Random

import pytest

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.model.content import CredentialPiece
from gateway.model.shingles import GRAM, grams_of, is_exposed
from gateway.model.wire import Json
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
PASSWORD = "Vq7-tR2x_Lm9zKd4Wb"
HEX = "2c70e12b7a0646f92279f427"
DIGITS = "48210935771264508813"
WORD = "kqzvmwtrplxyhjbn"


def looked(value: str, arguments: dict[str, Json]) -> tuple[CredentialPiece, ...]:
    return DETECTOR.inspect(arguments, {}, CredentialIndex({KEYED.of(value): KEYED.shingles(value)}), new=False).pieces


@pytest.mark.parametrize(
    ("value", "fewest"), [(PASSWORD, 7), (HEX, 8), (DIGITS, 10), (WORD, 8), (f"{HEX}{HEX[7:]}{HEX[3:]}{HEX[11:]}x", 8)]
)
def test_a_piece_that_is_no_chance_is_found(value: str, fewest: int):
    (piece,) = looked(value, {"text": f"note that: {value[:fewest]}"})
    assert (piece.fingerprint, piece.shingles) == (KEYED.of(value), frozenset(grams_of(KEYED.shingles(value))))
    assert piece.grams <= set(KEYED.grams(value[:fewest].encode()))
    assert looked(value, {"text": f"note that: {value[: fewest - 2]}"}) == ()


def test_a_credential_that_is_there_whole_is_no_piece():
    assert looked(PASSWORD, {"x": PASSWORD}) == ()
    assert looked(PASSWORD, {"x": "nothing of note"}) == ()


def test_a_piece_is_found_in_every_form_and_place():
    for text in (PASSWORD[:9].upper(), " ".join(PASSWORD[:9]), PASSWORD[:9].encode().hex(), "x".join("Vq7tR2xL")):
        assert looked(PASSWORD, {"x": text})
        assert looked(PASSWORD, {text: 1})
    assert looked(PASSWORD, {"a": PASSWORD[:5], "b": "so", "c": PASSWORD[5:9]})


def test_a_part_of_a_long_value_is_found_by_the_sample_of_it():
    value = "".join(Random(3).choices(string.ascii_letters + string.digits, k=1_600))
    found = [looked(value, {"x": value[at : at + 64]}) for at in range(0, 1_600, 64)]
    assert sum(map(bool, found)) >= 20
    grams = {digest for pieces in found for piece in pieces for digest in piece.grams}
    assert is_exposed(KEYED.shingles(value), grams)


@pytest.mark.parametrize("value", [PASSWORD, HEX, DIGITS, WORD])
def test_more_than_half_of_the_letters_is_exposed(value: str):
    shingles = KEYED.shingles(value)
    letters = len(value.replace("-", "").replace("_", ""))
    for size in range(GRAM, letters + 1):
        grams = KEYED.grams(value.replace("-", "").replace("_", "")[:size].encode())
        assert is_exposed(shingles, grams) is (size > letters / 2)
    assert not is_exposed(shingles, ())
    assert not is_exposed((), KEYED.grams(value.encode()))


def test_pieces_beside_one_another_are_exposed_together():
    shingles = KEYED.shingles(PASSWORD)
    first, second = KEYED.grams(PASSWORD[:7].encode()), KEYED.grams(PASSWORD[-6:].encode())
    assert not is_exposed(shingles, first)
    assert not is_exposed(shingles, second)
    assert is_exposed(shingles, [*first, *second])
