"""The target of a call with its known properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from gateway.model.wire import Json, JsonObject


class Effect(StrEnum):
    """The effect of a tool on the world. Unlabelled tools count as `write`."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    MINT = "mint"
    EXEC = "exec"


class Sensitivity(StrEnum):
    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


class Role(StrEnum):
    """The meaning of an argument for a tool."""

    DESTINATION = "destination"
    COMMAND = "command"
    CREDENTIAL = "credential"
    CONTENT = "content"
    SELECTOR = "selector"
    AMOUNT = "amount"
    RECORD = "record"


CredentialKind: TypeAlias = Literal["standing", "gateway", "exchange", "openbao", "aws_sts", "user_oauth"]
"""`standing`: a fixed header, which lives for ever. The others are leased."""
Revocable: TypeAlias = Literal["at_once", "after_ttl", "never"]
"""The earliest end of a credential at its issuer."""
SHORTEST_LIFE: Final = 1
"""Seconds of the shortest life that the brokers of this gateway lend for."""


class TargetCredential(NamedTuple):
    """The gateway's credential for an upstream. `min_ttl` is its shortest life in seconds; `None`: no end."""

    kind: CredentialKind
    revocable: Revocable
    min_ttl: int | None = None


class System(NamedTuple):
    """A system with its tenant and environment. The same audience in two tenants is two systems."""

    audience: str
    tenant: str | None = None
    environment: str | None = None


class Pin(StrEnum):
    """The comparison of a tool's or prompt's last served definition with the lock file. `unpinned`: the lock file lacks
    the definition. `unreviewed`: the lock file lacks the definition, and with `catalogue.trust: locked` only a person
    adds a pin. `unknown`: not listed by the upstream."""

    MATCH = "match"
    CHANGED = "changed"
    UNPINNED = "unpinned"
    UNREVIEWED = "unreviewed"
    UNKNOWN = "unknown"


StatementKind: TypeAlias = Literal["select", "explain", "show"]
"""Kinds of SQL statements that change nothing (`gateway.inspection.statements`)."""


@dataclass(frozen=True, slots=True)
class ArgumentCondition:
    """Tests on an argument, all required: name of a test → expected value.

    `optional`: a missing argument holds too.
    """

    tests: Mapping[str, Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class LabelCase:
    """Milder labels of a tool for calls with arguments within all conditions. `None` changes nothing.

    `when` maps a JSON pointer to its condition. `arguments` has the only permitted names of arguments.
    """

    when: Mapping[str, ArgumentCondition]
    arguments: frozenset[str] | None = None
    effect: Effect | None = None
    egress: bool | None = None
    sensitivity: Sensitivity | None = None
    sandbox: bool | None = None
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])


Assumable: TypeAlias = Literal["effect", "egress", "sensitivity"]
ASSUMABLE: Final[tuple[Assumable, ...]] = ("effect", "egress", "sensitivity")
"""The labels of a tool with a fail-closed value."""


class Confirmation(NamedTuple):
    """A reading tool that shows whether a call was carried out, and the argument that both have."""

    tool: str
    argument: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The operator's labels for a tool. The defaults fail closed."""

    effect: Effect = Effect.WRITE
    egress: bool = True
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])
    """JSON pointer (RFC 6901) into the arguments → role."""
    assumed: frozenset[Assumable] = frozenset()
    """Names of the labels that the operator left out, so that their fail-closed values hold."""
    sandbox: bool = False
    """Whether the tool works inside a sandbox of the task, from which nothing leaves."""
    cases: tuple[LabelCase, ...] = ()
    """For some arguments the labels are milder. The first case that holds counts; labels of a call have none."""
    effect_key: tuple[str, ...] = ()
    """JSON pointers into the arguments: two calls with the same values there have the same effect."""
    confirms: Confirmation | None = None
    """The tool of the same upstream whose calls this reading tool confirms."""
    confirmed_by: Confirmation | None = None
    """The reading tool with this one in its `confirms`."""

    @property
    def in_sandbox(self) -> bool:
        return self.sandbox and not self.egress


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Target:
    """The subject of a call: a tool, a resource or a prompt of an upstream.

    `id` is `<upstream>/<name>`: the server-qualified name, since names alone are not unique. `annotations` are the
    upstream's own words and never trusted. `schema` is a tool's input schema as last listed.
    """

    type: Literal["tool", "resource", "prompt"]
    upstream: str
    name: str
    audience: str
    tenant: str | None = None
    environment: str | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"
    labels: Labels = field(default_factory=Labels)
    pin: Pin | None = None
    """`None` for resources: data changes by its nature."""
    aggregates: tuple[str, ...] | None = None
    """The systems that an aggregator passes calls on to. Empty: it is one, and nobody knows to which."""
    is_agent: bool = False
    """Whether an agent answers the call: one more step between the user and what happens."""
    credential: TargetCredential | None = None
    """The credential that the gateway shows to the upstream; `None` for none."""
    annotations: JsonObject = field(default_factory=dict[str, Json])
    schema: Json = field(default=None, repr=False)
    output: Json = field(default=None, repr=False)
    """The tool's output schema as last listed; `None` for none."""
    definition: str | None = None
    """Digest of the pinned definition; `None` unless the listed definition matches its pin."""
    aliases: tuple[str, ...] = ()
    """Further names of the system in goals of tasks."""

    @property
    def id(self) -> str:
        return f"{self.upstream}/{self.name}"
