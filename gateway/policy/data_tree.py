"""The document `data` of a policy: its rules, its packages and its data files in one tree. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from gateway.policy import syntax
from gateway.policy.references import Path, ReferenceGraph
from gateway.policy.syntax import Module, Rule

_OPEN: Final[tuple[Path, ...]] = (("data", "gateway", "grants", "upstreams"), ("data", "gateway", "grants", "index"))
"""Places with keys of the operator's own, and of the gateway's index."""


class DataTree:
    """Rules, packages and data at each path of `data`."""

    def __init__(self, graph: ReferenceGraph, modules: Iterable[Module], data: Mapping[str, Any]) -> None:
        self._rules = graph.rules
        self._data = data
        self._children: dict[Path, set[str]] = {}
        packages = [tuple(module.package.split(".")) for module in modules]
        for path in (*graph.rules, *packages, *_OPEN):
            for end in range(1, len(path)):
                self._children.setdefault(path[:end], set()).add(path[end])
        self._packages = frozenset(packages)

    def rules(self, path: Path) -> Sequence[Rule]:
        """Return the definitions of the rule at this path."""
        return self._rules.get(path, ())

    def has(self, path: Path) -> bool:
        """Return whether a rule, a package, or data stand at this path, or below it."""
        return (
            path in _OPEN
            or path in self._rules
            or path in self._children
            or path in self._packages
            or self._value(path) is not None
        )

    def is_open(self, path: Path) -> bool:
        """Return whether any key may follow: at a place of the operator's own, and in data that are no mapping."""
        if path in _OPEN:
            return True
        return path not in self._children and path not in self._packages and not isinstance(self._value(path), dict)

    def missing(self, path: Path) -> str:
        """Return a sentence about a path at which nothing stands."""
        above, name = path[:-1], path[-1]
        value = self._value(above)
        known = [*self._children.get(above, ()), *(cast("dict[str, Any]", value) if isinstance(value, dict) else ())]
        return f"there is no `{'.'.join(path)}`: no rule and no data file gives it{syntax.nearest(name, known)}"

    def _value(self, path: Path) -> object:
        """Return the data at a path; `None` if there are none. Data that are `null` are there."""
        value: object = self._data
        for step in path[1:]:
            if not isinstance(value, dict) or step not in value:
                return None
            value = cast("dict[str, object]", value)[step]
        return _NULL if value is None else value


_NULL: Final = object()
