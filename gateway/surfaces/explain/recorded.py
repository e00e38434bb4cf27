"""A recorded decision with its rules, facts and earlier calls. The caller brings the entries of the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from msgspec import Struct

from gateway.authority.approvals.state import read_fact
from gateway.base.json.walk import find_value, split_pointer
from gateway.history.provenance import Explanation, Provenance
from gateway.model.errors import JournalError, PolicyError
from gateway.model.wire import Json, JsonObject
from gateway.policy import document, verdict
from gateway.policy.document import timestamp
from gateway.policy.folder import annotations, folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.record.journal.entry import find_unenforced
from gateway.surfaces.explain.declared import PARTS_OF_INPUT, find_beginning, find_causes, find_cited
from gateway.surfaces.explain.window import since_of

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.history.provenance import Cause
    from gateway.policy.folder.annotations import Annotation


Rules = Mapping[str, "Annotation"]
"""Reason code → the annotation of its rule."""


def rules_of(settings: Configuration) -> Rules:
    """Return the rules of the policy folders as of now; none for an unreadable folder."""
    try:
        texts = folders.texts(PolicyFolders.configured(settings.policy))
        return {item.code: item for file, text in texts.items() for item in annotations.parse(text, file)}
    except PolicyError:
        return {}


def describe_for_programs(code: str, message: str | None, rules: Rules, facts: Mapping[str, object]) -> dict[str, Any]:
    """Return a reason for programs. `facts` are the values behind the reason, by their JSON pointers."""
    rule = rules.get(code)
    return {
        "code": code,
        "title": rule.title if rule else verdict.FAILURES.get(code),
        "message": message,
        "remedy": rule.remedy if rule else None,
        "controls": list(rule.controls) if rule else [],
        "rule": {"file": rule.file, "line": rule.line} if rule else None,
        "facts": dict(facts),
    }


def rows(reason: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of a reason for people, all but its facts."""
    yield "why", str(reason["message"] or "")
    if reason["remedy"]:
        yield "remedy", str(reason["remedy"])
    if reason["rule"]:
        yield "rule", f"{reason['rule']['file']}:{reason['rule']['line']}"
    if reason["controls"]:
        yield "controls", ", ".join(reason["controls"])


_KEPT: Final = (
    ("/resource/properties", ("target",)),
    ("/resource", ("target",)),
    ("/arguments", ("arguments", "value")),
    ("/subject/properties", ("principal",)),
    ("/subject", ("principal",)),
    ("/context/client", ("client",)),
    ("/context/task", ("task",)),
    ("/session", ("session",)),
    *((f"/{name}", ("declared", name)) for name in document.DECLARED),
)
"""Where in the policy input, and where in what is known."""

NONE_COUNTED: Final[Mapping[str, tuple[Cause, ...]]] = MappingProxyType({})
"""No calls behind declared facts."""
_NOT_KEPT: Final = "(the journal does not keep it)"


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a decision. `known` is its entry with the declared task, and with the history of the task as
    `session`. `explanation` is `None` for a request without a decision. `counted` has the calls behind declared facts, by
    pointer."""

    known: JsonObject
    explanation: Explanation | None = None
    counted: Mapping[str, tuple[Cause, ...]] = field(default_factory=dict[str, "tuple[Cause, ...]"])

    def value(self, pointer: str) -> object:
        """Return the recorded value of a fact, `None` without a value. The journal has only the number of a call's
        destinations."""
        for prefix, place in _KEPT:
            if pointer == prefix or pointer.startswith(f"{prefix}/"):
                return find_value(self.known, (*place, *split_pointer(pointer.removeprefix(prefix))))
        return None

    def causes(self, pointer: str) -> tuple[Cause, ...]:
        """Return the calls behind a fact, oldest first, including the decided call."""
        if self.explanation is None or pointer in self.counted:
            return self.counted.get(pointer, ())
        if pointer.startswith("/arguments/"):
            return self.explanation.causes.get("ungrounded", ()) if self._is_ungrounded(pointer) else ()
        member = pointer.removeprefix("/session/")
        while member not in self.explanation.causes and "/" in member:
            member = member.rpartition("/")[0]
        return self.explanation.causes.get(member, ())

    def words(self, pointer: str) -> str:
        """Return the value of a fact in words. A fact without a recorded value gets a sentence instead."""
        value = self.value(pointer)
        if value is None:
            return self._remark(pointer)
        if pointer == "/session/call_destinations":
            return f"{cast('Mapping[str, int]', value)['count']}, of which the journal keeps digests"
        if pointer.startswith("/session/credentials/") and isinstance(value, Mapping):
            return _credential(cast("Mapping[str, Any]", value))
        return json.dumps(value, ensure_ascii=False)

    def _remark(self, pointer: str) -> str:
        found = cast("Mapping[str, Any]", self.known.get("found") or {})
        place = pointer.removeprefix("/arguments")
        held = [item for item in found.get("credentials") or () if item["pointer"] == place]
        if place != pointer and held:
            return ", ".join(f"a credential ({item['detector']}, {item['form']})" for item in held)
        if self._is_ungrounded(pointer):
            return f"{_NOT_KEPT}; neither the task nor a trusted source named it"
        if pointer.startswith("/session/"):
            return "unknown"
        if pointer.split("/")[1] in PARTS_OF_INPUT:
            return "absent: no call fits, or this call lacks a key of the fact"
        return _NOT_KEPT

    def _is_ungrounded(self, pointer: str) -> bool:
        found = cast("Mapping[str, Any]", self.known.get("found") or {})
        return pointer.startswith("/arguments/") and pointer.removeprefix("/arguments") in (
            found.get("ungrounded") or ()
        )


def facts_of(
    decision: JsonObject,
    explanation: Explanation | None,
    counted: Mapping[str, tuple[Cause, ...]] = MappingProxyType({}),
) -> Facts:
    """Return the facts of a recorded decision. `explanation` is from its task's provenance. `counted` has the calls behind
    declared facts."""
    if explanation is None:
        return Facts(decision)
    session: dict[str, object] = {**document.session(explanation.facts)}
    if explanation.destinations is not None:
        session["call_destinations"] = {"count": explanation.destinations}
    task = {**cast("JsonObject", decision["task"]), **explanation.declared}
    return Facts(cast("JsonObject", {**decision, "task": task, "session": session}), explanation, counted)


def list_declared(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the declared facts that policy was told of, by name, each in words."""
    declared: Mapping[str, Any] = decision.get("declared") or {}
    found = {name: json.dumps(value) for name, value in declared.get("facts", {}).items()}
    found |= dict.fromkeys(declared.get("facts_incomplete", ()), "incomplete")
    return sorted(found.items())


def describe_unenforced(decision: Mapping[str, Any]) -> str | None:
    """Return the sentence about a call that observe mode let pass, `None` for any other call."""
    found = find_unenforced(decision)
    if found is None:
        return None
    would = "be refused" if found[0] == "deny" else "be put to a person"
    return f"by policy the call would {would} ({found[1]}); observe mode let it pass"


def value_at(document: JsonObject, pointer: str) -> object:
    """Return the value at a JSON pointer into a policy input; `None` if there is none."""
    return find_value(document, split_pointer(pointer))


def _credential(held: Mapping[str, Any]) -> str:
    """Describe a credential. `origin` is its origin as far as the task knows."""
    origin = held["origin"]
    source = {
        "result": f"from a result of {origin.get('audience')}",
        "user": "from the user",
        "broker": "issued by the gateway",
    }.get(origin["kind"], "of unknown origin")
    chain = f", {held['chain_depth']} more credentials before it" if held["chain_depth"] else ""
    minted = ", made in this task" if held["minted_in_task"] else ""
    plain = ", a plain word elsewhere" if held.get("plain_word") else ""
    pointed = ", from a source and to a place that the goal names" if held.get("pointed_at") else ""
    code = ", a one-time code" if held.get("one_time") else ""
    code += " that the system waits for" if held.get("requested") else ""
    return f"{held['detector']} {held['fingerprint']} in {held['pointer'] or '/'}, {source}{chain}{minted}{plain}{code}{pointed}"


class JournalSource(Protocol):
    """A way to the entries of a journal: through the console's index, or through the files."""

    def outcome(self, decision: str) -> Iterable[JsonObject]:
        """Return the entries about a decision after its own, oldest first."""
        ...

    def approval(self, identifier: str) -> Iterable[JsonObject]:
        """Return the entries of an approval, oldest first."""
        ...

    def tasks(self, ids: Collection[str], *, since: float) -> Iterable[JsonObject]:
        """Return the entries of tasks and the outcomes of their calls, oldest first, from a time on."""
        ...

    def with_texts(self, texts: Collection[str], *, since: float) -> Iterable[JsonObject]:
        """Return the `call` entries with one of some texts, and the outcomes of their calls, from a time on, oldest first."""
        ...


class RecordedDecision(Struct, frozen=True):
    """A decision with all that the journal has of it, for `explain` and for the console.

    `reserved` counts the names taken out of the answer. `approval` has the form of the policy input. `shadow` is the other
    decision of the shadow policy.
    """

    entry: JsonObject
    settled: JsonObject | None
    explanation: Explanation | None
    approval: JsonObject | None
    reserved: int
    shadow: Json = None
    counted: Mapping[str, tuple[Cause, ...]] = {}
    """The calls behind the declared facts that reasons name, by pointer."""
    confirmed: JsonObject | None = None
    """What became of a call of unknown outcome."""

    def describe(self) -> JsonObject:
        """Return the entry with its approval, the count of names taken out, and the decision of the shadow policy."""
        more = {
            "confirmed": self.confirmed,
            "reserved": self.reserved or None,
            "approved": self.approval,
            "shadow": self.shadow,
        }
        return {**self.entry, **{name: value for name, value in more.items() if value is not None}}


def say_confirmed(confirmed: Mapping[str, Any]) -> str:
    """Return how an unknown outcome was settled, for people."""
    by = confirmed["by"]
    who = f"the call {by['call']}" if "call" in by else f"{by['id']} ({by['issuer']}): {by['reason']}"
    return f"{confirmed['end']}, settled {confirmed['time']} by {who}"


def read_decision(decision: JsonObject, source: JournalSource) -> RecordedDecision:
    """Return a decision with its outcome, its history and its approval. Raises `GatewayError`."""
    outcome = tuple(source.outcome(str(decision["id"])))
    settled = next((entry for entry in outcome if entry["kind"] in {"settled", "abandoned"}), None)
    reserved = sum(cast("int", entry["count"]) for entry in outcome if entry["kind"] == "reserved")
    explanation = explain_history(decision, lambda tasks: source.tasks(tasks, since=since_of(decision)))
    approval = read_approval(decision, source.approval)
    shadow = next((entry["shadow"] for entry in outcome if entry["kind"] == "shadow"), None)
    confirmed = next((entry for entry in outcome if entry["kind"] == "confirmed"), None)
    counted = explain_declared(decision, source)
    return RecordedDecision(decision, settled, explanation, approval, reserved, shadow, counted, confirmed)


def explain_declared(decision: JsonObject, source: JournalSource) -> dict[str, tuple[Cause, ...]]:
    """Return the calls behind the declared facts that the reasons of a decision name, by pointer. Raises `JournalError`."""
    try:
        places = find_cited(cast("Mapping[str, Any]", decision))
        if not places:
            return {}
        keys = {place.key for place in places.values()}
        return find_causes(decision, source.with_texts(keys, since=find_beginning(decision, places)), places)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(
            f"an entry with a declared fact is damaged: {error}", "run `opagate journal verify`"
        ) from error


def explain_history(
    decision: JsonObject, find_entries: Callable[[Collection[str]], Iterable[JsonObject]]
) -> Explanation | None:
    """Return the history of the task at the time of the decision, `None` for a request without a task.

    `find_entries` gives the entries of tasks, oldest first. Raises `GatewayError`.
    """
    if "history" not in decision:
        return None
    provenance = Provenance(decision)
    for entry in find_entries(provenance.tasks):
        if not provenance.take(entry):
            break
    return provenance.explanation()


def read_approval(
    decision: Mapping[str, Any], find_entries: Callable[[str], Iterable[JsonObject]]
) -> JsonObject | None:
    """Return the approval of a call in the form of the policy input; `None` without an approval or its entries.

    `find_entries` gives the entries with an id. Raises `JournalError`.
    """
    identifier = decision.get("approval")
    if not isinstance(identifier, str):
        return None
    try:
        return read_fact(tuple(find_entries(identifier)), timestamp)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(
            f"an entry of the approval {identifier} is damaged: {error}", "run `opagate journal verify`"
        ) from error


def describe_reason(recorded: Mapping[str, Any], rules: Rules, facts: Facts) -> dict[str, Any]:
    """Return a reason of a decision with its rule, its facts, and the calls behind each fact."""
    pointers = recorded.get("facts") or ()
    known = {pointer: facts.value(pointer) for pointer in pointers}
    return {
        **describe_for_programs(str(recorded["code"]), recorded.get("message"), rules, known),
        "made_by": {
            pointer: [{**asdict(cause.call), "how": cause.how} for cause in causes]
            for pointer in pointers
            if (causes := facts.causes(pointer))
        },
    }
