"""The families in the Rego files of an overlay, read from their texts. Pure.

The text decides which rules the policy asks. A word too many asks for a rule that is not there, which finds nothing. OPA
says at the build which rules there are (`authoring.py`), so that no rule is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.model.errors import PolicyBroken

ROOT: Final = "overlay"
SETS: Final = ("denials", "asks", "obligations")
HIDES: Final = "hides"

_DEPTH: Final = 2
"""Parts of the package of a family: `overlay.<name>`."""
_COMMENT: Final = re.compile(r"#[^\n]*")
_SKIPPED: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')
"""Texts and comments."""
_PACKAGE: Final = re.compile(r"\s*package[ \t]+([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)[ \t]*(?:\r?\n|;|\Z)\s*(?![.\[\s])")
_WORD: Final = re.compile(rf"(?<![\w.])({'|'.join(SETS)})\b|(?<![\w.])({HIDES})\s*\(")
_FORM: Final = "`denials contains …`, `asks contains …`, `obligations contains …` or `hides(resource)`"


@dataclass(frozen=True, slots=True)
class Family:
    """A package of an overlay, `overlay.<name>`, with the names of rules that the policy asks."""

    name: str
    rules: frozenset[str]

    @property
    def path(self) -> str:
        """The package, such as `data.overlay.tickets`."""
        return f"data.{ROOT}.{self.name}"


def find_families(modules: Iterable[tuple[str, str]]) -> list[Family]:
    """Return the families of an overlay, in order of their names.

    Raise `PolicyBroken` for a package outside of `overlay`, and for a family without a rule that the policy asks.
    """
    found: dict[str, set[str]] = {}
    files: dict[str, str] = {}
    for file, text in modules:
        package = _read_package(file, text)
        if len(package) == _DEPTH:
            files.setdefault(package[1], file)
            words = _WORD.findall(_SKIPPED.sub(" ", text))
            found.setdefault(package[1], set()).update(one or other for one, other in words)
    for name, rules in sorted(found.items()):
        if not rules:
            raise PolicyBroken(
                f"{files[name]}: the family {name} has no rule that the policy asks",
                f"write {_FORM}; put rules that families share into a package such as {ROOT}.lib.{name}",
            )
    return [Family(name, frozenset(rules)) for name, rules in sorted(found.items())]


def _read_package(file: str, text: str) -> tuple[str, ...]:
    """Return the package of a module, which stands before everything else. Raise `PolicyBroken`."""
    found = _PACKAGE.match(_COMMENT.sub("", text.removeprefix("\ufeff")))
    package = found[1].split(".") if found else []
    if len(package) < _DEPTH or package[0] != ROOT:
        said = f"{'.'.join(package)} is no package of an overlay" if package else "it does not begin with its package"
        raise PolicyBroken(
            f"{file}: {said}",
            f"name it {ROOT}.<family>: an overlay adds families to the policy, and changes none of it",
        )
    return tuple(package)
