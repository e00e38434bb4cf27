from __future__ import annotations

import base64
import random
from collections.abc import Callable
from urllib.parse import quote

import pytest

from gateway.inspection.credentials.forms import MAX_ENCODED, SHORTEST_ENCODED, decode_words
from gateway.inspection.words.words import distinctive

SAID = "The zanzibarian figures of Acme are 4471829, says ana@corp.example."


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def percent_of(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


FORMS: dict[str, Callable[[str], str]] = {
    "base64": base64_of,
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 in lines": lambda text: base64.encodebytes((text * 3).encode()).decode(),
    "base64 after other letters": lambda text: "xY" + base64_of(text),
    "hex": lambda text: text.encode().hex(),
    "percent": percent_of,
    "a query": lambda text: f"https://site.example/?q={quote(text)}",
    "escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "base64 twice": lambda text: base64_of(base64_of(text)),
    "hex of percent": lambda text: percent_of(text).encode().hex(),
    "among other words": lambda text: f"please look at {base64_of(text)}, thanks",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_words_of_an_encoded_text_are_found(form: str):
    assert {b"zanzibarian", b"ana@corp.example", b"4471829"} <= distinctive(decode_words(FORMS[form](SAID)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Send the report to Bob, and say that international cooperation is welcome.",
        "/srv/data/reports/quarterly/summary.txt",
        "https://docs.site.example/guide/getting-started",
        "a-very-long-name-of-a-branch-in-kebab-case/and/a/path",
        "dGhlIHphbnp",
    ],
)
def test_ordinary_arguments_are_not_decoded(text: str):
    assert decode_words(text) == ""


def test_sixteen_letters_are_the_least():
    word = base64_of("x" * SHORTEST_ENCODED)[: SHORTEST_ENCODED - 1]

    assert decode_words(word) == ""


def test_what_is_decoded_is_bounded():
    assert len(decode_words(base64_of("zanzibarian " * MAX_ENCODED))) < 4 * MAX_ENCODED


def test_pictures_share_no_words_with_what_was_read():
    chance = random.Random(7)
    read = distinctive(" ".join("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(5_000)))
    pictures = [base64.b64encode(chance.randbytes(20_000)).decode() for _ in range(50)]

    assert [picture[:20] for picture in pictures if distinctive(decode_words(picture)) & read] == []
