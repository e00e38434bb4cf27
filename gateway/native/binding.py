"""Puts the functions of the chosen core into the places of the Python functions. Callers name these functions by their
module (`words.digests`), so a call costs no test of the choice. Objects ask `chosen_core` when they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gateway.native.choice import PYTHON, Choice
from gateway.native.core import Core
from gateway.words import words

PYTHON_WORDS: Final = (words.distinctive, words.digests)
"""The functions in Python, which are the specification."""
_choice = PYTHON


def bind(choice: Choice) -> None:
    """Use the functions of a core from now on, or those of Python. For the start of a process."""
    global _choice  # noqa: PLW0603 - one choice for the process
    _choice = choice
    words.distinctive, words.digests = PYTHON_WORDS if choice.core is None else _native_words(choice.core)


def chosen_core() -> Core | None:
    """Return the core in use, `None` for Python."""
    return _choice.core


def describe_choice() -> str:
    """Return the name of the implementation in use."""
    return _choice.name


def _native_words(core: Core) -> tuple[Callable[[str], set[bytes]], Callable[[Iterable[bytes], bytes], frozenset[int]]]:
    native = core.Words(sorted(words.COMMON), words.accounts)
    return native.distinctive, native.digests
