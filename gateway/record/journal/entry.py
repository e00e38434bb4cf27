"""Builds the entries of the journal. Pure: no I/O, no clock, no randomness.

| kind | when | fields |
|---|---|---|
| `segment` | first line of each file | segment, journal, chain, key, fingerprints, open |
| `start` | the gateway begins | version, listen, policy |
| `call` | policy decided; before the call goes on | id, effect, reasons, principal, task, target, arguments, policy, … |
| `exposed` | before a message carries a piece of another system's credential beside arguments | id, task, owner, at, audience, digests |
| `observed` | before a part of an answer reaches the caller, if it says anything new | id, task, digests, fingerprints; for what is no answer to a call also owner, source |
| `approval` | a question to people was made, answered or ended | id, event, at, task, call, shown, reasons, rule, vote, cause |
| `passkey` | a person was invited, registered a passkey or removed one; a signature had no later count | event, id, key, person, issuer, by |
| `console` | a person logged in or out at the console, or acted there | event, by, session, … |
| `operator` | an operator asks for a change of leases, connections or signals, before it begins | event, by, fields |
| `signal` | an identity provider's event was taken, before the answer to it | jti, issuer, stream, type, action, subject, occurred, id |
| `settled` | the call ended, in whatever way | id, outcome, lost, status, bytes, result, content, withheld, duration_ms, history |
| `confirmed` | a later answer or a person told how a call of unknown outcome ended | id, task, end, by |
| `reserved` | an answer ended from which names or error codes of the gateway's own were taken out | id, upstream, count |
| `refused` | refused before policy | id, status, reasons, principal, method, name, … |
| `flood` | refusals of unidentified callers beyond the number that is recorded | since, count, codes |
| `enforcement` | observe mode: policy is suspended for upstreams, or began to be enforced again | event, upstreams, until |
| `configuration` | changed labels, upstreams or limits come into force | digest, added, removed, changed, limits, waiting, history |
| `policy` | a policy came into force | name, revision, digest of the compiled form, changed facts |
| `shadow` | after a call that the shadow policy decides otherwise | id, enforced, shadow |
| `pin` | a definition, or instructions, were pinned or have changed | type, target, state, digest |
| `recovered` | at start, after a crash: bytes were moved aside | file, bytes, digest |
| `cut` | at start: the journal ended before the entry that the snapshots of history know | journal, entries, known |
| `resumed` | the journal could be written again: how many entries of which kind could not be since then | since, lost |
| `key` | a key was replaced, or taken over from its file | event, key, id, by |
| `restored` | at start: the state came from a copy, and approvals were withdrawn | made |
| `forgotten` | an operator removed unreadable records, or moved all records aside | record, ids, by, moved |
| `abandoned` | at start, for each call without an outcome; after an outage, for each whose outcome was lost | id |
| `stop` | the gateway ends | entries, head |

A `call` with effect `allow` opens an id, `settled` or `abandoned` closes it. Words of a caller or an upstream are
recorded only without what has the form of a credential.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias
from weakref import ref

from msgspec import structs

from gateway.model.caller import AuthMethod
from gateway.model.facts import NO_DECLARED_FACTS
from gateway.model.target import Pin
from gateway.policy.document import describe_declared
from gateway.record.journal.redaction import Conceal, conceal_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.changes import ConfigurationChange
    from gateway.model.call import Call, Context, SignalFact
    from gateway.model.caller import Principal
    from gateway.model.decision import Decision, PolicyRevision, Reason, Refusal
    from gateway.model.facts import CredentialFact, DeclaredFacts, SessionFacts
    from gateway.model.target import Target
    from gateway.model.task import Task
    from gateway.model.wire import Json, JsonObject, Message

_ACTORS: Final = 16
_SIGHTINGS: Final = 64
_RIGHTS: Final = 64


class Outcome(StrEnum):
    COMPLETED = "completed"
    ERROR = "error"  # the tool or its server answered with an error
    CANCELLED = "cancelled"  # by the caller, or because it went away, before the call was sent
    UPSTREAM_FAILED = "upstream-failed"  # unreachable, so that the call was not sent, or refusing the gateway
    REFUSED = "refused"  # allowed, and then an obligation could not be carried out
    UNKNOWN = "unknown"  # sent, and the answer was lost, late, cut or unreadable


LostTo: TypeAlias = Literal["cancelled", "failed", "limited", "deferred"]
"""How an answer was lost: its caller left or it was cut, its upstream failed, it broke a limit, or it was only promised."""
LOST: Final[Mapping[LostTo, str]] = {
    "cancelled": "the answer was lost: its caller left, or it was cut",
    "failed": "the answer was lost at the upstream or on its way, or it could not be read",
    "limited": "the answer was cut: it was later or larger than policy allows",
    "deferred": "the upstream gave a protocol task in the place of the result",
}
"""How an answer was lost, for people."""


def call_entry(
    decision_id: str,
    principal: Principal,
    call: Call,
    task: Task,
    decision: Decision,
    *,
    context: Context,
    arguments_record: JsonObject,
    facts: SessionFacts,
    declared: DeclaredFacts = NO_DECLARED_FACTS,
    approval: str | None = None,
    beside: JsonObject | None = None,
    span_id: str | None = None,
    conceal: Conceal = conceal_text,
) -> JsonObject:
    """Return the fields of a `call` entry: the request, its caller and the policy's decision.

    `approval` is the id of a person's approval of the call. `endorsement` has what the policy was told of values that persons approved
    in an earlier task. `span_id` is the id of the request's span, if spans are recorded. `beside` is the record of the parts beside the arguments. `signals` has the open facts of identity providers about the caller. `arguments_record` is from `redaction`. The entry keeps only the `facts`
    that the events of history lack. An entry is `undecided` without a valid verdict: history then counts no denial
    (`history.events.verdict_of`). `declared` has the declared facts that policy was told of. In observe mode, `would_refuse` or `would_ask` has the code of the verdict that was not enforced.
    """
    caller, target = _PRINCIPALS.get(id(principal)), _LISTED.get(id(call.target))
    return {
        "id": decision_id,
        "effect": decision.effect,
        **({"undecided": True} if decision.undecided else {}),
        **({} if decision.would is None else {WOULD[decision.would]: decision.reasons[0].code}),
        **({} if approval is None else {"approval": approval}),
        **({} if context.endorsement is None else {"endorsement": context.endorsement}),
        **({"signals": [_signal(fact) for fact in context.signals]} if context.signals else {}),
        **({} if context.repeats is None else {"repeats": structs.asdict(context.repeats)}),
        **({} if context.leases is None else {"leases": {"open": context.leases.open, "stuck": context.leases.stuck}}),
        "reasons": _reasons(decision.reasons, conceal) if decision.reasons else [],
        "obligations": [obligation.id for obligation in decision.obligations] if decision.obligations else [],
        "policy": {"name": decision.policy.name, "revision": decision.policy.revision},
        "principal": caller[1] if caller is not None and caller[0]() is principal else _principal(principal),
        "task": {"id": task.id, "kind": task.kind},
        "action": call.action,
        "target": target[1] if target is not None and target[0]() is call.target else _target(call.target, conceal),
        "arguments": arguments_record,
        **({} if beside is None else {"beside": beside}),
        **({"declared": _describe_declared(declared)} if declared.values or declared.incomplete else {}),
        **(_NOTHING_FOUND if facts.credentials == facts.ungrounded == facts.followed == () else _found(facts, conceal)),
        "client": _client(context.client_ip, context.client_name, conceal),
        "trace_id": context.trace_id,
        **({} if span_id is None else {"span_id": span_id}),
    }


def _describe_declared(declared: DeclaredFacts) -> JsonObject:
    """Return the declared facts of a decision, with the places of those whose calls the marks of this call do not name."""
    places = {name: list(place) for name, place in declared.places.items()}
    return {**describe_declared(declared), **({"places": places} if places else {})}


def settled_entry(
    decision_id: str,
    outcome: Outcome,
    *,
    duration_ms: float,
    status: int | None = None,
    size: int = 0,
    result: str | None = None,
    content: Json = None,
    concealed: int | None = None,
    put_back: int = 0,
    history: JsonObject | None = None,
    withheld: str | None = None,
    lost: LostTo | None = None,
) -> JsonObject:
    """Return the fields of a `settled` entry, without absent ones.

    `size` is the answer's bytes, `result` its keyed digest, and `content` its redacted text as the caller got it.
    `concealed` is the number of credentials replaced by handles, where required. `put_back` is the number of the call's
    handles whose values were sent. `withheld` is the code for which the caller got words in the place of the result. `history` has the fields of an `observed` entry.
    `lost` says how the answer, or a part of it, was lost.
    """
    fields: dict[str, Json] = {"id": decision_id, "outcome": outcome.value, "bytes": size}
    if status:
        fields["status"] = status
    if result:
        fields["result"] = result
    if content is not None:
        fields["content"] = content
    if concealed is not None:
        fields["concealed"] = concealed
    if put_back:
        fields["put_back"] = put_back
    if lost is not None:
        fields["lost"] = lost
    if withheld is not None:
        fields["withheld"] = withheld
    if history is not None:
        fields["history"] = history
    fields["duration_ms"] = round(duration_ms, 3)
    return fields


def refused_entry(
    decision_id: str,
    refusal: Refusal,
    *,
    trace_id: str,
    client_ip: str | None,
    span_id: str | None = None,
    principal: Principal | None = None,
    message: Message | None = None,
    conceal: Conceal = conceal_text,
) -> JsonObject:
    """Fields of a `refused`: a request that policy never saw. `principal` and `message` as far as they became known."""
    reasons = _reasons((refusal.reason,), conceal)
    fields: dict[str, Json] = {"id": decision_id, "status": refusal.status, "reasons": reasons}
    if principal is not None:
        fields["principal"] = _principal(principal)
    if message is not None:
        fields["method"] = None if message.method is None else conceal(message.method)
        fields["name"] = None if message.name is None else conceal(message.name)
    fields["client"] = _client(client_ip, message.client_name if message else None, conceal)
    fields["trace_id"] = trace_id
    if span_id is not None:
        fields["span_id"] = span_id
    return fields


def reserved_entry(decision_id: str, upstream: str, count: int) -> JsonObject:
    """Fields of a `reserved`: how often an upstream spoke as the gateway in one answer."""
    return {"id": decision_id, "upstream": upstream, "count": count}


def start_entry(version: str, listen: str, policy: PolicyRevision | None, *, plan: str | None = None) -> JsonObject:
    """Return the fields of a `start`."""
    described = None if policy is None else policy_entry(policy, plan=plan)
    return {"version": version, "listen": listen, "policy": described}


def policy_entry(
    policy: PolicyRevision,
    *,
    plan: str | None = None,
    has_differed: bool = False,
    facts: Mapping[str, Sequence[str]] | None = None,
) -> JsonObject:
    """Return the fields of a `policy`. `plan` is the digest of the plan that decides in the place of the rules.

    `has_differed` tells of a difference between that plan and an OPA. `facts` names the declared facts that changed.
    """
    described: dict[str, Json] = {"name": policy.name, "revision": policy.revision}
    if plan is not None:
        described["plan"] = plan
    if changed := {how: list(names) for how, names in (facts or {}).items() if names}:
        described["facts"] = changed
    return {**described, "differed": True} if has_differed else described


def configuration_entry(change: ConfigurationChange, digest: str, history: JsonObject | None = None) -> JsonObject:
    """Return the fields of a `configuration`. `digest` is of the files; who changed the files is not known.

    `history` is the event of new labels in all open tasks.
    """
    return {
        **({} if history is None else {"history": history}),
        "digest": digest,
        "added": list(change.added),
        "removed": list(change.removed),
        "changed": {name: list(names) for name, names in change.changed.items()},
        "limits": list(change.limits),
        **({"tool_search": True} if change.search else {}),
        "waiting": list(change.waiting),
    }


class VerdictForm(Protocol):
    """The effect, the codes and the obligations of a decision."""

    @property
    def effect(self) -> str: ...
    @property
    def codes(self) -> tuple[str, ...]: ...
    @property
    def obligations(self) -> tuple[str, ...]: ...


def shadow_entry(decision_id: str, enforced: VerdictForm, shadow: VerdictForm, name: str, revision: str) -> JsonObject:
    """Return the fields of a `shadow`: codes alone, since the words of a reason may repeat arguments."""
    return {
        "id": decision_id,
        "enforced": _verdict(enforced),
        "shadow": {**_verdict(shadow), "policy": {"name": name, "revision": revision}},
    }


def _verdict(verdict: VerdictForm) -> JsonObject:
    codes = [conceal_text(code) for code in verdict.codes[:_ACTORS]]
    return {"effect": verdict.effect, "codes": codes, "obligations": list(verdict.obligations)}


def pin_entry(subject: str, identifier: str, state: Pin | None, digest: str) -> JsonObject:
    """Fields of a `pin`: what is defined, the state of the definition, and the digest of what its upstream serves now."""
    known = None if state is None else state.value
    return {"type": subject, "target": conceal_text(identifier), "state": known, "digest": digest}


def opened_by(kind: str, fields: JsonObject) -> str | None:
    """Return the id of the call that an entry leaves without an outcome, if any."""
    call = fields.get("id") if kind == "call" and fields.get("effect") == "allow" else None
    return call if isinstance(call, str) else None


def closed_by(kind: str, fields: JsonObject) -> str | None:
    """Return the id of the call that an entry closes, if any."""
    call = fields.get("id") if kind in CLOSING else None
    return call if isinstance(call, str) else None


def find_unenforced(fields: Mapping[str, Json]) -> tuple[Literal["deny", "ask"], str] | None:
    """Return the verdict of policy on a recorded call that observe mode let pass, and its code; `None` for any other call."""
    for verdict, name in WOULD.items():
        if (code := fields.get(name)) is not None:
            return verdict, str(code)
    return None


CLOSING: Final = frozenset({"settled", "abandoned"})
"""Kinds of entries that close a call."""


WOULD: Final[Mapping[Literal["deny", "ask"], str]] = {"deny": "would_refuse", "ask": "would_ask"}
"""The verdict of policy that observe mode did not enforce, and the field with its code."""
_KEPT: Final = 256
_NOTHING_FOUND: Final[JsonObject] = {}
_PRINCIPALS: Final[dict[int, tuple[ref[Principal], JsonObject]]] = {}
"""The forms of the last callers, by identity. A caller comes again as the same value, and its hash would cost more than its
form. The number of a value that is gone can be that of another, so a form has a reference to its value. The reference is weak:
a target holds the definition of a tool, and a system may list new definitions for ever. Nothing may change a form."""
_LISTED: Final[dict[int, tuple[ref[Target], JsonObject]]] = {}
"""The forms of the last listed targets, in the same way."""


def _principal(principal: Principal) -> JsonObject:
    """Return the record of a caller, and keep it for the caller's next call."""
    if len(_PRINCIPALS) >= _KEPT:
        _PRINCIPALS.clear()
    form: JsonObject = {
        "key": principal.key,
        "id": principal.id,
        "issuer": principal.issuer,
        "method": principal.method.value,
        "user": None if principal.user is None else principal.user.id,
        "delegation": [actor.id for actor in principal.delegation[:_ACTORS]],
        **_proof(principal),
        "token_id": conceal_text(principal.token_id),
        **({"known_as": conceal_text(principal.known_as)} if principal.known_as else {}),
        **_rights(principal),
    }
    _PRINCIPALS[id(principal)] = ref(principal), form
    return form


def _proof(principal: Principal) -> JsonObject:
    """Return whether the credential was bound to the caller, and who vouched for each actor: each only where it says more."""
    proof: dict[str, Json] = {}
    if principal.bound and principal.method is not AuthMethod.SPIFFE_X509:
        proof["bound"] = True
    if principal.delegation:
        proof["delegation_issuers"] = [actor.issuer for actor in principal.delegation[:_ACTORS]]
    return proof


def _rights(principal: Principal) -> JsonObject:
    """Return the rights for grants to match, if any."""
    groups = () if principal.user is None else principal.user.groups
    rights: dict[str, Json] = {"scopes": sorted(principal.scopes)[:_RIGHTS], "groups": list(groups[:_RIGHTS])}
    return {name: held for name, held in rights.items() if held}


def _target(target: Target, conceal: Conceal) -> JsonObject:
    """Return the record of a target.

    A listed name of a tool or prompt is no secret. A hostile server could call such a name a password, and must not take it
    out of the record.
    """
    if target.pin is None or target.pin is _UNLISTED:
        return target_form(target, conceal)
    if len(_LISTED) >= _KEPT:
        _LISTED.clear()
    form = target_form(target, conceal_text)
    _LISTED[id(target)] = ref(target), form
    return form


_UNLISTED: Final = Pin.UNKNOWN


def target_form(target: Target, conceal: Conceal) -> JsonObject:
    """Return the fields of a target in an entry."""
    return {
        "id": conceal(target.id),
        "type": target.type,
        "upstream": target.upstream,
        "audience": target.audience,
        "tenant": target.tenant,
        "environment": target.environment,
        "trust": target.trust,
        "effect": target.labels.effect.value,
        "egress": target.labels.egress,
        "sensitivity": target.labels.sensitivity.value,
        "roles": {pointer: role.value for pointer, role in target.labels.roles.items()},
        "pin": None if target.pin is None else target.pin.value,
        **({"sandbox": True} if target.labels.in_sandbox else {}),
        **({"assumed": sorted(target.labels.assumed)} if target.labels.assumed else {}),
        **({} if target.aggregates is None else {"aggregates": list(target.aggregates)}),
        **({"agent": True} if target.is_agent else {}),
        **({} if target.credential is None else {"credential": target.credential._asdict()}),
    }


def _signal(fact: SignalFact) -> JsonObject:
    return {"type": fact.type, "at": fact.at, **({} if fact.level is None else {"level": fact.level})}


def _found(facts: SessionFacts, conceal: Conceal) -> JsonObject:
    """Return the content of the arguments that concerns rules: the credentials with their places, and the values
    without grounds. Unknown facts are `null`, absent ones are left out."""
    found: dict[str, Json] = {}
    if facts.credentials is None:
        found["credentials"] = None
    elif facts.credentials:
        found["credentials"] = [_describe_fact(fact, conceal) for fact in facts.credentials[:_SIGHTINGS]]
    for name, pointers in (("ungrounded", facts.ungrounded), ("followed", facts.followed)):
        if pointers != ():
            found[name] = None if pointers is None else [conceal(pointer) for pointer in pointers]
    return {"found": found} if found else {}


def _describe_fact(fact: CredentialFact, conceal: Conceal) -> JsonObject:
    return {
        "fingerprint": fact.fingerprint,
        "detector": fact.detector,
        "pointer": conceal(fact.pointer),
        "role": None if fact.role is None else fact.role.value,
        "form": fact.form,
        "origin": fact.origin.kind,
        **({} if fact.shown_by is None else {"shown_by": fact.shown_by}),
        **({"plain_word": True} if fact.plain_word else {}),
        **({"pointed_at": True} if fact.pointed_at else {}),
    }


def _reasons(reasons: Sequence[Reason], conceal: Conceal) -> list[Json]:
    return [
        {
            "code": reason.code,
            "message": conceal(reason.message),
            "facts": [conceal(pointer) for pointer in reason.facts[:_ACTORS]],
        }
        for reason in reasons
    ]


def _client(ip: str | None, name: str | None, conceal: Conceal) -> JsonObject:
    return {"ip": ip, "name": None if name is None else conceal(name, 64)}
