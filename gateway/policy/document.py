"""The policy input, version 1, made of values of the gateway. Pure: no I/O, no clock.

The types of `contract.py` define the input for OPA (`encode`) and for a compiled policy (`plain`). An unknown fact is absent,
never an empty stand-in. Nothing is in the input twice, since its size decides how fast the engine is. Parts of a caller, a tool
and a task are made once for each, and are the same in all inputs.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType, to_builtins

from gateway.model.call import Call, Context, HeldLease, SignalFact
from gateway.model.caller import Principal
from gateway.model.errors import PolicyInput
from gateway.model.facts import NO_DECLARED_FACTS, DeclaredFacts, SessionFacts
from gateway.model.target import ASSUMABLE, Target, TargetCredential
from gateway.model.task import Contract, Task, TaskApprover
from gateway.model.wire import Json, JsonObject
from gateway.policy.contract import (
    Approver,
    Assurance,
    Circumstances,
    ClientInput,
    DeclaredEffects,
    DelegationLink,
    FlowInput,
    Resource,
    ResourceProperties,
    ShownCredential,
    SignalInput,
    SubjectInput,
    SubjectProperties,
    TaskContract,
    TaskInput,
    UserInput,
)
from gateway.policy.plan import values
from gateway.policy.plan.values import Shared, Value

VERSION = 1

_LAST_TIME = 253402300799.0
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""

_PLAIN = (str, bool, type(None))
_LEAST, _GREATEST = -(2**63), 2**64 - 1
_Source = TypeVar("_Source")
_Known = TypeVar("_Known")


DECLARED: Final = ("facts", "facts_before", "facts_incomplete")
"""The parts of an input with declared facts."""
_FOREIGN: Final = ("arguments", "resource", "resources", "leases")
"""The parts of an input with values of callers and upstreams."""


def decision(
    principal: Principal,
    call: Call,
    context: Context,
    facts: SessionFacts,
    declared: DeclaredFacts = NO_DECLARED_FACTS,
) -> JsonObject:
    """Return the input of `data.gateway.decision.result`: may this principal make this call, now, after its task's history?

    `declared` are the facts that the author of the policy declares.
    """
    target = call.target
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "action": {"name": call.action},
        "resource": _TOOLS.part(target) if target.type == "tool" else _describe_resource(target),
        "arguments": call.arguments,
        "context": {**_describe_context(context), **call.beside} if call.beside else _describe_context(context),
        "session": session(facts),
        **(describe_declared(declared) if declared is not NO_DECLARED_FACTS else {}),
    }


def describe_declared(declared: DeclaredFacts) -> JsonObject:
    """Return the parts of an input with the declared facts of a call."""
    parts: JsonObject = {"facts": dict(declared.values), "facts_before": dict(declared.before)}
    return {**parts, "facts_incomplete": list(declared.incomplete)} if declared.incomplete else parts


def replace_declared(document: JsonObject, declared: DeclaredFacts) -> JsonObject:
    """Return an input with other declared facts."""
    others = {name: value for name, value in document.items() if name not in DECLARED}
    return {**others, **describe_declared(declared)}


def visibility(principal: Principal, targets: Sequence[Target], context: Context, facts: SessionFacts) -> JsonObject:
    """Return the input of `data.gateway.visibility.result`: which of these may this principal know of?"""
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "resources": [_describe_target(target) for target in targets],
        "context": _describe_context(context),
        "session": session(facts),
    }


def leases(principal: Principal, held: Sequence[HeldLease], context: Context, facts: SessionFacts) -> JsonObject:
    """Return the input of `data.gateway.leases.result`: which of these may this principal keep?"""
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "leases": [_describe_lease(lease) for lease in held],
        "context": _describe_context(context),
        "session": session(facts),
    }


def encode(document: JsonObject) -> bytes:
    """Return the document as JSON for OPA. Raise `PolicyInput` for values with several readings. These are not-a-number and
    infinity (msgspec writes null), integers beyond 64 bits, lone surrogates, and endless nesting."""
    try:
        for part in _FOREIGN:
            _require_exact(document.get(part))
        context = document.get("context")
        if isinstance(context, dict) and "params" in context:
            _require_exact(cast("JsonObject", context)["params"])
        return _ENCODER.encode(document)
    except UnicodeEncodeError:
        raise PolicyInput("the call holds text that is not valid Unicode", "send well-formed UTF-8") from None
    except RecursionError:
        raise PolicyInput("the call's arguments are nested too deeply", "send flatter arguments") from None


def plain(document: JsonObject) -> Value:
    """Return the document for a compiled policy, in values of its own. Raise `PolicyInput` as `encode` does."""
    try:
        return values.plain(document if type(document) is dict else dict(document))
    except UnicodeEncodeError:
        raise PolicyInput("the call holds text that is not valid Unicode", "send well-formed UTF-8") from None
    except RecursionError:
        raise PolicyInput("the call's arguments are nested too deeply", "send flatter arguments") from None
    except values.Inexact as error:
        raise PolicyInput(f"the call holds {error}", error.remedy) from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any mapping will do
    raise TypeError(f"a policy input holds a {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def _require_exact(value: Json) -> None:
    """Refuse values that OPA and a plan may read differently. Check only the parts with texts of callers and upstreams.

    Concrete types come first: each call takes this path, and a test for `Mapping` costs as much as encoding a small document.
    """
    if isinstance(value, _PLAIN):
        return
    if isinstance(value, int):
        if not _LEAST <= value <= _GREATEST:
            raise PolicyInput("the call holds an integer beyond 64 bits", "send such a number as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise PolicyInput("the call holds a number that is not finite", "send numbers that JSON can write")
    else:
        for item in value.values() if isinstance(value, dict) or isinstance(value, Mapping) else value:  # noqa: SIM101 - see above
            if not isinstance(item, _PLAIN):
                _require_exact(item)


def _describe_principal(principal: Principal) -> JsonObject:
    user = principal.user
    properties = SubjectProperties(
        issuer=principal.issuer,
        auth_method=principal.method,
        bound=principal.bound,
        scopes=sorted(principal.scopes),
        user=None if user is None else UserInput(user.id, list(user.groups)),
        delegation=[DelegationLink(actor.id, _known_or_absent(actor.issuer)) for actor in principal.delegation],
        delegation_depth=len(principal.delegation),
    )
    return to_builtins(SubjectInput(type="agent", id=principal.id, properties=properties))


def _describe_resource(target: Target) -> JsonObject:
    labels = target.labels
    properties = ResourceProperties(
        upstream=target.upstream,
        audience=target.audience,
        effect=labels.effect,
        egress=labels.egress,
        sensitivity=labels.sensitivity,
        trust=target.trust,
        roles=dict(labels.roles),
        annotations={},
        tool=target.name if target.type == "tool" else UNSET,
        tenant=_known_or_absent(target.tenant),
        environment=_known_or_absent(target.environment),
        pin=_known_or_absent(target.pin),
        sandbox=labels.in_sandbox or UNSET,
        assumed=[name for name in ASSUMABLE if name in labels.assumed] or UNSET,
        credential=UNSET if target.credential is None else _show_credential(target.credential),
    )
    described = to_builtins(Resource(target.type, target.id, properties))
    # The upstream's own words are as they came: `encode` and `plain` refuse values with several readings.
    described["properties"]["annotations"] = target.annotations
    return described


def _show_credential(credential: TargetCredential) -> ShownCredential:
    return ShownCredential(credential.kind, credential.revocable, _known_or_absent(credential.min_ttl))


def _describe_lease(lease: HeldLease) -> JsonObject:
    return {
        "id": lease.id,
        "resource": _describe_target(lease.target),
        "audience": lease.audience,
        "scope": lease.scope,
        "kind": lease.kind,
        "expires": timestamp(lease.expires),
    }


def _describe_context(context: Context) -> JsonObject:
    circumstances = Circumstances(
        time=timestamp(context.time),
        trace_id=context.trace_id,
        client=ClientInput(
            UNSET if context.client_ip is None else context.client_ip,
            UNSET if context.client_name is None else context.client_name,
        ),
        supported_obligations=sorted(context.supported_obligations),
        signals=[_signal(fact) for fact in context.signals] if context.signals else UNSET,
        enforced=UNSET if context.enforced else False,
    )
    described = to_builtins(circumstances)
    described["approval"] = context.approval
    if context.endorsement is not None:
        described["endorsement"] = context.endorsement
    if (earlier := context.repeats) is not None:
        described["repeats"] = {"call": earlier.call, "state": earlier.state, "at": timestamp(earlier.at)}
    shared = _TASKS.part(context.task)
    leases = context.leases
    described["task"] = shared if leases is None else {**shared, "leases": {"open": leases.open, "stuck": leases.stuck}}
    return described


def _signal(fact: SignalFact) -> SignalInput:
    return SignalInput(fact.type, timestamp(fact.at), _known_or_absent(fact.level))


def _describe_task(task: Task) -> JsonObject:
    return to_builtins(
        TaskInput(
            id=task.id,
            kind=task.kind,
            opened=timestamp(task.opened),
            expires=UNSET if task.expires is None else timestamp(task.expires),
            goal=_known_or_absent(task.goal),
            declared_kind=_known_or_absent(task.declared_kind),
            risk=_known_or_absent(task.risk),
            tenant=_known_or_absent(task.tenant),
            environment=_known_or_absent(task.environment),
            contract=UNSET if task.contract is None else _contract(task.contract),
            approved_by=[_approver(one) for one in task.approved_by] or UNSET,
            agents=UNSET if task.parent is None else list(task.parent.agents),
        )
    )


def _approver(approver: TaskApprover) -> Approver:
    return Approver(
        approver.id,
        approver.issuer,
        list(approver.groups),
        cast("Assurance", approver.assurance),
        _known_or_absent(approver.login_age),
    )


def _contract(contract: Contract) -> TaskContract:
    effects = {name: list(patterns) for name, patterns in contract.effects.items()}
    return TaskContract(
        credential_flows=[FlowInput(source, to) for source, to in contract.credential_flows],
        limits=dict(contract.limits),
        audiences=UNSET if contract.audiences is None else sorted(contract.audiences),
        tools=UNSET if contract.tools is None else list(contract.tools),
        destinations=UNSET if contract.destinations is None else list(contract.destinations),
        effects=DeclaredEffects(**effects) if effects else UNSET,
    )


def session(facts: SessionFacts) -> dict[str, Json]:
    """Return the history of a task for policy. Sets are lists in order, and absent facts are left out."""
    return to_builtins(facts, order="deterministic")


def _known_or_absent(value: _Known | None) -> _Known | UnsetType:
    """Return a value, absent if it is not known."""
    return UNSET if value is None else value


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC. What the calendar cannot write becomes its nearest end, and
    not-a-number its beginning, which is long expired."""
    moment = datetime.fromtimestamp(max(0.0, min(seconds, _LAST_TIME)), UTC)
    return moment.isoformat()[:-6] + "Z"


class _PartCache(Generic[_Source]):
    """Parts of inputs, each made once for an object that never changes, and forgotten with the object.

    A part of foreign texts with several readings is not kept: `plain` and `encode` refuse the input for these. A long one is not
    kept either, so that callers cannot fill the memory.
    """

    def __init__(self, describe: Callable[[_Source], JsonObject]) -> None:
        self._describe = describe
        self._kept: dict[int, tuple[weakref.ref[_Source], JsonObject]] = {}

    def part(self, source: _Source) -> JsonObject:
        kept = self._kept.get(id(source))
        # Another object may have the id of one that is gone.
        return kept[1] if kept is not None and kept[0]() is source else self._make_part(source)

    def _make_part(self, source: _Source) -> JsonObject:
        part = self._describe(source)
        try:
            if len(_ENCODER.encode(part)) > _LONGEST:
                return part
            shared = cast("JsonObject", Shared(cast("dict[str, Any]", part)))
        except (UnicodeEncodeError, RecursionError, values.Inexact):
            return part
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        number = id(source)
        self._kept[number] = weakref.ref(source, lambda gone: self._forget(number, gone)), shared
        return shared

    def _forget(self, number: int, gone: weakref.ref[_Source]) -> None:
        kept = self._kept.get(number)
        if kept is not None and kept[0] is gone:
            del self._kept[number]


_KEPT: Final = 256
"""Parts of each kind. A thousand tasks in turn would take megabytes, and gain little."""
_LONGEST: Final = 4096
"""Bytes of a part that is kept."""
_SUBJECTS: Final = _PartCache(_describe_principal)
_TOOLS: Final = _PartCache(_describe_resource)
_TASKS: Final = _PartCache(_describe_task)


def _describe_target(target: Target) -> JsonObject:
    """Return the part of a target. A resource is made anew for each call, so its part would never be used again."""
    return _TOOLS.part(target) if target.type == "tool" else _describe_resource(target)
