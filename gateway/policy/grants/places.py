"""The lines of grants and of their parts in a data file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import yaml

from gateway.base import strict_yaml

_PATH = ("gateway", "grants", "upstreams")


@dataclass(frozen=True, slots=True)
class GrantPlace:
    """The file and line of a grant, and the lines of its parts: a field such as `users`, or a condition, `when /path`."""

    file: str
    line: int
    parts: Mapping[str, int] = field(default_factory=dict[str, int])

    def of(self, part: str) -> str:
        """Return the place of a part as `file:line`; of one that is not written there, the place of the grant."""
        line = self.parts.get(part) or self.parts.get(part.partition(" ")[0]) or self.line
        return f"{self.file}:{line}"


Places = Mapping[tuple[str, str | int], GrantPlace]
"""Upstream and id, or upstream and index, of a grant → its place."""


def find_grants(text: str, file: str, at: tuple[str, ...] = ("gateway", "grants")) -> Places:
    """Return the places of the grants in a data file whose value is put at the path `at`. A file without any has none."""
    try:
        root = strict_yaml.node(text)
    except strict_yaml.UnreadableYaml:
        return {}
    if _PATH[: len(at)] != at[: len(_PATH)]:
        return {}
    node: yaml.Node | None = root
    for name in _PATH[len(at) :]:
        node = dict(_members(node)).get(name, (None, None))[1]
    found: dict[tuple[str, str | int], GrantPlace] = {}
    for upstream, (_, grants) in _members(node):
        for index, grant in enumerate(_items(grants)):
            place = _place(grant, file)
            found[upstream, index] = place
            named = dict(_members(grant)).get("id")
            if named is not None and isinstance(named[1], yaml.ScalarNode):
                found[upstream, str(named[1].value)] = place
    return found


def _place(grant: yaml.Node, file: str) -> GrantPlace:
    parts: dict[str, int] = {}
    for name, (key, value) in _members(grant):
        parts[name] = _line(key)
        if name == "when":
            parts.update((f"when {pointer}", _line(condition)) for pointer, (condition, _) in _members(value))
    return GrantPlace(file, _line(grant), parts)


def _members(node: yaml.Node | None) -> Iterator[tuple[str, tuple[yaml.Node, yaml.Node]]]:
    """Yield each name of a mapping with the nodes of its key and its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            yield str(key.value), (key, value)


def _items(node: yaml.Node) -> list[yaml.Node]:
    return cast("list[yaml.Node]", node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
