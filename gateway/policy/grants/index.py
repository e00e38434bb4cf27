"""The index of the grants: which of an upstream's grants may name a target and be for an agent. Pure.

A policy finds it beside the grants, at `data.gateway.grants.index`. It only leaves out grants that cannot hold, since the
rules read each grant that it gives in full. So an index of other grants takes permissions away, and gives none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

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
    for field in FIELDS:
        index[field] = {}
    for number, grant in enumerate(grants):
        if isinstance(grant, dict):
            _add(index, number, cast("dict[str, object]", grant))
    return index


def _add(index: Index, number: int, grant: Mapping[str, object]) -> None:
    agents = _keys(grant.get("agents"), none=(ANY,))
    for agent in agents:
        index["agents"].setdefault(agent, []).append(number)
    for field in FIELDS:
        names, among = _keys(grant.get(field), none=()), agents
        if len(names) * len(among) > _MOST:
            names = (ANY,)
        if len(among) > _MOST:
            among = (ANY,)
        for name in names:
            for agent in among:
                index[field].setdefault(name, {}).setdefault(agent, []).append(number)


def _keys(patterns: object, none: Iterable[str]) -> tuple[str, ...]:
    """Return the names that patterns can match, `ANY` among them for a pattern with a star; `none` if no name can match."""
    if not isinstance(patterns, list):
        return tuple(none)
    texts = [item for item in cast("list[object]", patterns) if isinstance(item, str)]
    return tuple(dict.fromkeys(ANY if ANY in text else text for text in texts)) or tuple(none)
