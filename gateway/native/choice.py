"""The choice between the native core and Python, made once at the start of a process."""

from __future__ import annotations

import importlib
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from gateway.errors import ConfigurationError
from gateway.native.core import INTERFACE, Core

Wanted: TypeAlias = Literal["auto", "python", "native"]
"""The setting `core`."""
MODULE: Final = "opagate_core"
REMEDY: Final = "build it with `make core`"
_ABSENT: Final = "it is not installed"


class Choice(NamedTuple):
    """The chosen core, `None` for Python, and why an automatic choice did not take an installed core."""

    core: Core | None
    unfit: str | None = None

    @property
    def name(self) -> Literal["native", "python"]:
        """Return the name of the implementation, as the log and `/readyz` have it."""
        return "python" if self.core is None else "native"


PYTHON: Final = Choice(None)
_in_use = PYTHON


def use(choice: Choice) -> None:
    """Remember the choice of this process, for objects that are made from now on."""
    global _in_use  # noqa: PLW0603 - one choice for the process
    _in_use = choice


def chosen_core() -> Core | None:
    """Return the core in use, `None` for Python."""
    return _in_use.core


def describe_choice() -> str:
    """Return the name of the implementation in use."""
    return _in_use.name


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
