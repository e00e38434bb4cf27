"""Decisions, and their answers to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from gateway.model.wire import JsonObject, RequestId


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason of a decision. `code` is part of the interface (`family/what`), `message` and `remedy` are for people. An
    approval of the code holds for the task up to the numbers in `limits`, by the name of the limit."""

    code: str
    message: str
    remedy: str = ""
    controls: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)


@dataclass(frozen=True, slots=True)
class Obligation:
    """An action required of the gateway if the call passes."""

    id: str
    properties: JsonObject


class PolicyRevision(Struct, frozen=True):
    name: str
    revision: str


class BesideDenial(Struct, frozen=True):
    """The unsaid part of a denial: the questions to people, and the obligations of the call if it passes."""

    asks: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]


class Decision(Struct, frozen=True):
    """The verdict of policy on one call. `effect` is `allow` only if policy said exactly `allow` and this gateway can
    carry out every obligation, or if the gateway only observes. `undecided`: policy gave no valid verdict, so the gateway
    refuses. `unenforced` comes with a denial in observe mode. `would` is the policy's own verdict, where observe mode lets the
    call pass; the reasons are those of that verdict then."""

    effect: Literal["allow", "deny", "ask"]
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    policy: PolicyRevision
    undecided: bool = False
    unenforced: BesideDenial | None = None
    would: Literal["deny", "ask"] | None = None

    @property
    def allowed(self) -> bool:
        return self.effect == "allow"

    @property
    def is_denial(self) -> bool:
        """Return whether the refusal counts against the task: a failure of the engine and an ask do not."""
        return self.effect == "deny" and not self.undecided


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stopped request, and the words to the caller.

    `status` is the HTTP status. `rpc_code` is the JSON-RPC error code, used when the refusal is answered as a protocol
    error. `challenge` is a `WWW-Authenticate` value. `decision` is present when policy refused. `data` becomes the
    JSON-RPC error's `data`. `id` belongs to the refused request, for a refusal from before there is a `Message`, if
    readable.
    """

    status: int
    reason: Reason
    rpc_code: int
    challenge: str | None = None
    decision: Decision | None = None
    data: JsonObject | None = None
    id: RequestId | None = None
