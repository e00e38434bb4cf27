"""Trial questions to a policy before it comes into force. The questions do not judge its quality. A policy fails with
an undefined or malformed result, since every call would be refused. It also fails by allowing a call on an empty input.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from gateway.model import reasons
from gateway.model.call import Call, Context, HeldLease
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.errors import PolicyBroken, PolicyError
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect, Labels, Pin, Role, Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.policy import document, verdict
from gateway.policy.contract import Entrypoint

HOSTILE: Final[JsonObject] = {}
"""An input in which every fact is absent."""

_AGENT = Principal("fixture", "https://issuer.invalid", AuthMethod.ANONYMOUS)
_DELEGATED = Principal(
    "spiffe://fixture.invalid/agent",
    "https://issuer.invalid",
    AuthMethod.SPIFFE_JWT,
    scopes=frozenset({"tools"}),
    user=User("fixture", ("fixtures",)),
    delegation=(Actor("first", "https://issuer.invalid"), Actor("second", None)),
    bound=True,
)
_TOOL = Target(
    "tool",
    "fixture",
    "send",
    "https://audience.invalid",
    tenant="fixture",
    environment="fixture",
    labels=Labels(effect=Effect.DESTRUCTIVE, roles={"/to": Role.DESTINATION}),
    pin=Pin.CHANGED,
)
_RESOURCE = Target("resource", "fixture", "file:///fixture", "https://audience.invalid", trust="trusted")
_CONTEXT = Context(0.0, "0" * 32, "192.0.2.1", "fixture", Task("fixture", "implicit", opened=0.0))
_FRESH = SessionFacts(1, 1, frozenset(), frozenset(), frozenset(), frozenset(), 0)
_BUSY = SessionFacts(
    1000,
    9,
    frozenset({"a", "b", "c", "d", "e", "f"}),
    frozenset({"a", "b", "c", "d", "e"}),
    frozenset({"a", "b"}),
    frozenset({"a", "b"}),
    99,
)

CALLS: Final[tuple[JsonObject, ...]] = (
    document.decision(_AGENT, Call("tools/call", _TOOL, {}), _CONTEXT, _FRESH),
    document.decision(_DELEGATED, Call("tools/call", _TOOL, {"to": ["a@b.invalid", 1, None]}), _CONTEXT, _BUSY),
    document.decision(_AGENT, Call("resources/read", _RESOURCE, {"uri": "file:///fixture"}), _CONTEXT, _FRESH),
)
LIST: Final = document.visibility(_AGENT, (_TOOL, _RESOURCE), _CONTEXT, _FRESH)
LEASES: Final = document.leases(
    _DELEGATED,
    [
        HeldLease(f"lease-{number}", _TOOL, "https://audience.invalid", ("read",), "gateway", 60.0)
        for number in range(16)
    ],
    _CONTEXT,
    _BUSY,
)
"""As many leases of one task as one question has."""

_REMEDY: Final = "mend the policy so that its `default result` is a complete denial; `opagate policy test` shows it"


Ask: TypeAlias = Callable[[Entrypoint, JsonObject], Awaitable[object]]
"""A question to a policy, answered."""

_FAULTS: Final = frozenset(
    {reasons.POLICY_UNDEFINED.code, reasons.POLICY_MALFORMED.code, reasons.POLICY_OBLIGATION.code}
)


async def require(ask: Ask) -> str:
    """Ask the policy each question. Return the name that the policy gives itself. Raise `PolicyBroken` if an answer will not do,
    and lets through `PolicyUnavailable` and `PolicyLate`: they say nothing about the policy."""
    name = ""
    for question in CALLS:
        name = await _require_verdict(ask, question)
    await _require_list(ask)
    await _require_closed(ask)
    return name


async def _require_verdict(ask: Ask, question: JsonObject) -> str:
    decided = verdict.read_decision(await ask("decision", question), verdict.KNOWN)
    for reason in decided.reasons:
        if reason.code in _FAULTS:
            raise PolicyBroken(reason.message, _REMEDY)
    return decided.policy.name


async def _require_list(ask: Ask) -> None:
    visible = verdict.visible_ids(await ask("visibility", LIST))
    if visible is None or not visible <= {_TOOL.id, _RESOURCE.id}:
        raise PolicyBroken(
            "the policy's answer to a list does not follow the contract",
            "make `gateway.visibility.result` give version 1 and, in `visible`, ids of `input.resources` only",
        )


async def _require_closed(ask: Ask) -> None:
    try:
        decided = verdict.read_decision(await ask("decision", HOSTILE), verdict.KNOWN)
        seen = verdict.visible_ids(await ask("visibility", HOSTILE))
    except PolicyError:
        return
    if decided.allowed:
        raise PolicyBroken("the policy allows a call on an empty input", "make each grant require what it reads")
    if seen:
        raise PolicyBroken("the policy shows tools on an empty input", "make visibility require what it reads")
