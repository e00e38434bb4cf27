"""The body of `POST /tasks`, strictly read. Pure: no I/O, no clock, no randomness.

    {"parent": "task-6f1c", "goal": "mend the login page", "kind": "page-fix", "risk": "low", "tenant": "acme", "environment": "staging",
     "expires_in": 3600, "approval": "ask",
     "contract": {"audiences": ["github"], "tools": ["github/*"], "destinations": ["ops@acme.example"],
                  "credential_flows": [{"from": "vault", "to": "github"}], "limits": {"destinations": 6},
                  "effects": {"destructive": ["github/delete_branch"]}}}

All members are optional. An absent member narrows nothing; an empty list allows nothing. Unknown members are refused,
since a half understood contract would allow calls thought forbidden by its author.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, TypeVar

from gateway.base.json import strict
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.task import Contract
from gateway.model.wire import Json, JsonObject

MAX_BODY: Final = 16 * 1024
"""Bytes."""
MAX_CREDENTIALS: Final = 16
"""Credentials in the goal and the destinations. Each takes some 4 KB in memory."""
MAX_GOAL: Final = 8_192
"""Characters."""
MAX_ITEMS: Final = 256
MAX_TEXT: Final = 512
MAX_LIMIT: Final = 1_000_000
DEFAULT_EXPIRY: Final = 3_600
MAX_EXPIRY: Final = 86_400
"""Seconds. Authority is for a piece of work; a longer one is opened again."""

LIMITS: Final = (
    "approvals_used",
    "audiences",
    "audiences_in_window",
    "call_destinations",
    "call_own_destinations",
    "calls",
    "denials",
    "depth",
    "destinations",
    "environments",
    "in_flight",
    "own_destinations",
    "spread",
    "tenants",
    "unnamed_systems",
    "write_audiences",
)
"""The facts of the session that a contract can limit. The policy refuses a contract with a limit that it does not know."""

Risk = Literal["low", "medium", "high"]
_RISKS: Final[Mapping[str, Risk]] = {"low": "low", "medium": "medium", "high": "high"}
_FIELDS: Final = ("goal", "kind", "contract", "risk", "tenant", "environment", "expires_in", "approval", "parent")
_CONTRACT_FIELDS: Final = ("audiences", "tools", "destinations", "credential_flows", "limits", "effects")
_EFFECTS: Final = ("destructive", "mint")
_FLOW_FIELDS: Final = ("from", "to")
_KIND: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
MAX_KIND: Final = 64
"""Characters."""
MAX_PARENT: Final = 4_096
"""Characters: the parent may be a hand-over token."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_USERINFO: Final = re.compile(r"//[^/\s@]*:[^/\s@]*@")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A caller's declaration of a task. `expires_in` is in seconds. `asks`: a person is to approve the task as a whole.

    `kind` names recurring work, such as `weekly-report`. The kind is the caller's word, and gives nothing by itself.
    `parent` is the id of the task above the declared one, or a hand-over token.
    """

    goal: str | None = None
    contract: Contract | None = None
    risk: Risk | None = None
    tenant: str | None = None
    environment: str | None = None
    expires_in: int = DEFAULT_EXPIRY
    asks: bool = False
    kind: str | None = None
    parent: str | None = None

    def names(self) -> Iterator[str]:
        """Yield all texts but the goal: names of systems, tools, destinations and places."""
        yield from (name for name in (self.kind, self.tenant, self.environment) if name is not None)
        if self.contract is not None:
            for named in (self.contract.audiences, self.contract.tools, self.contract.destinations):
                yield from sorted(named or ())
            yield from chain.from_iterable(self.contract.credential_flows)
            yield from chain.from_iterable(self.contract.effects.values())


def read_declaration(body: bytes) -> Declaration | Reason:
    """Read the body, or refuse with the field and its fault: `task/invalid`."""
    if len(body) > MAX_BODY:
        return _reason(f"the body is longer than {MAX_BODY // 1024} KiB")
    document = strict.read(body or b"{}")
    if isinstance(document, strict.UnreadableJson):
        return _reason(document.message)
    try:
        return _declaration(document)
    except _Invalid as invalid:
        return _reason(str(invalid))


@dataclass(frozen=True, slots=True)
class HandOverRequest:
    """A request for a hand-over token: its agent, and its life in seconds."""

    agent: str
    life: int


def read_hand_over(body: bytes, *, usual: int, longest: int) -> HandOverRequest | Reason:
    """Read the body of `POST /tasks/ID/hand-over`, or refuse with the field and its fault: `task/invalid`."""
    document = strict.read(body or b"{}")
    if isinstance(document, strict.UnreadableJson):
        return reasons.TASK_HAND_OVER_INVALID.reason(problem=document.message)
    try:
        _require_known(document, ("agent", "expires_in"), "the request")
        agent = _text(document.get("agent"), "agent")
        return HandOverRequest(agent, _integer(document.get("expires_in", usual), "expires_in", 1, longest))
    except _Invalid as invalid:
        return reasons.TASK_HAND_OVER_INVALID.reason(problem=str(invalid))


def too_many_credentials() -> Reason:
    """Return the refusal of a declaration with more than `MAX_CREDENTIALS` credentials."""
    return _reason(f"its goal and destinations hold more than {MAX_CREDENTIALS} credentials")


class _Invalid(Exception):
    """Carries a sentence to `read_declaration`."""


def _reason(problem: str) -> Reason:
    return reasons.TASK_INVALID.reason(problem=problem)


def _declaration(document: JsonObject) -> Declaration:
    _require_known(document, _FIELDS, "the task")
    return Declaration(
        goal=_optional(document, "goal", "goal", _goal),
        kind=_optional(document, "kind", "kind", _kind),
        parent=_optional(document, "parent", "parent", _parent),
        contract=_optional(document, "contract", "contract", _contract),
        risk=_optional(document, "risk", "risk", _risk),
        tenant=_optional(document, "tenant", "tenant", _text),
        environment=_optional(document, "environment", "environment", _text),
        expires_in=_optional(document, "expires_in", "expires_in", _expiry) or DEFAULT_EXPIRY,
        asks=_optional(document, "approval", "approval", _asks) or False,
    )


def _asks(value: Json, field: str) -> bool:
    if value != "ask":
        raise _Invalid(f'{field} is not "ask"')
    return True


def _contract(value: Json, field: str) -> Contract:
    fields = _object(value, field)
    _require_known(fields, _CONTRACT_FIELDS, field)
    audiences = _optional(fields, "audiences", f"{field}.audiences", _texts)
    return Contract(
        audiences=None if audiences is None else frozenset(audiences),
        tools=_optional(fields, "tools", f"{field}.tools", _texts),
        destinations=_optional(fields, "destinations", f"{field}.destinations", _destinations),
        credential_flows=_optional(fields, "credential_flows", f"{field}.credential_flows", _flows) or (),
        limits=_optional(fields, "limits", f"{field}.limits", _limits) or {},
        effects=_optional(fields, "effects", f"{field}.effects", _effects) or {},
    )


def _optional(fields: JsonObject, name: str, field: str, read_value: Callable[[Json, str], _Value]) -> _Value | None:
    return read_value(fields[name], field) if name in fields else None


def _goal(value: Json, field: str) -> str:
    return _text(value, field, MAX_GOAL)


def _parent(value: Json, field: str) -> str:
    return _text(value, field, MAX_PARENT)


def _kind(value: Json, field: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_KIND or _KIND.fullmatch(value) is None:
        raise _Invalid(
            f"{field} is a name of at most {MAX_KIND} lower-case letters, digits and hyphens, such as weekly-report"
        )
    return value


def _risk(value: Json, field: str) -> Risk:
    if not isinstance(value, str) or value not in _RISKS:
        raise _Invalid(f"{field} is one of {', '.join(_RISKS)}")
    return _RISKS[value]


def _expiry(value: Json, field: str) -> int:
    return _integer(value, field, 1, MAX_EXPIRY)


def _text(value: Json, field: str, longest: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Invalid(f"{field} is a text that is not empty")
    if len(value) > longest:
        raise _Invalid(f"{field} is longer than {longest} characters")
    if _CONTROL.search(value):
        raise _Invalid(f"{field} has control characters")
    return value


def _texts(value: Json, field: str) -> tuple[str, ...]:
    return tuple(_text(item, f"{field}[{index}]") for index, item in enumerate(_list(value, field)))


def _destinations(value: Json, field: str) -> tuple[str, ...]:
    found = _texts(value, field)
    for index, destination in enumerate(found):
        if _USERINFO.search(destination):
            raise _Invalid(f"{field}[{index}] has a password in it; write the address without")
    return found


def _flows(value: Json, field: str) -> tuple[tuple[str, str], ...]:
    return tuple(_flow(item, f"{field}[{index}]") for index, item in enumerate(_list(value, field)))


def _flow(value: Json, field: str) -> tuple[str, str]:
    fields = _object(value, field)
    _require_known(fields, _FLOW_FIELDS, field)
    if len(fields) != 2:
        raise _Invalid(f"{field} has both from and to")
    return _text(fields["from"], f"{field}.from"), _text(fields["to"], f"{field}.to")


def _limits(value: Json, field: str) -> dict[str, int]:
    fields = _object(value, field)
    _require_known(fields, LIMITS, field)
    return {name: _integer(limit, f"{field}.{name}", 0, MAX_LIMIT) for name, limit in fields.items()}


def _effects(value: Json, field: str) -> dict[str, tuple[str, ...]]:
    fields = _object(value, field)
    _require_known(fields, _EFFECTS, field)
    return {name: _texts(tools, f"{field}.{name}") for name, tools in fields.items()}


def _integer(value: Json, field: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _Invalid(f"{field} is a whole number from {least} to {most}")
    return value


def _object(value: Json, field: str) -> JsonObject:
    if not isinstance(value, Mapping):
        raise _Invalid(f"{field} is an object")
    return value


def _list(value: Json, field: str) -> Sequence[Json]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _Invalid(f"{field} is a list")
    if len(value) > MAX_ITEMS:
        raise _Invalid(f"{field} has more than {MAX_ITEMS} items")
    return value


def _require_known(fields: JsonObject, known: Sequence[str], where: str) -> None:
    """Refuse unknown names with the nearest known name; the unknown name itself is the caller's, and not repeated."""
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name[:MAX_TEXT], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise _Invalid(f"{where} has a field that is not known ({hint})")
