"""The words of names and descriptions, and the lists in `words.toml` that give them a meaning. Pure but for the lists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from gateway.model.target import Effect, Role

_LISTS: Final[Mapping[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LETTERS: Final = re.compile(r"[a-z]+")
_ENDINGS: Final = ("s", "es", "ed", "d", "ing")


def word_list(*path: str) -> frozenset[str]:
    """Return the words of a list. Raises `KeyError` for a path without a list."""
    found: Any = _LISTS
    for key in path:
        found = found[key]
    return frozenset(found.split())


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a name or a text, in small letters: `createUser_v2` has `create`, `user` and `v`."""
    return tuple(word.lower() for word in _WORD.findall(text))


def plain_words_of(text: str) -> frozenset[str]:
    """Return the words of a sentence in small letters, names such as GitHub in one piece."""
    return frozenset(_LETTERS.findall(text.lower()))


def phrases_of(words: Sequence[str]) -> frozenset[str]:
    """Return the words, and each two in a row with `_` between them."""
    return frozenset((*words, *map("_".join, pairwise(words))))


def stems_of(word: str) -> tuple[str, ...]:
    """Return a word of a sentence, and the word without each ending of a verb."""
    return (
        word,
        *(word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2),
    )


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its effect. `adds`: existing content stays. `is_noun`: the word is as often a noun.

    `is_umbrella`: the description alone tells the effect.
    """

    word: str
    effect: Effect
    adds: bool = False
    is_noun: bool = False
    is_umbrella: bool = False


def _read_verbs() -> Mapping[str, Verb]:
    verbs: dict[str, Verb] = {}
    for effect in Effect:
        verbs |= {word: Verb(word, effect, is_noun=True) for word in word_list("effects", f"{effect.value}_or_noun")}
    for effect in Effect:
        verbs |= {word: Verb(word, effect) for word in word_list("effects", effect.value)}
    verbs |= {word: Verb(word, Effect.WRITE, is_umbrella=True) for word in word_list("effects", "umbrella")}
    return verbs | {word: Verb(word, Effect.WRITE, adds=True) for word in word_list("effects", "adds")}


VERBS: Final = _read_verbs()
ROLES: Final = {role: word_list("roles", role) for role in Role if role.value in _LISTS["roles"]}
"""Each role with the words of argument names that have it, in the order of their precedence."""
