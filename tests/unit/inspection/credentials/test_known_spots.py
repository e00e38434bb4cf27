"""Where known credentials stand in a text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from urllib.parse import quote

import pytest

from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.known_spots import LONGEST, KnownSpots, LiveSpots
from tests.unit.live import live_values

DETECTOR = Detector(ruleset.load(), Fingerprints(b"k" * 32))
OF = DETECTOR.fingerprints
WORD = "k7Qz-93mW-2tRx-8bLn"
SHORT = "xK9!q"
PHRASE = "correct horse battery staple 77"
PARTED = [
    "R5IqzoZEMtWHBpNnVw5bKK/6rtZ26qGO3BPWYV9V", "yRfC7WMl+Clpz+qNTicXIddmPYD0aALneDiYchcE", "/aNkQrbamUT1anDaeVPZLYt4sPAnTMH3qaolNDzd",
    "JwZda/wqUSBJPn6MTrwkFXb4+e+7Y0bVO70ni72/", "57E974jnmtM9fFIwP75o4jCq6sa3XuennOIYLYm9",
]  # fmt: skip
"""Secret keys of AWS, of which most have separators in them."""


def known(*values: str, rule: str | None = None) -> KnownSpots:
    index = CredentialIndex({OF.of(value): OF.shingles(value) for value in values})
    return KnownSpots(DETECTOR, [index], {} if rule is None else {OF.of(value): rule for value in values})


def marked(text: str, *values: str) -> str:
    spots = known(*values)(text)
    for begin, end, found in reversed(spots):
        assert found in {f"seen:{OF.of(value)}" for value in values}
        text = f"{text[:begin]}#{text[end:]}"
    return text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (WORD, "#"),
        (f"use {WORD} there, and {WORD}", "use # there, and #"),
        (f"https://pages.example/{WORD}/x?a=1", "https://pages.example/#/x?a=1"),
        (f"https://ada:{WORD}@git.example/repo", "https://ada:#@git.example/repo"),
        (f"/arguments/{WORD}/0", "/arguments/#/0"),
        (f'{{"a": "{WORD}"}}', '{"a": "#"}'),
        (f"é {WORD} ü", "é # ü"),
        (f"read-{WORD}-all", "#"),
        (f"a {WORD[:10]} {WORD[10:]} b", "#"),
        (" ".join(WORD), "#"),
        (f"k={quote(WORD)}&b={base64.b64encode(WORD.encode()).decode()}", "k=#&b=#"),
        ("nothing of note", "nothing of note"),
        ("", ""),
    ],
)
def test_the_word_that_holds_a_credential_is_its_spot_or_the_whole_text(text: str, shown: str):
    assert marked(text, WORD) == shown


@pytest.mark.parametrize("value", PARTED)
@pytest.mark.parametrize("text", ["SECRET_KEY={}", "https://ada:{}@git.example/repo", "a={},b=1", "{}"])
def test_a_credential_with_separators_in_it_is_the_spot_with_all_its_parts(value: str, text: str):
    assert marked(text.format(value), value) == text.format("#")


@pytest.mark.parametrize("value", PARTED)
@pytest.mark.parametrize("text", ["SECRET_KEY={}", "https://ada:{}@git.example/repo", "a={},b=1", "{} {}"])
def test_all_letters_of_a_live_value_are_in_its_spot(value: str, text: str):
    values = live_values()
    values.hold("lease", [value, "ASIARZPUZDIKJS3A4BSW"], "cloud")
    said = text.format(value, value).encode()
    hits = LiveSpots(values, DETECTOR).hits(said)

    assert [said[hit.start : hit.end].decode() for hit in hits] == [value] * text.count("{}")


@pytest.mark.parametrize("value", [SHORT, PHRASE, "48213377"])
def test_short_values_and_phrases_are_found_as_a_whole(value: str):
    assert marked(value, value) == "#"
    assert marked(f"with {value} in it", value) in {"with # in it", "#"}
    assert marked(f"with {value[:3]} in it", value) == f"with {value[:3]} in it"


DISGUISES: Mapping[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "no width": "\u200b".join,
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_form_hides_it(disguise: str):
    text = DISGUISES[disguise](WORD)
    assert marked(f"a {text} b", WORD) in {"a # b", "#"}
    assert known(WORD).holds_any([f"a {text} b"])


def test_two_credentials_have_a_mark_each():
    spots = known(WORD, "Zz81-plum-QQ42")(f"{WORD} and Zz81-plum-QQ42")
    assert [found for _, _, found in spots] == [f"seen:{OF.of(WORD)}", f"seen:{OF.of('Zz81-plum-QQ42')}"]


def test_the_rule_that_found_it_is_named_if_it_is_known():
    assert known(WORD, rule="named-password")(WORD) == [(0, len(WORD), f"named-password:{OF.of(WORD)}")]


def test_several_texts_that_hold_it_together_are_told():
    halves = [WORD[:10], WORD[10:]]
    assert known(WORD).holds_any(halves)
    assert known(WORD).holds_any({halves[0]: halves[1]})
    assert not known(WORD).holds_any(["an honest text", {"a": ["b", 7, None]}])


def test_a_text_beyond_the_limit_is_one_spot_and_one_without_is_none():
    long = "word " * LONGEST
    assert known(WORD)(long) == []
    assert known(WORD)(long + WORD) == [(0, len(long) + len(WORD), f"seen:{OF.of(WORD)}")]


def test_a_text_that_cannot_be_searched_holds_whatever_it_may():
    assert known(WORD)("word " * 100_000)[0][2] == "unsearched"
    assert known(WORD).holds_any(["word " * 100_000])


def test_without_credentials_nothing_is_found():
    nothing = KnownSpots(DETECTOR, [CredentialIndex({})])
    assert nothing(WORD) == []
    assert not nothing.holds_any([WORD])
