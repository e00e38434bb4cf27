"""Naming of systems: whether the goal or the contract of a task names the systems that a call writes to. Pure.

A goal names a system by its audience, the name of its upstream, or an alias from the operator, in singular or plural. A contract
names a system among its audiences, or by a tool of its upstream.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.inspection.words.grounds import Grounds
    from gateway.model.target import Target
    from gateway.model.task import Contract


def find_named_systems(target: Target, contract: Contract | None, given: Grounds) -> frozenset[str]:
    """Return the named systems of a target, among its own system and the systems behind an aggregator."""
    listed = frozenset[str]() if contract is None else contract.audiences or frozenset()
    reached = (target.audience, *(target.aggregates or ()))
    named = {system for system in reached if system in listed or _is_named(system, given)}
    names = (target.upstream, *target.aliases)
    if _has_tool_of(contract, target.upstream) or any(_is_named(name, given) for name in names):
        named.add(target.audience)
    return frozenset(named)


def _is_named(name: str, given: Grounds) -> bool:
    """Return whether the goal has a name, in singular or plural."""
    return any(map(given.names, (name, f"{name}s", name.removesuffix("s"))))


def _has_tool_of(contract: Contract | None, upstream: str) -> bool:
    """Return whether the contract has a tool of this very upstream, among its tools or its lasting effects."""
    if contract is None:
        return False
    tools = chain(contract.tools or (), *contract.effects.values())
    return any(tool.startswith(f"{upstream}/") for tool in tools)
