"""Letters as people see them: hidden characters spelled out, stacked marks bounded, look-alike letters named. Pure.

Each text of an agent, a server or a file goes through `spell_out` before a person sees it, on every surface.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final, Literal, NamedTuple, NewType, TypeAlias

ShownText = NewType("ShownText", str)
"""A text that is safe to show: one line, without hidden characters. Only this module makes such texts."""

_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U0001d159\U00016fe4"
)
"""Letters and marks that show nothing."""
_MARKS: Final = 4
"""Combining marks on one letter. Vietnamese, Hebrew and Thai take up to three; more reach into the lines around."""
_OVERLAY: Final = 1
"""The combining class of marks that strike a letter through."""
_NAMED: Final = 20
"""Words of mixed alphabets that a warning names."""
_LONGEST_WORD: Final = 80


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible or changes how others look.

    These are control, format, private-use and unassigned characters, and separators but the space. So are variation
    selectors, fillers, and marks that enclose or strike a letter through.
    """
    if " " <= character <= "~":
        return False
    category = unicodedata.category(character)
    return (
        category[0] in "CZ"
        or category == "Me"
        or character in _BLANK
        or unicodedata.combining(character) == _OVERLAY
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def spell_out(text: str) -> ShownText:
    """Return a text as one line, with each hidden character spelled out: `⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩`.

    A mark without a letter, and marks beyond `_MARKS` on one letter, are spelled out too. Equal neighbours are counted.
    """
    if text.isascii() and text.isprintable():
        return ShownText(text)
    return ShownText("".join(_spell(run) if run.is_spelled else run.text for run in _runs(text)))


def quote(text: str) -> ShownText:
    """Return a text as a JSON string in one line. Hidden characters without a short escape, and twins of the quote, are spelled out."""
    return ShownText(f'"{"".join(map(_quote_run, _runs(text)))}"')


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED: Final = str.maketrans(_ESCAPES)
_QUOTE_TWINS: Final = re.compile("[\u02ba\u02ee\u2033\uff02]")
"""Characters that look like the straight quote: a reader would take the words behind one for the gateway's."""


def _quote_run(run: _Run) -> str:
    is_short = not run.is_spelled or run.text[0] in _ESCAPES
    if not is_short:
        return _spell(run)
    return _QUOTE_TWINS.sub(lambda found: _spell(_Run(found[0], is_spelled=True)), run.text.translate(_ESCAPED))


class _Run(NamedTuple):
    """A run of characters: one hidden character, repeated and spelled out, or visible characters that stay."""

    text: str
    is_spelled: bool


def _runs(text: str) -> Iterator[_Run]:
    kinds: dict[str, _Kind] = {character: _kind(character) for character in set(text)}
    if {"hidden", "mark"}.isdisjoint(kinds.values()):
        yield _Run(text, is_spelled=False)
        return
    for spelled, run in groupby(zip(text, _find_spelled(text, kinds), strict=True), key=lambda one: one[0] * one[1]):
        yield _Run("".join(character for character, _ in run), is_spelled=bool(spelled))


_Kind: TypeAlias = Literal["base", "hidden", "mark", "other"]


def _kind(character: str) -> _Kind:
    """Return whether a character is hidden, a mark, or takes marks. A mark on a quote or a bracket would change a letter
    of the gateway."""
    if is_hidden(character):
        return "hidden"
    category = unicodedata.category(character)
    return "mark" if category == "Mn" else "base" if character.isalnum() or category == "Mc" else "other"


def _find_spelled(text: str, kinds: Mapping[str, _Kind]) -> Iterator[bool]:
    """Yield for each character whether it is spelled out."""
    room = 0
    for character in text:
        kind = kinds[character]
        yield kind == "hidden" or (kind == "mark" and room <= 0)
        room = room - 1 if kind == "mark" else _MARKS if kind == "base" else 0


def _spell(run: _Run) -> str:
    character, count = run.text[0], len(run.text)
    name = unicodedata.name(character, "")
    times = f" ×{count}" if count > 1 else ""
    return f"⟨U+{ord(character):04X}{' ' + name if name else ''}{times}⟩"


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, and the number of those left out."""
    return text if len(text) <= most else f"{text[:most]}… [{len(text) - most:,} more characters]"


# --- rows of a screen ------------------------------------------------------------------------------

_LONGEST_TAIL: Final = 24
"""Characters of a word that go to the next row whole."""


def fold(text: ShownText, width: int) -> tuple[ShownText, ...]:
    """Return a text as rows of at most so many cells of a screen.

    A row ends after a word, if none is very long. It also ends after a line end written as `\\n`.
    """
    # A mark after the line end stays with its letter.
    pieces = re.split(r"(?<=\\n)(?=[ -~])", text)
    cells = {character: _cells(character) for character in set(text)}
    return tuple(ShownText(row) for piece in pieces for row in _rows(piece, width, cells))


def _rows(text: str, width: int, cells: Mapping[str, int]) -> Iterator[str]:
    start = 0
    while start < len(text) or not start:
        end = min(start + width, len(text))
        used = sum(cells[character] for character in text[start:end])
        while used > width and end - start > 1:
            end -= 1
            used -= cells[text[end]]
        while end < len(text) and unicodedata.category(text[end]) == "Mn":
            end += 1
        if end < len(text):
            end = text.rfind(" ", max(start, end - _LONGEST_TAIL), end) + 1 or end
        yield text[start:end]
        start = max(end, 1)


def count_cells(text: str) -> int:
    """Return the cells of a screen that a text takes, rather too many than too few."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    """Return the cells of a character: two also for a letter that is wide in some languages alone.

    A mark takes one cell on a terminal without marks.
    """
    if unicodedata.category(character) == "Mn":
        return 1
    is_flag = "\U0001f1e6" <= character <= "\U0001f1ff"
    return 2 if is_flag or unicodedata.east_asian_width(character) in {"W", "F", "A"} else 1


# --- letters that look like others -----------------------------------------------------------------

_ALPHABETS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Alphabets with letters that look like those of another."""
_STYLED: Final = "STYLED"
"""Letters such as `𝐚` or `ａ`, which programs read as those of ASCII."""
_LATIN_TWINS: Final = frozenset("аеорсухіјѕһԁԛԝӏьАВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαινυρκτχօսոցհյ")
"""Letters of other alphabets that look like Latin ones."""


def find_alphabets(word: str) -> set[str]:
    """Return the alphabets in a word that have look-alike letters."""
    return {name for name in map(_alphabet, filter(str.isalpha, word)) if name in _ALPHABETS}


def find_mixed_words(text: str) -> tuple[ShownText, ...]:
    """Return the words of a text that may look like other words, with the names of their odd letters.

    Such a word mixes alphabets, or has look-alike letters alone beside words of Latin letters. It is another name for
    the gateway, and the same name for a reader.
    """
    if text.isascii():
        return ()
    words = tuple(dict.fromkeys(re.findall(r"[^\W_]+", text)))
    has_latin = any(word.isascii() and not word.isdigit() for word in words)
    odd = ((word, _odd_letters(word, has_latin=has_latin)) for word in words)
    named = [spell_out(f"{cut(word, _LONGEST_WORD)} ({', '.join(letters)})") for word, letters in odd if letters]
    return tuple(named[:_NAMED])


def _odd_letters(word: str, *, has_latin: bool) -> tuple[str, ...]:
    """Return the names of the letters of a word's rarest alphabet, if the word may look like another."""
    if word.isascii():
        return ()
    by_alphabet: dict[str, list[str]] = {}
    for letter in filter(str.isalpha, word):
        alphabet = _alphabet(letter)
        # Formulas have Greek letters that look like no other: `Δt`, `kΩ`.
        if (alphabet in _ALPHABETS and (alphabet != "GREEK" or letter in _LATIN_TWINS)) or alphabet == _STYLED:
            by_alphabet.setdefault(alphabet, []).append(unicodedata.name(letter))
    is_twin = has_latin and len(word) > 2 and _LATIN_TWINS.issuperset(word)
    if len(by_alphabet) < 2 and not is_twin:
        return ()
    return tuple(dict.fromkeys(min(by_alphabet.values(), key=len)))


def _alphabet(letter: str) -> str:
    alphabet = unicodedata.name(letter, "").partition(" ")[0]
    if alphabet in _ALPHABETS or alphabet in {"FEMININE", "MASCULINE"}:
        return alphabet
    plain = unicodedata.normalize("NFKC", letter)
    return _STYLED if plain.isascii() and plain.isalpha() else alphabet


def has_turning_letters(text: str) -> bool:
    """Return whether a text has letters written from right to left: a screen may show its parts in another order."""
    return not text.isascii() and any(unicodedata.bidirectional(letter) in {"R", "AL", "AN"} for letter in text)
