"""The native core, an option: functions of the gateway in Rust (`core/`). The Python of the gateway is their specification.

Callers name these functions by their module (`words.digests`), so a call costs no test of the choice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, cast

from gateway.inspection.words import words
from gateway.model.errors import ConfigurationError

INTERFACE: Final = 6
"""The version of the interface. `core/src/lib.rs` has it too; both grow with each change of a function or of its results."""
PYTHON_WORDS: Final = (words.distinctive, words.digests)
"""The functions in Python, which are the specification."""
Wanted: TypeAlias = Literal["auto", "python", "native"]
"""The setting `core`."""
MODULE: Final = "opagate_core"
REMEDY: Final = "build it with `make core`"
_ABSENT: Final = "it is not installed"


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

    def fail(self) -> None:
        """Raise the exception of a defect."""
        ...

    def Words(self, common: list[bytes], accounts: Callable[[str], list[bytes]]) -> Words:  # noqa: N802 - a class
        """Return the search for words."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen core, `None` for Python, and why an automatic choice did not take an installed core."""

    core: Core | None
    unfit: str | None = None

    @property
    def name(self) -> Literal["native", "python"]:
        """Return the name of the implementation, as the log and `/readyz` have it."""
        return "python" if self.core is None else "native"


PYTHON: Final = Choice(None)


def bind(choice: Choice) -> None:
    """Put the functions of a core, or of Python, into their places. For the start of a process."""
    if choice.core is None:
        words.distinctive, words.digests = PYTHON_WORDS
        return
    native = choice.core.Words(sorted(words.COMMON), words.accounts)
    words.distinctive, words.digests = native.distinctive, native.digests


def describe_choice() -> str:
    """Return the name of the implementation in use."""
    return "python" if (words.distinctive, words.digests) == PYTHON_WORDS else "native"


def choose(wanted: Wanted, module: str = MODULE) -> Choice:
    """Return the core for a setting. Raises `ConfigurationError` if the configuration asks for an absent or unfit core."""
    if wanted == "python":
        return PYTHON
    core, problem = _load(module)
    if core is not None:
        return Choice(core)
    if wanted == "native":
        raise ConfigurationError(
            f"core: native asks for the native core, and {problem}", f"{REMEDY}, or set core: auto"
        )
    return PYTHON if problem == _ABSENT else Choice(None, problem)


def _load(module: str) -> tuple[Core | None, str | None]:
    """Return the core, or why there is none that fits."""
    try:
        core = cast("Core", importlib.import_module(module))
    except Exception as error:  # noqa: BLE001 - a damaged module may raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == module
        return None, _ABSENT if absent else "the installed one cannot be loaded"
    found = getattr(core, "INTERFACE", None)
    if found != INTERFACE:
        return None, f"the installed one has the interface {found}, and this gateway needs {INTERFACE}"
    try:
        core.fail()
    except RuntimeError:
        return core, None
    return None, "the installed one does not report its own failures"
