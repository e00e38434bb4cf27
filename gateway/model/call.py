"""A call, and the circumstances in which it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import Struct

from gateway.model.target import Sensitivity, Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject

ActionName: TypeAlias = Literal["tools/call", "resources/read", "prompts/get", "completion/complete"]
"""What is decided, by the method that asks for it."""


class Call(Struct, frozen=True):
    """A decided request: what policy sees of it. `arguments` are exactly what will be forwarded, but for what handles
    in them stand for (docs/design/0005-handles.md)."""

    action: ActionName
    target: Target
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class PastCall:
    """An allowed call of which something may come after its answer: the result of a task of the protocol that it made, or
    the answer itself on a stream that is taken up again. `call` is its decision id, `number` its place among the calls of
    `task`, `used` are the fingerprints of the credentials in its arguments. `sensitivity` is that of its result, `max_bytes`
    what policy allows it, if it says."""

    task: Task
    call: str
    number: int
    target: Target
    sensitivity: Sensitivity
    used: tuple[str, ...] = ()
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where something comes from that is read outside of an open call: what it counts as a reading of, what it makes of
    the task that reads it, and the call whose late result it is, if it is one. `unknown`: it is the result of a call that
    nobody remembers."""

    target: Target
    untrusted: bool
    sensitivity: Sensitivity
    past_call: PastCall | None = None
    unknown: bool = False


class Context(Struct, frozen=True):
    """The circumstances of a call. `time` in seconds since the epoch. `approval` follows `Approval` of the policy contract."""

    time: float
    trace_id: str
    client_ip: str | None
    client_name: str | None
    task: Task
    supported_obligations: tuple[str, ...] = ()
    approval: JsonObject | None = None
