from __future__ import annotations

import hmac
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.examples import ALPHABETS
from gateway.inspection.credentials.fingerprint import SAMPLE, Fingerprints, covered, distinguishing, normalised

KEYED = Fingerprints(b"k" * 32)


def secret(length: int = 40, seed: int = 1) -> str:
    return "".join(Random(seed).choices(ALPHABETS["w"], k=length))


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        Fingerprints(b"short")


def test_its_repr_shows_nothing_of_the_key():
    assert repr(Fingerprints(b"this is the very secret key")) == "Fingerprints()"


def test_a_fingerprint_is_short_hex_and_holds_nothing_of_the_value():
    name = KEYED.of("hunter2hunter2")

    assert len(name) == 24
    assert int(name, 16) >= 0


def test_a_fingerprint_is_an_hmac_that_others_can_check():
    assert KEYED.of("hunter2") == hmac.digest(b"k" * 32, b"hunter2", "sha256").hex()[:24]


def test_what_is_signed_for_one_host_is_another_credential_at_another():
    assert len({KEYED.of("hunter2"), KEYED.of("hunter2", "a.example"), KEYED.of("hunter2", "b.example")}) == 3


def test_another_key_gives_another_fingerprint_and_other_shingles():
    other = Fingerprints(b"o" * 32)

    assert other.of(secret()) != KEYED.of(secret())
    assert not other.shingles(secret()) & KEYED.shingles(secret())


@pytest.mark.parametrize("written", ['"{}"', "  {}\n", "'{}'", "`{}`", "“{}”", "\u200b{}\ufeff", '"\t{}\t"'])
def test_what_writing_it_down_adds_does_not_change_its_name(written: str):
    assert KEYED.of(written.format(secret())) == KEYED.of(secret())


def test_compatibility_forms_and_invisible_characters_do_not_change_its_name():
    wide = "".join(chr(ord(char) + 0xFEE0) for char in secret())

    assert KEYED.of(wide) == KEYED.of(secret())
    assert KEYED.of("\u200d".join(secret())) == KEYED.of(secret())


@given(st.text(max_size=80))
@settings(deadline=None)
def test_normalising_twice_is_normalising_once(text: str):
    assert normalised(normalised(text)) == normalised(text)


def test_lone_surrogates_have_a_name_too():
    assert KEYED.of("abc\ud800def") != KEYED.of("abcdef")


def test_shingles_are_a_bounded_sample():
    assert len(KEYED.shingles(secret(2000))) == SAMPLE
    assert KEYED.shingles("short") == frozenset()


@pytest.mark.parametrize("pieces", [2, 3, 5, 10])
def test_a_value_is_known_again_with_marks_between_its_pieces(pieces: int):
    value = secret()
    size = len(value) // pieces
    written = " - ".join(value[start : start + size] for start in range(0, len(value), size))

    assert covered(KEYED.shingles(value), KEYED.grams(written.upper().encode()))


def test_a_beginning_or_another_value_is_not_it():
    value = secret()

    assert not covered(KEYED.shingles(value), KEYED.grams(value[:20].encode()))
    assert not covered(KEYED.shingles(value), KEYED.grams(secret(seed=2).encode()))
    assert not covered(frozenset(), KEYED.grams(value.encode()))


@pytest.mark.parametrize(("kept", "present", "known"), [(8, 3, False), (8, 4, True), (9, 4, False), (9, 5, True)])
def test_half_of_a_value_is_the_value(kept: int, present: int, known: bool):  # noqa: FBT001 - a parameter of pytest
    assert covered(frozenset(range(kept)), range(present)) is known


def test_a_word_in_common_is_chance():
    assert not covered(KEYED.shingles("password2024!x"), KEYED.grams(b"the password of 2023"))


def test_two_tokens_of_one_issuer_are_told_apart_by_their_signatures():
    head = f"eyJ{secret(90, 3)}.eyJ{secret(200, 4)}"
    one, other = f"{head}.{secret(43, 5)}", f"{head}.{secret(43, 6)}"

    assert distinguishing(one) == secret(43, 5)
    assert distinguishing(f"{head}.short") == f"{head}.short"
    assert not covered(KEYED.shingles(one), KEYED.grams(other.encode()))
    assert covered(KEYED.shingles(one), KEYED.grams(one.encode()))


def test_of_a_very_long_value_the_beginning_is_its_name():
    value = secret(5000)

    assert KEYED.of(value) == KEYED.of(value[:3000])
    assert KEYED.of(value) != KEYED.of(value[:2000])
