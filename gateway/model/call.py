"""A call, and the circumstances of a call: signals about its caller, and leases of its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from msgspec import Struct

from gateway.model.target import CredentialKind, Sensitivity, Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject

SignalType: TypeAlias = Literal[
    "session-revoked",
    "credential-change",
    "token-claims-change",
    "device-compliance-change",
    "assurance-level-change",
    "risk-level-change",
]
SIGNAL_TYPES: Final[tuple[SignalType, ...]] = get_args(SignalType)


class SignalFact(Struct, frozen=True):
    """An open fact about the user, the session or the agent of a call. `at` is the time of the event in seconds since the epoch.

    `level` is the present level of risk or assurance, the status of the device, or the change of the credential, in lower case.
    """

    type: SignalType
    at: float
    level: str | None = None


class RepeatedEffect(Struct, frozen=True):
    """An earlier call with the same effect as a call under decision. `at` is the time of its decision in seconds since the epoch."""

    call: str
    state: Literal["open", "done", "unknown"]
    at: float


class OpenLeases(Struct, frozen=True):
    """The numbers of a task's leases: `open` until their end is proven, and of these `stuck`."""

    open: int
    stuck: int


class HeldLease(Struct, frozen=True):
    """A lent credential, without its value. `target` is the target of its first call. `expires` is in seconds since the epoch."""

    id: str
    target: Target
    audience: str
    scope: tuple[str, ...]
    kind: CredentialKind
    expires: float


ActionName: TypeAlias = Literal["tools/call", "resources/read", "prompts/get", "completion/complete"]
"""What is decided, by the method that asks for it."""


class Call(Struct, frozen=True):
    """A decided request in the form for policy. `arguments` are exactly the forwarded ones, except for the contents of
    handles (docs/design/0005-handles.md). `beside` has all else of the call that its upstream reads: `headers` let
    through by the operator, and `params`. Both are absent if empty."""

    action: ActionName
    target: Target
    arguments: JsonObject
    beside: JsonObject = {}


@dataclass(frozen=True, slots=True)
class PastCall:
    """An allowed call with a possible late result: the result of its protocol task, or its answer on a resumed stream.
    `call` is its decision id, and `number` its place among the calls of `task`. `used` are the fingerprints of the
    credentials in its arguments. `sensitivity` belongs to its result, and `max_bytes` is the limit of policy, if
    any."""

    task: Task
    call: str
    number: int
    target: Target
    sensitivity: Sensitivity
    used: tuple[str, ...] = ()
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of data read outside of an open call: its target, its effect on the reading task, and the call of a
    late result. `unknown`: the result of a forgotten call."""

    target: Target
    untrusted: bool
    sensitivity: Sensitivity
    past_call: PastCall | None = None
    unknown: bool = False


class Context(Struct, frozen=True):
    """The circumstances of a call. `time` in seconds since the epoch. `approval` and `endorsement` follow the types of
    the policy contract with these names. `signals` are the open facts about the caller from identity providers."""

    time: float
    trace_id: str
    client_ip: str | None
    client_name: str | None
    task: Task
    supported_obligations: tuple[str, ...] = ()
    approval: JsonObject | None = None
    endorsement: JsonObject | None = None
    signals: tuple[SignalFact, ...] = ()
    leases: OpenLeases | None = None
    """The open leases of the task; `None` without any."""
    repeats: RepeatedEffect | None = None
    """The earlier call with the same effect, by the label `effect_key`."""
    enforced: bool = True
    """Whether a refusal by policy is enforced; `False` in observe mode."""
