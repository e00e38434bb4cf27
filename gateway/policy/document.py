"""Values → the policy input, version 1. Pure: no I/O, no clock.

The input is what every rule sees. Its fields are described in `rego/schemas/input.json`, which is generated from
`contract.py`; a test holds the two together. A fact that is not known is absent, never an empty stand-in. The size
of the input decides how fast the engine is, so nothing is in it twice. `encode` and `plain` put the same input to the engines.
Parts of a caller, a tool and a task are made once for each, and are the same in all inputs.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from gateway.errors import PolicyInput
from gateway.model.call import Call, Context
from gateway.model.caller import Principal
from gateway.model.facts import CredentialFact, SessionFacts
from gateway.model.lease import HeldLease, OpenLeases
from gateway.model.signal import SignalFact
from gateway.model.target import System, Target, TargetCredential
from gateway.model.task import Contract, Task
from gateway.model.wire import Json, JsonObject
from gateway.policy.plan import values
from gateway.policy.plan.values import Value

VERSION = 1

_LAST_TIME = 253402300799.0
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""

_PLAIN = (str, bool, type(None))
_LEAST, _GREATEST = -(2**63), 2**64 - 1
_Source = TypeVar("_Source")


def decision(principal: Principal, call: Call, context: Context, facts: SessionFacts) -> JsonObject:
    """The input of `data.gateway.decision.result`: may this principal make this call, now, after what the task did?"""
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "action": {"name": call.action},
        "resource": _described_target(call.target),
        "arguments": call.arguments,
        "context": _context(context),
        "session": session(facts),
    }


def visibility(principal: Principal, targets: Sequence[Target], context: Context, facts: SessionFacts) -> JsonObject:
    """The input of `data.gateway.visibility.result`: which of these may this principal know of?"""
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "resources": [_described_target(target) for target in targets],
        "context": _context(context),
        "session": session(facts),
    }


def leases(principal: Principal, held: Sequence[HeldLease], context: Context, facts: SessionFacts) -> JsonObject:
    """Return the input of `data.gateway.leases.result`: which of these may this principal keep?"""
    return {
        "version": VERSION,
        "subject": _SUBJECTS.part(principal),
        "leases": [_lease(lease) for lease in held],
        "context": _context(context),
        "session": session(facts),
    }


def encode(document: JsonObject) -> bytes:
    """Return the document as JSON for either engine. Raises `PolicyInput` for values with several readings. These are
    not-a-number and infinity (msgspec writes null), integers beyond 64 bits (the embedded engine rounds), lone
    surrogates, and endless nesting."""
    try:
        for part in ("arguments", "resource", "resources", "leases"):
            _require_exact(document.get(part))
        return _ENCODER.encode(document)
    except UnicodeEncodeError:
        raise PolicyInput("the call holds text that is not valid Unicode", "send well-formed UTF-8") from None
    except RecursionError:
        raise PolicyInput("the call's arguments are nested too deeply", "send flatter arguments") from None


def plain(document: JsonObject) -> Value:
    """Return the document for a compiled policy, in values of its own. Raises `PolicyInput` as `encode` does."""
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
    """Refuse values that the two engines may read differently. Checks only the parts with texts of callers and upstreams.

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


def _subject(principal: Principal) -> JsonObject:
    user = principal.user
    return {
        "type": "agent",
        "id": principal.id,
        "properties": {
            "issuer": principal.issuer,
            "auth_method": principal.method,
            "bound": principal.bound,
            "scopes": sorted(principal.scopes),
            "user": None if user is None else {"id": user.id, "groups": user.groups},
            "delegation": [
                {"id": actor.id} if actor.issuer is None else {"id": actor.id, "issuer": actor.issuer}
                for actor in principal.delegation
            ],
            "delegation_depth": len(principal.delegation),
        },
    }


def _resource(target: Target) -> JsonObject:
    labels = target.labels
    properties: dict[str, Json] = {
        "upstream": target.upstream,
        "audience": target.audience,
        "effect": labels.effect,
        "egress": labels.egress,
        "sensitivity": labels.sensitivity,
        "trust": target.trust,
        "roles": labels.roles,
        "annotations": target.annotations,
    }
    if target.type == "tool":
        properties["tool"] = target.name
    if labels.in_sandbox:
        properties["sandbox"] = True
    if target.tenant is not None:
        properties["tenant"] = target.tenant
    if target.environment is not None:
        properties["environment"] = target.environment
    if target.pin is not None:
        properties["pin"] = target.pin
    if target.credential is not None:
        properties["credential"] = _shown(target.credential)
    return {"type": target.type, "id": target.id, "properties": properties}


def _shown(credential: TargetCredential) -> JsonObject:
    least: JsonObject = {} if credential.min_ttl is None else {"min_ttl_seconds": credential.min_ttl}
    return {"kind": credential.kind, "revocable": credential.revocable, **least}


def _lease(lease: HeldLease) -> JsonObject:
    return {
        "id": lease.id,
        "resource": _described_target(lease.target),
        "audience": lease.audience,
        "scope": lease.scope,
        "kind": lease.kind,
        "expires": timestamp(lease.expires),
    }


def _context(context: Context) -> JsonObject:
    client: dict[str, Json] = {}
    if context.client_ip is not None:
        client["ip"] = context.client_ip
    if context.client_name is not None:
        client["name"] = context.client_name
    described: dict[str, Json] = {
        "time": timestamp(context.time),
        "trace_id": context.trace_id,
        "client": client,
        "task": _task(context.task, context.leases),
        "approval": context.approval,
        "supported_obligations": sorted(context.supported_obligations),
    }
    if context.endorsement is not None:
        described["endorsement"] = context.endorsement
    if context.signals:
        described["signals"] = [_signal(fact) for fact in context.signals]
    return described


def _signal(fact: SignalFact) -> JsonObject:
    described: dict[str, Json] = {"type": fact.type, "at": timestamp(fact.at)}
    if fact.level is not None:
        described["level"] = fact.level
    return described


def _task(task: Task, leases: OpenLeases | None) -> JsonObject:
    shared = _TASKS.part(task)
    return shared if leases is None else {**shared, "leases": {"open": leases.open, "stuck": leases.stuck}}


def _described_task(task: Task) -> JsonObject:
    described: dict[str, Json] = {"id": task.id, "kind": task.kind, "opened": timestamp(task.opened)}
    if task.expires is not None:
        described["expires"] = timestamp(task.expires)
    if task.goal is not None:
        described["goal"] = task.goal
    if task.declared_kind is not None:
        described["declared_kind"] = task.declared_kind
    if task.risk is not None:
        described["risk"] = task.risk
    if task.tenant is not None:
        described["tenant"] = task.tenant
    if task.environment is not None:
        described["environment"] = task.environment
    if task.contract is not None:
        described["contract"] = _contract(task.contract)
    if task.approved_by:
        described["approved_by"] = [
            {"id": one.id, "issuer": one.issuer, "groups": one.groups, "assurance": one.assurance}
            | ({} if one.login_age is None else {"login_age_seconds": one.login_age})
            for one in task.approved_by
        ]
    return described


def _contract(contract: Contract) -> JsonObject:
    described: dict[str, Json] = {
        "credential_flows": [{"from": source, "to": to} for source, to in contract.credential_flows],
        "limits": contract.limits,
    }
    if contract.audiences is not None:
        described["audiences"] = sorted(contract.audiences)
    if contract.tools is not None:
        described["tools"] = contract.tools
    if contract.destinations is not None:
        described["destinations"] = contract.destinations
    if contract.effects:
        described["effects"] = contract.effects
    return described


def session(facts: SessionFacts) -> JsonObject:
    """Return the history of a task for policy."""
    described: dict[str, Json] = {
        "calls": facts.calls,
        "in_flight": facts.in_flight,
        "audiences": sorted(facts.audiences),
        "write_audiences": sorted(facts.write_audiences),
        "tenants": sorted(facts.tenants),
        "environments": sorted(facts.environments),
        "denials": facts.denials,
    }
    if facts.audiences_in_window is not None:
        described["audiences_in_window"] = sorted(facts.audiences_in_window)
    if facts.credentials is not None:
        described["credentials"] = [_credential(fact) for fact in facts.credentials]
    if facts.labels is not None:
        labels = facts.labels
        described["labels"] = {"untrusted": labels.untrusted, "confidentiality": labels.confidentiality}
    plain: dict[str, Json] = {
        "destinations": facts.destinations,
        "call_destinations": facts.call_destinations,
        "known_destinations": facts.known_destinations or None,
        "named_accounts": facts.named_accounts or None,
        "depth": facts.depth,
        "spread": facts.spread,
        "ungrounded": facts.ungrounded,
        "followed": facts.followed,
        "unsourced": facts.unsourced,
        "approvals_used": facts.approvals_used,
        "unnamed_destinations": facts.unnamed_destinations,
        "own_destinations": facts.own_destinations,
        "call_own_destinations": facts.call_own_destinations or None,
        "raises": facts.raises,
        "approved": facts.approved or None,
        "confidential_systems": [*map(_system, facts.confidential_systems)] or None,
        "unread": facts.unread or None,
        "recorded": facts.recorded or None,
        "dictated": facts.dictated,
    }
    for name, value in plain.items():
        if value is not None:
            described[name] = value  # noqa: PERF403 - a comprehension is a frame more for each call
    return described


def _system(system: System) -> JsonObject:
    return {name: value for name, value in system._asdict().items() if value is not None}


def _credential(fact: CredentialFact) -> JsonObject:
    sighting = fact.sighting
    origin: dict[str, Json] = {"kind": fact.origin}
    if fact.origin_audience is not None:
        origin["audience"] = fact.origin_audience
    if fact.origin_call is not None:
        origin["call"] = fact.origin_call
    described: dict[str, Json] = {
        "fingerprint": sighting.fingerprint,
        "detector": sighting.detector,
        "pointer": sighting.pointer,
        "origin": origin,
        "chain_depth": fact.chain_depth,
        "minted_in_task": fact.minted_in_task,
        "handle": sighting.handle is not None,
    }
    if sighting.role is not None:
        described["role"] = sighting.role
    if fact.plain_word:
        described["plain_word"] = True
    if fact.one_time:
        described["one_time"] = True
    if fact.requested:
        described["requested"] = True
    if fact.pointed_at:
        described["pointed_at"] = True
    return described


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC. What the calendar cannot write becomes its nearest end, and
    not-a-number its beginning, which is long expired."""
    moment = datetime.fromtimestamp(max(0.0, min(seconds, _LAST_TIME)), UTC)
    return moment.isoformat()[:-6] + "Z"


class _Parts(Generic[_Source]):
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
        return kept[1] if kept is not None and kept[0]() is source else self._made(source)

    def _made(self, source: _Source) -> JsonObject:
        part = self._describe(source)
        try:
            if len(_ENCODER.encode(part)) > _LONGEST:
                return part
            shared = cast("JsonObject", values.Shared(cast("dict[str, Any]", part)))
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
_SUBJECTS: Final = _Parts(_subject)
_TOOLS: Final = _Parts(_resource)
_TASKS: Final = _Parts(_described_task)


def _described_target(target: Target) -> JsonObject:
    """Return the part of a target. A resource is made anew for each call, so its part would never be used again."""
    return _TOOLS.part(target) if target.type == "tool" else _resource(target)
