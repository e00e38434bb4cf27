"""The policy input of a recorded decision, built again from the journal. Pure.

The journal keeps less than policy saw: `RebuiltInput.missing` names what is left out. Nothing is made up in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.history.states import read_task
from gateway.model.call import ActionName, Call, Context, OpenLeases, RepeatedEffect, SignalFact
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.errors import JournalError
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect, Labels, Pin, Role, Sensitivity, Target, TargetCredential
from gateway.model.task import Task
from gateway.policy import document
from gateway.record.journal.entry import find_unenforced

if TYPE_CHECKING:
    from gateway.history.provenance import Explanation
    from gateway.inspection.inspector import Inspector
    from gateway.model.wire import JsonObject


@dataclass(frozen=True, slots=True)
class RebuiltInput:
    """A policy input, and sentences about the parts missing in the record."""

    document: JsonObject
    missing: tuple[str, ...]


def rebuild_input(
    decision: JsonObject, explanation: Explanation, inspector: Inspector, approval: JsonObject | None = None
) -> RebuiltInput:
    """Return the policy input of a `call` entry. `explanation` is from the provenance of its task. `approval` is the
    fact of the entry's approval. `inspector` finds the destinations in arguments kept whole. Raises `JournalError` for
    an entry without a part of this release's entries.
    """
    entry = cast("Mapping[str, Any]", decision)
    kept = "value" in entry["arguments"]
    try:
        call = Call(cast("ActionName", entry["action"]), _target(entry["target"]), entry["arguments"].get("value", {}))
        context = _context(entry, explanation, approval)
        facts = (
            _with_destinations(explanation, call, context.task, inspector) if kept else _without_arguments(explanation)
        )
        asked = {
            **document.decision(_principal(entry["principal"]), call, context, facts),
            **{
                name: entry.get("declared", {})[name] for name in document.DECLARED if name in entry.get("declared", {})
            },
        }
        missing = tuple(_find_missing(entry, explanation, facts, has_approval=approval is not None))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(
            f"entry {entry.get('seq')} of the journal has not what its policy input needs: {error}",
            "run `opagate journal verify`; a journal of an older opagate may lack it",
        ) from error
    if not kept:
        asked = {name: member for name, member in asked.items() if name != "arguments"}
    return RebuiltInput(asked, missing)


def rebuild_question(decision: JsonObject) -> JsonObject:
    """Return the caller, the target and the arguments of a `call` entry as a policy input, without its history.

    Grants rest on nothing else. Raises `KeyError`, `TypeError` or `ValueError` for an entry that lacks a part.
    """
    entry = cast("Mapping[str, Any]", decision)
    call = Call(cast("ActionName", entry["action"]), _target(entry["target"]), entry["arguments"].get("value", {}))
    task = Task(entry["task"]["id"], entry["task"]["kind"], entry["history"]["at"])
    context = Context(entry["history"]["at"], entry["trace_id"], None, None, task)
    nothing = frozenset[str]()
    facts = SessionFacts(1, 1, nothing, nothing, nothing, nothing, 0)
    asked = document.decision(_principal(entry["principal"]), call, context, facts)
    if "value" not in entry["arguments"]:
        asked = {name: member for name, member in asked.items() if name != "arguments"}
    return asked


def _with_destinations(explanation: Explanation, call: Call, task: Task, inspector: Inspector) -> SessionFacts:
    """Return the facts with the destinations of the call, if as many are found as were counted then."""
    content = inspector.call(call, task, {})
    names = tuple(sorted(set(content.destinations.values())))
    if len(names) != explanation.destinations:
        return explanation.facts
    known = tuple(sorted(content.known_destinations))
    accounts = tuple(sorted(content.accounts))
    return structs.replace(
        explanation.facts, call_destinations=names, known_destinations=known, named_accounts=accounts
    )


def _without_arguments(explanation: Explanation) -> SessionFacts:
    """Return the facts of a call whose arguments were not kept. The record counts its destinations, so no destination is known too."""
    if explanation.destinations != 0:
        return explanation.facts
    return structs.replace(explanation.facts, call_destinations=(), known_destinations=())


def _find_missing(
    entry: Mapping[str, Any], explanation: Explanation, facts: SessionFacts, *, has_approval: bool
) -> Iterator[str]:
    if "value" not in entry["arguments"]:
        yield "arguments are left out: the journal keeps them only with `journal.arguments: full`"
    if "approval" in entry and not has_approval:
        yield "context.approval is left out: the entries of the approval are not in this journal"
    if facts.call_destinations is None:
        yield "session.call_destinations is left out: the journal keeps digests of destinations"
    if explanation.missing:
        yield f"session counts {explanation.missing} earlier calls too few: they are not in this journal"
    if entry["target"]["type"] == "tool":
        yield "resource.properties.annotations is empty: the journal does not keep the words of an upstream"
    yield "texts that look like credentials stand as marks, as in the journal"


def _principal(recorded: Mapping[str, Any]) -> Principal:
    issuers = recorded.get("delegation_issuers") or [None] * len(recorded["delegation"])
    method = AuthMethod(recorded["method"])
    user = recorded["user"]
    return Principal(
        recorded["id"],
        recorded["issuer"],
        method,
        scopes=frozenset(recorded.get("scopes", ())),
        user=None if user is None else User(user, tuple(recorded.get("groups", ()))),
        delegation=tuple(Actor(actor, issuer) for actor, issuer in zip(recorded["delegation"], issuers, strict=True)),
        bound=recorded.get("bound", method is AuthMethod.SPIFFE_X509),
    )


def _target(recorded: Mapping[str, Any]) -> Target:
    labels = Labels(
        Effect(recorded["effect"]),
        recorded["egress"],
        Sensitivity(recorded["sensitivity"]),
        {pointer: Role(role) for pointer, role in recorded["roles"].items()},
        assumed=frozenset(recorded.get("assumed", ())),
        sandbox=recorded.get("sandbox", False),
    )
    behind, shown = recorded.get("aggregates"), recorded.get("credential")
    return Target(
        recorded["type"],
        recorded["upstream"],
        recorded["id"].removeprefix(f"{recorded['upstream']}/"),
        recorded["audience"],
        recorded["tenant"],
        recorded["environment"],
        recorded["trust"],
        labels,
        None if recorded["pin"] is None else Pin(recorded["pin"]),
        None if behind is None else tuple(behind),
        is_agent=recorded.get("agent", False),
        credential=None if shown is None else TargetCredential(**shown),
    )


def _context(entry: Mapping[str, Any], explanation: Explanation, approval: JsonObject | None) -> Context:
    client, history = entry["client"], entry["history"]
    named = entry["task"]
    declared = explanation.declared
    task = read_task(declared) if declared else Task(named["id"], named["kind"], history.get("opened", history["at"]))
    return Context(
        history["at"],
        entry["trace_id"],
        client["ip"],
        client["name"],
        task,
        SUPPORTED_OBLIGATIONS,
        approval,
        entry.get("endorsement"),
        tuple(SignalFact(told["type"], told["at"], told.get("level")) for told in entry.get("signals", ())),
        repeats=RepeatedEffect(**entry["repeats"]) if "repeats" in entry else None,
        leases=OpenLeases(**entry["leases"]) if "leases" in entry else None,
        enforced=find_unenforced(entry) is None,
    )
