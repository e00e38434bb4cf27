"""Puts the functions of the chosen core into the places of the Python functions. Callers name these functions by their
module (`words.digests`), so a call costs no test of the choice. Objects ask `choice.chosen_core` when they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gateway.native.choice import Choice, use
from gateway.native.core import Core
from gateway.words import words

PYTHON_WORDS: Final = (words.distinctive, words.digests)
"""The functions in Python, which are the specification."""


def bind(choice: Choice) -> None:
    """Use the functions of a core from now on, or those of Python. For the start of a process."""
    use(choice)
    words.distinctive, words.digests = PYTHON_WORDS if choice.core is None else _native_words(choice.core)


def _native_words(
    core: Core,
) -> tuple[Callable[[str], set[bytes]], Callable[[Iterable[bytes], bytes], frozenset[int]]]:
    native = core.Words(sorted(words.COMMON), words.accounts)
    return native.distinctive, native.digests
