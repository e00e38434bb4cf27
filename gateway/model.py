"""The values that the phases hand to one another. Pure: no I/O, no clock, no randomness.

Every value is frozen. A refusal is a value too; an exception (see `errors`) means that something
outside the gateway failed. Those that are made for each call are of msgspec: each takes a tenth of the time that a frozen
dataclass does, and a call makes two dozen.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A decoded JSON value."""

JsonObject: TypeAlias = Mapping[str, Json]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""HTTP header fields in wire order, names in lower case (the ASGI form)."""


# --- the message -----------------------------------------------------------------------------------


class Era(StrEnum):
    """The two wire protocols: with a handshake and sessions (up to 2025-11-25), or stateless (2026-07-28)."""

    HANDSHAKE = "handshake"
    STATELESS = "stateless"


class Kind(StrEnum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class Disposition(StrEnum):
    """What is done with a method: ask policy, filter the answer, pass it on, or refuse it."""

    DECIDE = "decide"
    FILTER = "filter"
    PASS = "pass"  # noqa: S105 - not a password
    REFUSE = "refuse"


RequestId: TypeAlias = int | str


class Message(Struct, frozen=True):
    """One JSON-RPC message of a client, strictly read. `body` is what was read and what is forwarded.

    `name` is what the routing header `Mcp-Name` mirrors: the tool or prompt name, the resource URI, the task id.
    `client_name` is what the client calls itself; it is not verified. `method` is `None` for a response.
    """

    kind: Kind
    era: Era
    disposition: Disposition
    body: bytes
    method: str | None = None
    id: RequestId | None = None
    params: JsonObject = msgspec.field(default_factory=dict[str, Json])
    name: str | None = None
    client_name: str | None = None


# --- the edge --------------------------------------------------------------------------------------


class Credentials(Struct, frozen=True):
    """Everything in a request that can prove an identity. `certificate` is the verified client
    certificate, DER. `url` is the URL as the client addressed it, without query (for DPoP's `htu`)."""

    method: str
    url: str
    authorization: tuple[str, ...] = ()
    dpop: tuple[str, ...] = ()
    certificate: bytes | None = None


class UpstreamRequest(Struct, frozen=True):
    """What is sent to an upstream. `headers` are cleaned of everything that is the gateway's own affair.
    `message` is `None` for GET and DELETE of a session; `session` is the upstream's own session id, `began` the mark of
    the token with which that session began."""

    method: Literal["POST", "GET", "DELETE"]
    headers: Headers
    principal: Principal
    message: Message | None = None
    session: str | None = None
    began: str | None = None

    @property
    def body(self) -> bytes | None:
        return self.message.body if self.message else None


class UpstreamReply(Struct, frozen=True):
    """An upstream's answer. `chunks` is consumed once; `close` ends it early and may be called at any time."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


# --- who -------------------------------------------------------------------------------------------


class AuthMethod(StrEnum):
    """How a caller proved who it is."""

    JWT = "jwt"
    SPIFFE_JWT = "spiffe-jwt"
    SPIFFE_X509 = "spiffe-x509"
    DEVELOPMENT = "development"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Actor:
    """One link of a delegation chain (RFC 8693 section 4.1, the `act` claim)."""

    id: str
    issuer: str | None


@dataclass(frozen=True, slots=True)
class User:
    """The person on whose behalf the agent acts."""

    id: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller: an agent, possibly acting for a user.

    `delegation` is the `act` chain, the present actor first; it is empty for a token without `act`.
    `token_id` is the token's `jti`, or a digest of the presented credential when it has none.
    `expires` is in seconds since the epoch, `None` for a caller without a token.
    """

    id: str
    issuer: str
    method: AuthMethod
    scopes: frozenset[str] = frozenset()
    user: User | None = None
    delegation: tuple[Actor, ...] = ()
    bound: bool = False
    token_id: str = ""
    expires: float | None = None
    key: str = field(init=False, repr=False, compare=False)
    """What sessions, tasks and upstream processes are bound to: 32 hex digits, the same for every token of this agent,
    for this user, through this chain."""
    token_mark: str = field(init=False, repr=False, compare=False)
    """A name for the token among those of this principal, which is none of the token's own: 32 hex digits."""

    def __post_init__(self) -> None:
        chain = tuple(part for actor in self.delegation for part in (actor.id, actor.issuer or ""))
        parts = (self.issuer, self.id, self.user.id if self.user else "", *chain)
        digest = hashlib.sha256(b"".join(_framed(part) for part in parts)).hexdigest()
        object.__setattr__(self, "key", digest[:32])
        object.__setattr__(self, "token_mark", hashlib.sha256(_framed(self.token_id)).hexdigest()[:32])


def _framed(part: str) -> bytes:
    data = part.encode()
    return len(data).to_bytes(4, "big") + data


# --- what for --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contract:
    """What a declared task may at most do. It only ever narrows what its principal may do: `None` narrows nothing.

    `tools` are patterns of server-qualified names. `credential_flows` are (from, to) pairs of audiences. `limits` maps a
    fact of the session (`audiences`, `destinations`, …) to the number above which a person is asked.
    """

    audiences: frozenset[str] | None = None
    tools: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    credential_flows: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of authority. Implicit for a client that declared none. Times in seconds since the epoch."""

    id: str
    kind: Literal["declared", "implicit"]
    opened: float
    expires: float | None = None
    goal: str | None = None
    risk: Literal["low", "medium", "high"] | None = None
    tenant: str | None = None
    environment: str | None = None
    contract: Contract | None = None


# --- what ------------------------------------------------------------------------------------------


class Effect(StrEnum):
    """What a tool does to the world. Unlabelled tools count as `write`."""

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
    """What an argument means to a tool."""

    DESTINATION = "destination"
    COMMAND = "command"
    CREDENTIAL = "credential"
    CONTENT = "content"
    SELECTOR = "selector"
    AMOUNT = "amount"


class Pin(StrEnum):
    """How a tool's definition, as last served by its upstream, compares with the one in the lock file.

    `unpinned`: it is not there yet; `unreviewed`: it is not there, and with `catalogue.trust: locked` only a person puts
    it there. `unknown`: the upstream does not list such a tool.
    """

    MATCH = "match"
    CHANGED = "changed"
    UNPINNED = "unpinned"
    UNREVIEWED = "unreviewed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Labels:
    """What the operator says of a tool, by configuration. The defaults are the fail-closed ones."""

    effect: Effect = Effect.WRITE
    egress: bool = True
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])
    """JSON pointer (RFC 6901) into the arguments → role."""


@dataclass(frozen=True, slots=True)
class Target:
    """The thing a call is about: a tool, a resource or a prompt of one upstream.

    `id` is `<upstream>/<name>`: the server-qualified name, since names alone are not unique.
    `annotations` are the upstream's own words and never trusted. `schema` is a tool's input schema as last listed.
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
    """`None` for resources and prompts, which have no definition to pin."""
    annotations: JsonObject = field(default_factory=dict[str, Json])
    schema: Json = field(default=None, repr=False)

    @property
    def id(self) -> str:
        return f"{self.upstream}/{self.name}"


class Call(Struct, frozen=True):
    """A decided request: what policy sees of it. `arguments` are exactly what will be forwarded, but for what handles
    in them stand for (docs/design/0005-handles.md)."""

    action: Literal["tools/call", "resources/read", "prompts/get"]
    target: Target
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class Made:
    """An allowed call of which something may come after its answer: the result of a task of the protocol that it made, or
    the answer itself on a stream that is taken up again. `call` is its decision id, `number` its place among the calls of
    `task`, `used` are the fingerprints of the credentials in its arguments. `sensitivity` is that of its result."""

    task: Task
    call: str
    number: int
    target: Target
    sensitivity: Sensitivity
    used: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where something comes from that is read outside of an open call: what it counts as a reading of, what it makes of
    the task that reads it, and the call whose late result it is, if it is one. `unknown`: it is the result of a call that
    nobody remembers."""

    target: Target
    untrusted: bool
    sensitivity: Sensitivity
    made: Made | None = None
    unknown: bool = False


class Context(Struct, frozen=True):
    """The circumstances of a call. `time` in seconds since the epoch."""

    time: float
    trace_id: str
    client_ip: str | None
    client_name: str | None
    task: Task
    supported_obligations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A credential seen in arguments or in a result: which one, never what it is.

    `fingerprint` is keyed, per deployment. `pointer` is where in the arguments (RFC 6901), empty for a result. `form` is
    how it was written: `raw`, or the decodings it took (`base64`, `percent+base64`, `split`, …). `shingles` are keyed
    digests of its pieces, by which it is known again when it is cut up. `ordinary`: ordinary text may have the same value
    in it, so that meeting it beside arguments proves nothing. `handle`: a handle stands for it, which is of this
    audience. `shown_by`: a result of this audience has shown it to another task of the caller.
    """

    fingerprint: str
    detector: str
    pointer: str = ""
    role: Role | None = None
    form: str = "raw"
    shingles: frozenset[int] = field(default=frozenset(), repr=False, compare=False)
    ordinary: bool = field(default=False, compare=False)
    handle: str | None = None
    shown_by: str | None = None


class CallContent(Struct, frozen=True):
    """What a call's arguments hold, as history keeps it: keyed digests in the place of values.

    `destinations` maps the digest of each normalised destination to its value, for this decision only. `authority`
    maps the pointer of each destination, command, credential and amount argument to the digests of its values, and that
    of each content argument with links to those of their hosts; those in `grounded` stand in the task's goal or contract.
    `tokens` are the digests of distinctive words in all arguments. `links` maps the pointer of the call's only argument
    to the digest of the web address that it is, if it is one that can be followed. `own` says that the call may change
    something or has a text that the goal does not name, `directed` that it reads something untrusted by what the goal
    names. `said` are the digests of the values that a call tells a trusted system, as a result of that would give them. `complete` is false when the arguments were too much to be looked at whole.
    """

    destinations: Mapping[int, str] = msgspec.field(default_factory=dict[int, str])
    sightings: tuple[Sighting, ...] = ()
    authority: Mapping[str, frozenset[int]] = msgspec.field(default_factory=dict[str, frozenset[int]])
    grounded: frozenset[str] = frozenset()
    tokens: frozenset[int] = frozenset()
    complete: bool = True
    links: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    own: bool = False
    directed: bool = False
    said: frozenset[int] = frozenset()


class ResultContent(Struct, frozen=True):
    """What a part of a result held. Folded before that part reaches the caller. `complete` is false when there was more
    in it than could be told apart; `links` are the digests of the web addresses that stand in it whole."""

    sightings: tuple[Sighting, ...] = ()
    tokens: frozenset[int] = frozenset()
    complete: bool = True
    links: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class CredentialFact:
    """A credential in the call under decision, and where it came from. `chain_depth` is the length of the longest path
    of credentials, each used in the call whose result revealed the next, that ends in this one."""

    sighting: Sighting
    origin: Literal["result", "broker", "user", "unknown"]
    origin_audience: str | None = None
    origin_call: int | None = None
    chain_depth: int = 0
    minted_in_task: bool = False


@dataclass(frozen=True, slots=True)
class TaskLabels:
    """Of all that the task has read: whether anything was untrusted, and the highest confidentiality."""

    untrusted: bool
    confidentiality: Sensitivity


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the task has done, the call under decision included. Only what is known: a fact that is
    not kept (`None`) is absent in the policy input, never an empty stand-in."""

    calls: int
    in_flight: int
    audiences: frozenset[str]
    write_audiences: frozenset[str]
    tenants: frozenset[str]
    environments: frozenset[str]
    denials: int
    audiences_in_window: frozenset[str] | None = None
    destinations: int | None = None
    """How many distinct destinations the task has reached, those of this call included."""
    call_destinations: tuple[str, ...] | None = None
    """The normalised destinations of this call."""
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
    approvals_used: int | None = None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task as its owner may see it: what was declared, where it stands, and what it has done."""

    task: Task
    status: Literal["open", "completed", "cancelled", "expired"]
    facts: SessionFacts


# --- the decision ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: `code` is part of the interface (`family/what`), `message` and `remedy` are for people."""

    code: str
    message: str
    remedy: str = ""
    controls: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that must happen if the call passes."""

    id: str
    properties: JsonObject


@dataclass(frozen=True, slots=True)
class PolicyRevision:
    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of policy on one call. `effect` is `allow` only if policy said exactly that and every
    obligation is one this gateway can carry out."""

    effect: Literal["allow", "deny", "ask"]
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    policy: PolicyRevision

    @property
    def allowed(self) -> bool:
        return self.effect == "allow"


# --- the answer ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that goes no further, and what the caller is told.

    `status` is the HTTP status. `rpc_code` is the JSON-RPC error code, used when the refusal is answered
    as a protocol error. `challenge` is a `WWW-Authenticate` value. `decision` is present when policy refused.
    `data` becomes the JSON-RPC error's `data`. `id` is that of the refused request, for a refusal from before there
    is a `Message`, if it could be read.
    """

    status: int
    reason: Reason
    rpc_code: int
    challenge: str | None = None
    decision: Decision | None = None
    data: JsonObject | None = None
    id: RequestId | None = None
