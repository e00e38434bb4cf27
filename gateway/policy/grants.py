"""Grants in the data of a policy: their index, how far each holds for a call, and their lines in a file. Pure.

A policy finds the index beside the grants, at `data.gateway.grants.index`. It only leaves out grants that cannot hold, since the
rules read each grant that it gives in full. So an index of other grants takes permissions away, and gives none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
import yaml
from msgspec import Struct

from gateway.base import strict_yaml

FEWEST: Final = 8
"""Grants of an upstream from which on an index costs less than a look at each."""
FIELDS: Final = ("tools", "resources", "prompts")
ANY: Final = "*"
"""The place of patterns. Any name may follow them."""
_MOST: Final = 256
"""Places of one grant in the index of one field. A grant with more is found by its agents, or at each look."""
_PATH: Final = ("gateway", "grants")
INDEX: Final = (*_PATH, "index")
"""The path of the index below `data`."""

Index = dict[str, Any]
"""For an upstream: its `count` of grants, `agents` as agent → numbers, and each field as name → agent → numbers."""


def with_grant_index(data: Any) -> Any:
    """Return the data of a policy with the index of its grants; the same data where none has many grants."""
    holders: list[dict[str, Any]] = []
    inner: object = data
    for name in (*_PATH, "upstreams"):
        if not isinstance(inner, dict):
            return data
        holders.append(cast("dict[str, Any]", inner))
        inner = holders[-1].get(name)
    changed: dict[str, Any] = {**holders[-1], "index": index_grants(inner)}
    if not changed["index"]:
        return cast("object", data)
    for name, holder in zip(reversed(_PATH), reversed(holders[:-1]), strict=True):
        changed = {**holder, name: changed}
    return changed


def index_grants(upstreams: object) -> dict[str, Index]:
    """Return the index of each upstream with many grants."""
    if not isinstance(upstreams, dict):
        return {}
    listed = cast("dict[str, object]", upstreams)
    return {
        name: _index(cast("list[object]", grants))
        for name, grants in listed.items()
        if isinstance(grants, list) and len(cast("list[object]", grants)) >= FEWEST
    }


def _index(grants: list[object]) -> Index:
    index: Index = {"count": len(grants), "agents": {}}
    for kind in FIELDS:
        index[kind] = {}
    for number, grant in enumerate(grants):
        if isinstance(grant, dict):
            _add(index, number, cast("dict[str, object]", grant))
    return index


def _add(index: Index, number: int, grant: Mapping[str, object]) -> None:
    agents = _keys(grant.get("agents"), none=(ANY,))
    for agent in agents:
        index["agents"].setdefault(agent, []).append(number)
    for kind in FIELDS:
        names, among = _keys(grant.get(kind), none=()), agents
        if len(names) * len(among) > _MOST:
            names = (ANY,)
        if len(among) > _MOST:
            among = (ANY,)
        for name in names:
            for agent in among:
                index[kind].setdefault(name, {}).setdefault(agent, []).append(number)


def _keys(patterns: object, none: Iterable[str]) -> tuple[str, ...]:
    """Return the names that patterns can match, `ANY` among them for a pattern with a star; `none` if no name can match."""
    if not isinstance(patterns, list):
        return tuple(none)
    texts = [item for item in cast("list[object]", patterns) if isinstance(item, str)]
    return tuple(dict.fromkeys(ANY if ANY in text else text for text in texts)) or tuple(none)


READS: Final = "reads"
"""The short form of a list of grants: every caller may read all of the upstream that is `internal` or more open."""

MISSING: Any = []
"""The value of `found` for an argument that the call lacks. A value that is there is in a list of one."""


class GrantPart(Struct, frozen=True):
    """A part of a grant that fails, or a condition without its argument.

    `field` names the part. It is empty for an unreadable grant, and `problem` gives the cause. `wanted` is the value in the
    grant; for a condition, the failed tests. `found` is the value in the call. `pointer` names the argument of a condition.
    """

    field: str
    wanted: Any = None
    found: Any = None
    pointer: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """Return the name of the part, such as `users`, or `when /path`."""
        return f"{self.field} {self.pointer}".rstrip() or "grant"


class Fit(Struct, frozen=True):
    """One grant of `upstream` (`*` for all), at `index` of its list."""

    upstream: str
    index: int
    id: str
    approval: Any = False
    failed: tuple[GrantPart, ...] = ()
    open: tuple[GrantPart, ...] = ()

    @property
    def asks(self) -> bool:
        """Return whether each call by the grant needs an approval."""
        return self.approval is True or isinstance(self.approval, dict)

    @property
    def holds(self) -> bool:
        return not self.failed and not self.open

    @property
    def names_target(self) -> bool:
        """Return whether the grant names the tool, resource or prompt."""
        return not self._lacks("tools", "resources", "prompts")

    @property
    def is_for_agent(self) -> bool:
        """Return whether the grant is for the agent of the call."""
        return not self._lacks("agents", "issuers")

    def _lacks(self, *fields: str) -> bool:
        return any(part.field in fields for part in self.failed)


class _FitAnswer(Struct):
    version: int
    grants: tuple[Fit, ...]


def read_fits(answer: object) -> tuple[Fit, ...] | None:
    """Return the fits in an engine's answer; `None` for another answer, such as that of a policy without the rule."""
    try:
        found = msgspec.convert(answer, _FitAnswer)
    except msgspec.ValidationError:
        return None
    return found.grants if found.version == 1 else None


def nearest(fits: Iterable[Fit], most: int = 3) -> tuple[Fit, ...]:
    """Return the grants that come closest to holding, the closest first.

    A grant for the target comes first, then a grant for the agent. Conditions on arguments weigh least.
    """
    ranked = sorted(fits, key=_distance)
    named = [fit for fit in ranked if fit.names_target]
    return tuple((named or ranked)[:most])


def _distance(fit: Fit) -> tuple[bool, bool, int, int, bool]:
    conditions = sum(part.field in {"when", "arguments"} for part in fit.failed)
    other = len(fit.failed) - conditions
    return not fit.names_target, not fit.is_for_agent, other, conditions + len(fit.open), fit.upstream == "*"


_UPSTREAMS = ("gateway", "grants", "upstreams")


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
    if _UPSTREAMS[: len(at)] != at[: len(_UPSTREAMS)]:
        return {}
    node: yaml.Node | None = root
    for name in _UPSTREAMS[len(at) :]:
        node = dict(_members(node)).get(name, (None, None))[1]
    found: dict[tuple[str, str | int], GrantPlace] = {}
    for upstream, (key, grants) in _members(node):
        if isinstance(grants, yaml.ScalarNode) and grants.value == READS:
            found[upstream, 0] = GrantPlace(file, _line(key))
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
