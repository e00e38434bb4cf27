"""Letters as people see them: what is hidden is spelled out, what is stacked is bounded, what looks alike is named."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.letters import (
    count_cells,
    cut,
    find_mixed_words,
    fold,
    has_turning_letters,
    is_hidden,
    quote,
    spell_out,
)

HIDDEN = (
    "\x00\t\n\x0b\x0c\r\x1b\x1c\x1d\x1e\x7f\x85\x9b\xa0\xad\u034f\u061c\u115f\u180b\u180e\u180f\u200b\u200d\u200f\u2028\u2029"
    "\u202e\u2066\u2800\u3000\u3164\ufe0f\ufeff\uffa0\ufff9\ue000\ud800\u0378\u0338\u20dd\u0488\U000e0001\U000e0041\U000e0100"
)
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=60)
"""Surrogates too."""


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_a_hidden_character_is_spelled_out(character: str):
    told = spell_out(f"a{character}b")

    assert is_hidden(character)
    assert (character not in told, f"⟨U+{ord(character):04X}" in told) == (True, True)


@given(ANY_TEXT)
def test_whatever_is_spelled_out_is_one_printable_line(text: str):
    told = spell_out(text)

    assert told.splitlines() in ([told], [])
    assert told.isprintable()
    assert not any(map(is_hidden, told))
    assert spell_out(told) == told


@given(ANY_TEXT)
def test_the_surface_alone_decides_where_a_row_ends(text: str):
    rows = fold(spell_out(text), 20)

    assert "".join(rows) == spell_out(text)
    # A letter keeps its marks, so a row may be some cells wider.
    assert all(count_cells(row) <= 20 + 4 for row in rows)
    assert not any(row and unicodedata.category(row[0]) == "Mn" for row in rows)


def test_equal_hidden_characters_are_counted():
    assert spell_out("a" + "\u200b" * 1_000 + "b") == "a⟨U+200B ZERO WIDTH SPACE ×1000⟩b"


@pytest.mark.parametrize("text", ["größe", "Việt Nam", "שָׁלוֹם", "नमस्ते", "日本語", "🎉", "a → b", "e\u0302\u0301"])
def test_ordinary_text_stays_as_it_is(text: str):
    assert spell_out(text) == text


def test_stacked_marks_are_bounded():
    told = spell_out("a" + "\u0301" * 50 + "b")

    assert told == "a" + "\u0301" * 4 + "⟨U+0301 COMBINING ACUTE ACCENT ×46⟩b"


@pytest.mark.parametrize("text", ["\u0301abc", '"\u0301abc', "\n\u0301abc", " \u0301abc"])
def test_a_mark_changes_no_letter_of_the_gateway(text: str):
    assert "\u0301" not in spell_out(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("send to p\u0430ypal.example", "p\u0430ypal (CYRILLIC SMALL LETTER A)"),
        ("gr\u03bfup", "gr\u03bfup (GREEK SMALL LETTER OMICRON)"),
        ("pay\U0001d429al", "pay\U0001d429al (MATHEMATICAL BOLD SMALL P)"),
        ("\u0430\u0440\u0440.com", "\u0430\u0440\u0440 (CYRILLIC SMALL LETTER A, CYRILLIC SMALL LETTER ER)"),
    ],
)
def test_a_word_that_looks_like_another_is_named(text: str, word: str):
    assert find_mixed_words(text) == (word,)


@pytest.mark.parametrize(
    "text",
    ["paypal", "größe", "привет мир", "почта на example.com", "Δt in kΩ", "nº 5", "ＡＴＭ", "日本語 text", "сор и хор"],
)
def test_honest_words_are_not_named(text: str):
    assert find_mixed_words(text) == ()


def test_the_named_words_are_few_and_short():
    found = find_mixed_words(" ".join(f"p\u0430{number}" + "x" * 500 for number in range(100)))

    assert len(found) == 20
    assert all(len(word) < 200 for word in found)


@pytest.mark.parametrize(("text", "turns"), [("abc", False), ("größe", False), ("100 א 200", True), ("سلام", True)])
def test_letters_from_right_to_left_are_found(text: str, *, turns: bool):
    assert has_turning_letters(text) is turns


def test_a_cut_text_counts_what_is_left_out():
    assert cut("x" * 1_000, 10) == "xxxxxxxxxx… [990 more characters]"
    assert cut("x" * 10, 10) == "x" * 10


def test_a_written_line_end_ends_a_row():
    assert fold(spell_out(r"a\nb\nc"), 20) == (r"a\n", r"b\n", "c")


@given(ANY_TEXT)
def test_a_quoted_text_is_one_printable_line_that_ends_at_its_own_quote(text: str):
    told = quote(text)

    assert told.isprintable()
    assert spell_out(told) == told
    assert re.fullmatch(r'"(?:[^"\\]|\\["\\nrt])*"', told)


@pytest.mark.parametrize("text", ["plain", "größe", 'a "b" \\ c', "two\nlines\tand\r", ""])
def test_a_text_without_hidden_characters_is_quoted_as_json_does(text: str):
    assert quote(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("twin", ["\uff02", "\u02ba", "\u02ee", "\u2033"])
def test_no_twin_of_the_quote_seems_to_end_a_quoted_text(twin: str):
    told = quote(f"clerk{twin}, approved by the bank")

    assert twin not in told
    assert re.fullmatch(r'"clerk⟨U\+[0-9A-F]{4} [A-Z ]+⟩, approved by the bank"', told)


@pytest.mark.parametrize("text", ["\u0301a", "\n\u0301a", '"\u0301a', "\\\u0301a"])
def test_a_mark_changes_no_escape(text: str):
    assert "⟨U+0301 COMBINING ACUTE ACCENT⟩" in quote(text)
