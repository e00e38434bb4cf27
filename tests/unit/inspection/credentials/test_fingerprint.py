from __future__ import annotations

import hmac
import unicodedata
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.examples import ALPHABETS, example
from gateway.inspection.credentials import fingerprint as module
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import (
    LONGEST,
    SAMPLE,
    Fingerprints,
    find_distinguishing,
    is_half_covered,
    normalise_value,
)
from gateway.model.shingles import gram, grams_of, is_word_mark, mark_named, mark_of, name_of, word_mark
from tests.unit.inspection.credentials.conftest import RULES

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(RULES, KEYED)
TOKEN = example("ghp_{w:30}{crc62}", Random(1))


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
    assert normalise_value(normalise_value(text)) == normalise_value(text)


def test_lone_surrogates_have_a_name_too():
    assert KEYED.of("abc\ud800def") != KEYED.of("abcdef")


def test_shingles_are_a_bounded_sample():
    assert len(KEYED.shingles(secret(2000))) == SAMPLE + 1
    assert KEYED.shingles("short") == {word_mark(KEYED.of("short"))}


@pytest.mark.parametrize(
    "value", [secret(12), secret(40), secret(2000), f"eyJ{secret(9)}.eyJ{secret(99)}.{secret(43)}"]
)
@pytest.mark.parametrize("written", ["{}", "x{}y", "no: {}!", "{}".upper()])
def test_the_mark_of_a_value_is_in_whatever_holds_it_whole(value: str, written: str):
    mark = KEYED.mark(value)

    assert mark_of(KEYED.shingles(value)) == mark
    assert mark in KEYED.windows(written.replace("{}", "-".join(value.lower())).encode())
    assert mark not in KEYED.windows(secret(2000, 7).encode())
    assert mark_named(name_of(mark)) == mark


def test_a_credential_that_is_known_by_its_mark_alone_keeps_that_name():
    mark = mark_of(KEYED.shingles(TOKEN))
    assert mark is not None
    known = {name_of(mark): frozenset[int]()}

    assert [item.fingerprint for item in DETECTOR.inspect({"token": TOKEN}, {}, known).findings] == [name_of(mark)]
    assert [item.fingerprint for item in DETECTOR.inspect({"token": TOKEN}, {}, {}).findings] == [KEYED.of(TOKEN)]


def test_a_signature_for_one_host_is_not_named_by_the_mark_of_its_value():
    url = "https://bucket.s3.amazonaws.com/k?X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855"
    (found,) = DETECTOR.inspect({"url": url}, {}, {}).findings
    mark = mark_of(found.shingles)
    assert (found.host, mark is None) == ("bucket.s3.amazonaws.com", False)

    findings = DETECTOR.inspect({"url": url}, {}, {name_of(mark or 0): frozenset[int]()}).findings

    assert found.fingerprint in {item.fingerprint for item in findings if item.host is not None}


def test_a_short_value_is_marked_as_a_word():
    assert KEYED.mark("abc123def45") == word_mark(KEYED.of("abc123def45"))
    assert is_word_mark(KEYED.mark("hunter2"))
    assert not is_word_mark(KEYED.mark("abc123def456"))


def test_the_shingles_of_a_value_are_not_those_of_the_words_in_it():
    """Text about something else has the words, and a few of them in a row."""
    for value in ("k8s-Production-Db-7x9Q2w", "Welcome2024x-Kubernetes9", "orders-service-2f9a-kq71"):
        for word in ("production", "the Kubernetes service", "Welcome to", "orders service"):
            assert not set(grams_of(KEYED.shingles(value))) & {
                shingle for shingle in KEYED.shingles(value) if gram(shingle) in KEYED.grams(word.encode())
            }
    passphrase = KEYED.shingles("correct-horse-battery-staple")
    assert not {gram(item) for item in passphrase} & {*KEYED.grams(b"correct"), *KEYED.grams(b"battery")}
    assert is_half_covered(grams_of(passphrase), KEYED.grams(b"correct horse battery staple"))


def test_a_value_that_is_one_word_has_the_shingles_of_it():
    assert {gram(item) for item in grams_of(KEYED.shingles("kqzvmwtrplxy"))} == set(KEYED.grams(b"kqzvmwtrplxy"))


@pytest.mark.parametrize("pieces", [2, 3, 5, 10])
def test_a_value_is_known_again_with_marks_between_its_pieces(pieces: int):
    value = secret()
    size = len(value) // pieces
    written = " - ".join(value[start : start + size] for start in range(0, len(value), size))

    assert is_half_covered(grams_of(KEYED.shingles(value)), KEYED.grams(written.upper().encode()))


def test_a_beginning_or_another_value_is_not_it():
    value = secret()

    assert not is_half_covered(grams_of(KEYED.shingles(value)), KEYED.grams(value[:20].encode()))
    assert not is_half_covered(grams_of(KEYED.shingles(value)), KEYED.grams(secret(seed=2).encode()))
    assert not is_half_covered(frozenset(), KEYED.grams(value.encode()))


@pytest.mark.parametrize(
    ("kept", "present", "known"),
    [(3, 2, False), (3, 3, True), (8, 5, False), (8, 6, True), (12, 6, True), (13, 6, False), (13, 7, True)],
)
def test_half_of_a_value_is_the_value(kept: int, present: int, known: bool):  # noqa: FBT001 - a parameter of pytest
    sample = [place << 16 | place for place in range(kept)]
    assert is_half_covered(sample, [place << 16 for place in range(present)]) is known


def test_a_word_in_common_is_chance():
    assert not is_half_covered(grams_of(KEYED.shingles("password2024!x")), KEYED.grams(b"the password of 2023"))


def test_two_tokens_of_one_issuer_are_told_apart_by_their_signatures():
    head = f"eyJ{secret(90, 3)}.eyJ{secret(200, 4)}"
    one, other = f"{head}.{secret(43, 5)}", f"{head}.{secret(43, 6)}"

    assert find_distinguishing(one) == secret(43, 5)
    assert find_distinguishing(f"{head}.short") == f"{head}.short"
    assert not is_half_covered(grams_of(KEYED.shingles(one)), KEYED.grams(other.encode()))
    assert is_half_covered(grams_of(KEYED.shingles(one)), KEYED.grams(one.encode()))


def test_of_a_very_long_value_the_beginning_is_its_name():
    value = secret(LONGEST + 5000)

    assert KEYED.of(value) == KEYED.of(value[: LONGEST + 3000])
    assert KEYED.of(value) != KEYED.of(value[: LONGEST - 1])


@given(st.text(max_size=30) | st.text("a\u0301\u00ad\u200b\u3164\ufe0f\U000e0101\t\n\x00\u2800\ufeff", max_size=12))
@settings(max_examples=166)
def test_characters_without_a_look_are_left_out_wherever_they_stand(text: str):
    def seen(normal: str, hidden: set[str]) -> str:
        kept = [char for char in normal if char in "\t\n\r" or unicodedata.category(char) not in hidden]
        return "".join(char for char in kept if ord(char) not in module._FILLERS)

    assert module.shown(text) == seen(unicodedata.normalize("NFKC", text), {"Cf", "Cc"})
    assert module.bare(text) == seen(unicodedata.normalize("NFKD", text), {"Cf", "Cc", "Mn", "Me"})
