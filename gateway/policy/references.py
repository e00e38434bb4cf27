"""References between the rules of a policy. Pure.

A path with a variable (`data.gateway.denials[family]`) reads every rule below its written part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, cast

from gateway.policy import syntax
from gateway.policy.syntax import Module, Node, Rule

Path: TypeAlias = tuple[str, ...]
"""A path such as `("data", "gateway", "grants")`."""


class ReferenceGraph:
    """The rules of a policy by path, and the rules that each rule reads."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.rules: dict[Path, list[Rule]] = {}
        for module in modules:
            for rule in syntax.rules(module):
                self.rules.setdefault(rule.path, []).append(rule)
        self.names = {path[: len(package) + 1] for path, package in self._packages()}
        """The names that modules give to rules, with the packages before them."""
        self._read: dict[Path, frozenset[Path]] = {}

    def _packages(self) -> Iterator[tuple[Path, Path]]:
        for path, found in self.rules.items():
            for rule in found:
                yield path, tuple(rule.module.package.split("."))

    def read_by(self, path: Path) -> frozenset[Path]:
        """Return the paths of the rules that the rule at this path reads."""
        if path not in self._read:
            found: set[Path] = set()
            for rule in self.rules[path]:
                for reference in _references(rule.node):
                    found |= self._find_rules(self.resolve(rule.module, *syntax.split(reference)))
            self._read[path] = frozenset(found)
        return self._read[path]

    def resolve(self, module: Module, first: Node, steps: Sequence[str | Node]) -> Path:
        """Return the full path that a reference names, up to its first step that is no text; empty for a local name."""
        name = syntax.variable(first) or ""
        if name in module.imports:
            base = tuple(module.imports[name].split("."))
        elif name == "data":
            base = ("data",)
        else:
            base = (*module.package.split("."), name)
            if base not in self.names:
                return ()
        return (*base, *_literal(steps))

    def reached(self, starts: Iterable[Path]) -> frozenset[Path]:
        """Return the paths of all rules that these rules read, directly or by others, and their own."""
        found: set[Path] = set()
        waiting = [path for path in starts if path in self.rules]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting.extend(self.read_by(path))
        return frozenset(found)

    def callers_first(self, paths: Iterable[Path]) -> list[Path]:
        """Return paths in order: a rule stands before every rule it reads."""
        order: dict[Path, None] = {}
        for start in paths:
            stack = [(start, iter(self.read_by(start)))]
            on_stack = {start}
            while stack:
                path, following = stack[-1]
                inner = next(following, None)
                if inner is None:
                    stack.pop()
                    order.setdefault(path)
                elif inner not in order and inner not in on_stack:
                    on_stack.add(inner)
                    stack.append((inner, iter(self.read_by(inner))))
        return list(reversed(order))

    def _find_rules(self, path: Path) -> set[Path]:
        """Return the rule at or above a path, else all rules below the path."""
        for end in range(len(path), 1, -1):
            if path[:end] in self.rules:
                return {path[:end]}
        return {rule for rule in self.rules if rule[: len(path)] == path} if path else set()


def _references(tree: object) -> Iterator[Node]:
    """Return the references in a tree, each as a whole, and those in its brackets."""
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(cast("list[object]", node))
        elif isinstance(node, dict):
            mapping = cast("dict[str, Any]", node)
            if mapping.keys() & {"Var", "RefDot", "RefBrack"}:
                yield mapping
                first, steps = syntax.split(mapping)
                stack.extend(step for step in steps if not isinstance(step, str))
                if "Var" not in first:
                    stack.append(first)
            else:
                stack.extend(mapping.values())


def _literal(steps: Sequence[str | Node]) -> Iterator[str]:
    for step in steps:
        if not isinstance(step, str):
            return
        yield step
