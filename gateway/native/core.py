"""The interface of the native core. Each function returns the same as the Python function that its docstring names."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from types import ModuleType
from typing import Any, Final, Protocol

INTERFACE: Final = 5
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


class Chain(Protocol):
    """The links of one journal."""

    def linked(self, seq: int, time: str, kind: str, fields: bytes, prev: str) -> tuple[bytes, str]:
        """Return the same as `chain.Chain.linked`."""
        ...


class Program(Protocol):
    """The rules of a policy with their data."""

    @property
    def entries(self) -> Container[str]:
        """Return the names of the questions."""
        ...

    def answer(self, entry: str, document: Any) -> Any:
        """Return the same as `policy.plan.program.Program.answer`."""
        ...


class Core(Protocol):
    """The module `opagate_core`."""

    INTERFACE: int
    __file__: str

    def fail(self) -> None:
        """Raise the exception of a defect."""
        ...

    def Chain(self, key: bytes | None) -> Chain:  # noqa: N802 - a class
        """Return the links for the chain's own key."""
        ...

    def Program(  # noqa: N802 - a class
        self, plan: object, data: object, functions: Mapping[str, Callable[..., Any]], values: ModuleType
    ) -> Program:
        """Return the evaluator of a decoded plan. Raises `ValueError` for a plan with anything unknown."""
        ...

    def Words(self, common: list[bytes], accounts: Callable[[str], list[bytes]]) -> Words:  # noqa: N802 - a class
        """Return the search for words."""
        ...
