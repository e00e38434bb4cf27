"""The history of a task as policy sees it: `SessionFacts` is `input.session` of a question to policy.

A field is a fact, and the text below the field is its description for people. `gateway/history/facts.py` makes the values.
`make generate` writes the schema for OPA and docs/reference/facts.md from these types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.model.content import Dictation, Sighting
from gateway.model.target import Role, Sensitivity
from gateway.model.task import Task

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class Fact(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the history that policy sees. A field that has its default is absent from the input of policy.

    `None` is an unknown fact. An unknown fact is absent too, and never an empty stand-in.
    """


class CredentialOrigin(Fact, frozen=True):
    """The first place of a credential."""

    kind: Literal["result", "broker", "user", "unknown"]
    """Who gave it: a system in a result, a broker of this gateway, the user in the goal, or nobody that is known."""
    audience: str | None = None
    """The system of the result, or of the broker."""
    call: Positive | None = None
    """The number of the call whose result it was in, from 1."""


class CredentialFact(Fact, frozen=True):
    """A credential in the call under decision."""

    fingerprint: str
    """A name for the value, keyed for this deployment."""
    detector: str
    """What recognised it, such as `jwt` or `github-pat`."""
    pointer: str
    """The argument with it, as a JSON pointer. Empty beside the arguments."""
    origin: CredentialOrigin
    """The first place of it."""
    chain_depth: Count
    """How many credentials led to it, each used in the call whose result revealed the next."""
    minted_in_task: bool
    """Whether a call of the task made it."""
    handle: bool
    """Whether the argument has a handle for it, which the gateway resolves for the system of its origin alone."""
    role: Role | None = None
    """The role of the argument."""
    form: str = "raw"
    """How it is encoded, such as `base64` or `percent+base64`; `split` over several arguments. Absent if it stands as it is."""
    shown_by: str | None = None
    """The system that has shown it to another task of the caller, if the called system has not."""
    plain_word: bool = False
    """Whether the value has no form of a secret, and the task has the word from elsewhere."""
    one_time: bool = False
    """Whether it is good for one login."""
    requested: bool = False
    """Whether the called system waits for this one-time code."""
    pointed_at: bool = False
    """Whether the goal names its source and the place of the call, or has it and names the place."""

    @classmethod
    def of(
        cls, sighting: Sighting, origin: CredentialOrigin, *, chain_depth: int = 0, minted_in_task: bool = False
    ) -> CredentialFact:
        """Return the fact of a sighting."""
        return cls(
            sighting.fingerprint,
            sighting.detector,
            sighting.pointer,
            origin,
            chain_depth,
            minted_in_task,
            sighting.handle is not None,
            sighting.role,
            sighting.form,
            sighting.shown_by,
        )


class TaskLabels(Fact, frozen=True):
    """Labels of all data read by the task."""

    untrusted: bool
    """Whether any of it was untrusted."""
    confidentiality: Sensitivity
    """The highest confidentiality."""


class SystemFact(Fact, frozen=True):
    """A system and where it belongs."""

    audience: str
    """The name of the system, as in the properties of a resource."""
    tenant: str | None = None
    """Its tenant, where one is declared."""
    environment: str | None = None
    """Its environment, where one is declared."""


class TreeFact(Fact, frozen=True):
    """The numbers of a task with all tasks below it. Each is at least as high as that of the called task."""

    task: str
    """The id of the task."""
    raises: Mapping[str, Count]
    """The numbers that this call raises, by the name of their limit, and how far. Each call raises `calls` and `in_flight`."""
    limits: Mapping[str, Count] = {}
    """The limits of its contract; absent if none."""
    approved: Mapping[str, Count] = {}
    """The numbers up to which a person approved limits for it and the tasks below; absent if none."""


class SessionFacts(Fact, frozen=True):
    """The history of a task, including the call under decision."""

    calls: Count
    """Calls of the task."""
    in_flight: Count
    """Calls that are open now."""
    audiences: frozenset[str]
    """The systems that the task touched."""
    write_audiences: frozenset[str]
    """The systems that it may have changed. Calls without a label `effect` count."""
    tenants: frozenset[str]
    """The tenants of the upstreams that it touched, where they are declared."""
    environments: frozenset[str]
    """The environments of the upstreams that it touched, where they are declared."""
    denials: Count
    """Calls of the task that policy denied. An ask is no denial, nor is a call without a verdict (`policy/unavailable`,
    `policy/late` and the like), nor a refusal by the gateway itself."""
    assumed_write_audiences: frozenset[str] = frozenset()
    """The part of `write_audiences` that only calls without a label `effect` may have changed; absent if none."""
    unnamed_systems: tuple[str, ...] = ()
    """The systems that it writes to after something untrusted, and that neither goal nor contract names; absent if none."""
    audiences_in_window: frozenset[str] | None = None
    """The systems that it touched within the last 60 seconds."""
    destinations: Count | None = None
    """How many destinations outside of the operator's own domains it has sent to."""
    unnamed_destinations: Count | None = None
    """How many of `destinations` neither the goal nor the contract names."""
    own_destinations: Count | None = None
    """How many destinations inside of the operator's own domains it has sent to, without the named ones."""
    call_destinations: tuple[str, ...] | None = None
    """The destinations of this call, each in one spelling."""
    call_own_destinations: Count = 0
    """How many destinations of this call are inside of own domains, without the named ones; absent if none."""
    known_destinations: tuple[str, ...] = ()
    """The destinations of this call that the operator's directory has; absent if none."""
    named_accounts: tuple[str, ...] = ()
    """The names in this call of accounts that the goal gives to log in as, in lower case; absent if none."""
    depth: Count | None = None
    """Agents and aggregators between the user and the system; absent if nobody knows what is behind an aggregator."""
    spread: Count | None = None
    """To how many systems foreign words of one untrusted result have gone, at most."""
    credentials: tuple[CredentialFact, ...] | None = None
    """The credentials in this call."""
    labels: TaskLabels | None = None
    """The labels of all that the task has read."""
    confidential_systems: tuple[SystemFact, ...] = ()
    """The systems that the task has read something confidential from; absent if none."""
    ungrounded: tuple[str, ...] | None = None
    """Pointers of destinations, commands, credentials, amounts, records and texts with links in this call that neither the
    goal, the contract, a trusted source nor an approval named."""
    unread: tuple[str, ...] = ()
    """Pointers of records in this call of which each value stands in a record, or has certainly been shown by no untrusted
    result; absent if none."""
    recorded: tuple[str, ...] = ()
    """Pointers of destinations inside the called system that stand in its records; absent if none."""
    dictated: Dictation | None = None
    """How the goal has all that the call says: in `quotes`, or in `words` anywhere."""
    followed: tuple[str, ...] | None = None
    """Pointers of destinations that are links which may be followed, and all that the call says."""
    unsourced: tuple[str, ...] | None = None
    """For a call with an effect that its contract declares: pointers of the other values without a source."""
    approvals_used: Count | None = None
    """Approvals that the task has used up."""
    raises: Mapping[str, Count] | None = None
    """The numbers that this call raises, by the name of their limit, and how far."""
    approved: Mapping[str, Count] = {}
    """The numbers up to which a person approved limits for the task; absent if none."""
    trees: tuple[TreeFact, ...] = ()
    """The root of the task's tree, and the other tasks on the way to it with limits of their own; absent without a tree."""


class DeclaredFacts(Struct, frozen=True):
    """The values of declared facts (`facts.yaml`) for one call. `values` count the call itself as open, and `before` does
    not. `incomplete` are the names of facts whose memory lacks something. `places` are the table, the account, the digest of the keys
    and the width of facts with a value that do not count the call."""

    values: Mapping[str, int | float | str] = {}
    before: Mapping[str, int | float | str] = {}
    incomplete: tuple[str, ...] = ()
    places: Mapping[str, tuple[str, str, str, float]] = {}

    def select(self, labels: Mapping[str, str]) -> DeclaredFacts:
        """Return some facts under other names. `labels` has the present name of each."""
        return DeclaredFacts(
            {name: self.values[label] for name, label in labels.items() if label in self.values},
            {name: self.before[label] for name, label in labels.items() if label in self.before},
            tuple(name for name, label in labels.items() if label in self.incomplete),
            {name: self.places[label] for name, label in labels.items() if label in self.places},
        )


NO_DECLARED_FACTS = DeclaredFacts()


def join_facts(parts: Iterable[DeclaredFacts]) -> DeclaredFacts:
    """Return the facts of several scopes as one."""
    values: dict[str, int | float | str] = {}
    before: dict[str, int | float | str] = {}
    incomplete: list[str] = []
    places: dict[str, tuple[str, str, str, float]] = {}
    for part in parts:
        places |= part.places
        values |= part.values
        before |= part.before
        incomplete += part.incomplete
    return DeclaredFacts(values, before, tuple(incomplete), places)


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task in the form for its owner: its declaration, its state and its history."""

    task: Task
    status: Literal["open", "completed", "cancelled", "expired"]
    facts: SessionFacts
