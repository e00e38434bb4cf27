"""The purpose of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

TaskEnd: TypeAlias = Literal["completed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Contract:
    """The limits of a declared task. A contract only narrows its principal's rights: `None` narrows nothing. `tools`
    are patterns of server-qualified names. `credential_flows` are (from, to) pairs of audiences. `limits` maps a fact
    of the session (`audiences`, `destinations`, …) to its limit: above, a person is asked."""

    audiences: frozenset[str] | None = None
    tools: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    credential_flows: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    effects: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """`destructive` or `mint` → patterns of the tools that the task needs for it. It counts once a person approved the task."""


@dataclass(frozen=True, slots=True)
class TaskApprover:
    """An approver of a task as declared, with its contract. `login_age`: seconds between login and approval."""

    id: str
    issuer: str
    groups: tuple[str, ...] = ()
    assurance: str = "chat"
    login_age: float | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """The part of a declaration that gives ground: the goal, and the destinations of the contract, without foreign words."""

    goal: str | None
    destinations: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """The place of a child in its tree. `root` is the first task of the tree, at depth 0. The child is kept as long as the root,
    which expires at `until`. `agents` are those of the tasks above, and `path` their ids, the root's first."""

    id: str
    root: str
    depth: int
    until: float
    agents: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Task:
    """A unit of authority. Implicit for a client without a declaration. Times in seconds since the epoch."""

    id: str
    kind: Literal["declared", "implicit"]
    opened: float
    expires: float | None = None
    goal: str | None = None
    risk: Literal["low", "medium", "high"] | None = None
    tenant: str | None = None
    environment: str | None = None
    contract: Contract | None = None
    approved_by: tuple[TaskApprover, ...] = ()
    declared_kind: str | None = None
    """The caller's name for work that recurs, such as `weekly-report`."""
    ground: Ground | None = None
    """What gives ground, if words of untrusted results stood in the declaration. `None`: all of it does."""
    parent: Parent | None = None
    """The place in a tree of tasks; `None` for a task without a parent."""
