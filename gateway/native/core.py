"""The interface of the native core. Each function returns the same as the Python function that its docstring names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

INTERFACE: Final = 6
"""The version of this interface. `core/src/lib.rs` has it too; both grow with each change
of a function or of its results."""


class Words(Protocol):
    """The words of texts."""

    def distinctive(self, text: str) -> set[bytes]:
        """Return the same as `words.distinctive`."""
        ...

    def digests(self, words: Iterable[bytes], key: bytes) -> frozenset[int]:
        """Return the same as `words.digests`."""
        ...


class Core(Protocol):
    """The module `opagate_core`."""

    INTERFACE: int
    __file__: str

    def fail(self) -> None:
        """Raise the exception of a defect."""
        ...

    def Words(self, common: list[bytes], accounts: Callable[[str], list[bytes]]) -> Words:  # noqa: N802 - a class
        """Return the search for words."""
        ...
