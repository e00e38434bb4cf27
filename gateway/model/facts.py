"""Facts of a task's history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from gateway.model.content import Dictation, Sighting
from gateway.model.target import Sensitivity, System
from gateway.model.task import Task


@dataclass(frozen=True, slots=True)
class CredentialFact:
    """A credential in the call under decision, and its origin. `chain_depth` is the length of the longest path of
    credentials to this credential, each used in the call whose result revealed the next. `plain_word`: the value has no
    secret's form, and the task has the word from elsewhere. `one_time`: good for one login. `requested`: the called
    system waits for the credential."""

    sighting: Sighting
    origin: Literal["result", "broker", "user", "unknown"]
    origin_audience: str | None = None
    origin_call: int | None = None
    chain_depth: int = 0
    minted_in_task: bool = False
    plain_word: bool = False
    one_time: bool = False
    requested: bool = False
    pointed_at: bool = False
    """The goal names the source and the place of the call, or the goal has the credential and names the place."""


class TaskLabels(Struct, frozen=True):
    """Labels of all data read by the task: whether any was untrusted, and the highest confidentiality."""

    untrusted: bool
    confidentiality: Sensitivity


class SessionFacts(Struct, frozen=True):
    """The history of a task, including the call under decision. Unknown facts (`None`) are absent from the policy
    input, never an empty stand-in."""

    calls: int
    in_flight: int
    audiences: frozenset[str]
    write_audiences: frozenset[str]
    """The systems that calls may have changed. Calls without a label for their effect count."""
    tenants: frozenset[str]
    environments: frozenset[str]
    denials: int
    assumed_write_audiences: frozenset[str] = frozenset()
    """Those of `write_audiences` that only calls without a label for their effect may have changed."""
    unnamed_systems: tuple[str, ...] = ()
    """The systems that the task writes to, after it has read something untrusted, and that neither goal nor contract names."""
    audiences_in_window: frozenset[str] | None = None
    destinations: int | None = None
    """How many distinct destinations outside of the operator's own domains the task has reached, this call included."""
    unnamed_destinations: int | None = None
    """How many of `destinations` neither the goal nor the contract names."""
    own_destinations: int | None = None
    """How many destinations inside of the operator's own domains, which neither the goal nor the contract names."""
    call_destinations: tuple[str, ...] | None = None
    """The normalised destinations of this call."""
    known_destinations: tuple[str, ...] = ()
    """Those of them that the operator's directory has."""
    named_accounts: tuple[str, ...] = ()
    """Names in this call of accounts that the goal gives to log in as, in lower case."""
    depth: int | None = None
    """Delegation depth plus aggregator hops; unknown for an undeclared aggregator."""
    spread: int | None = None
    """To how many audiences data of one and the same untrusted result has gone, at most."""
    credentials: tuple[CredentialFact, ...] | None = None
    labels: TaskLabels | None = None
    ungrounded: tuple[str, ...] | None = None
    """Pointers of authority-bearing arguments whose values came from no trusted source."""
    followed: tuple[str, ...] | None = None
    """Pointers of destinations that are links which the task was pointed at, and all that the call says."""
    unsourced: tuple[str, ...] | None = None
    """Pointers of the values that a call with a declared lasting effect got from no source; `None` for any other call."""
    approvals_used: int | None = None
    call_own_destinations: int | None = None
    """How many destinations of this call are inside of own domains, without the named ones."""
    raises: Mapping[str, int] | None = None
    """The numbers that this call raises, by the name of their limit, and how far."""
    approved: Mapping[str, int] = {}
    """The numbers up to which a person approved a limit for the task."""
    confidential_systems: tuple[System, ...] = ()
    """The systems that the task has read something confidential from."""
    unread: tuple[str, ...] = ()
    """Pointers of selected records whose values no untrusted result has shown."""
    recorded: tuple[str, ...] = ()
    """Pointers of destinations inside the called system that stand in its records."""
    dictated: Dictation | None = None
    """How the goal has all values of this call."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task in the form for its owner: its declaration, its state and its history."""

    task: Task
    status: Literal["open", "completed", "cancelled", "expired"]
    facts: SessionFacts
