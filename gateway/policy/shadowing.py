"""Data that would take the place of a rule. Pure: it reads syntax trees and the data files of a policy.

The embedded engine lets data replace a rule of the same path. One line in a data file could grant everything, or switch a
denial off. OPA refuses such a policy ("conflicting rule"). For the path of every rule, this module refuses:

- data at the path of a rule, or below it, whatever its value;
- a value that is no mapping above a rule: nothing could stand below it;
- a package at the path of a rule, or below it.

A grants file has `upstreams` at its top and nothing else, since all other names there are those of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from gateway.policy import syntax
from gateway.policy.syntax import Module, Problem, Rule

_GRANTS: Final = ("gateway", "grants")
_GRANTS_KEYS: Final = frozenset({"upstreams"})


@dataclass(frozen=True, slots=True)
class DataSource:
    """One data file: its name for people, the path its value is put at, and its value."""

    name: str
    at: tuple[str, ...]
    value: Mapping[str, Any]


def problems(modules: Sequence[Module], sources: Iterable[DataSource]) -> list[Problem]:
    """Return every conflict of a rule with data or with a package, and what a grants file should not hold."""
    rules: dict[tuple[str, ...], Rule] = {}
    for module in modules:
        for rule in syntax.rules(module):
            rules.setdefault(rule.path, rule)
    found = [problem for source in sources for problem in _in_source(source, rules)]
    return found + [problem for module in modules for problem in _of_package(module, rules)]


def _in_source(source: DataSource, rules: Mapping[tuple[str, ...], Rule]) -> Iterator[Problem]:
    if source.at == _GRANTS:
        yield from _in_grants(source, rules)
    for path, rule in rules.items():
        conflict = _conflict(source, path[1:])
        if conflict is None:
            continue
        if conflict == path[1:]:
            yield Problem(
                f"{source.name}: it gives {_show_path(conflict)}, and so does a rule ({rule.place})",
                "remove it from the data file, or give it another name: data may not take the place of a rule",
            )
        else:
            yield Problem(
                f"{source.name}: {_show_path(conflict)} is no mapping, and a rule stands below it ({rule.place})",
                "remove it from the data file, or make it a mapping",
            )


def _in_grants(source: DataSource, rules: Mapping[tuple[str, ...], Rule]) -> Iterator[Problem]:
    for key in source.value:
        if key not in _GRANTS_KEYS and ("data", *_GRANTS, key) not in rules:
            yield Problem(
                f"{source.name}: {key!r} does not belong in a grants file{syntax.nearest(key, _GRANTS_KEYS)}",
                "write `upstreams` at the top, and all grants below it",
            )


def _conflict(source: DataSource, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the path where data replace a rule: the path of the rule, or a path above with a value that is no mapping."""
    shared = min(len(source.at), len(path))
    if source.at[:shared] != path[:shared]:
        return None
    value: object = source.value
    for depth in range(len(source.at), len(path)):
        if not isinstance(value, dict):
            return path[:depth]
        mapping = cast("dict[str, object]", value)
        if path[depth] not in mapping:
            return None
        value = mapping[path[depth]]
    return path


def _of_package(module: Module, rules: Mapping[tuple[str, ...], Rule]) -> Iterator[Problem]:
    package = tuple(module.package.split("."))
    for end in range(2, len(package) + 1):
        rule = rules.get(package[:end])
        if rule is not None:
            yield Problem(
                f"{module.file}: the package {module.package} stands at or below a rule ({rule.place})",
                "give the package or the rule another name",
            )


def _show_path(path: tuple[str, ...]) -> str:
    return ".".join(("data", *path))
