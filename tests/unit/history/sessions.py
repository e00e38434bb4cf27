"""A task at a gateway: history, and the journal as the pipeline writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.history.facts import depth_of
from gateway.history.provenance import Explanation, Provenance
from gateway.model.call import Call, Context, Source
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Task
from gateway.record.journal.entry import call_entry

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

AGENT = Principal("agent", "https://idp.example", AuthMethod.JWT, token_id="t")
REVISION = PolicyRevision("test", "1")


def target(audience: str, effect: Effect = Effect.READ, **more: Any) -> Target:
    labels = Labels(effect, sensitivity=more.pop("sensitivity", Sensitivity.INTERNAL))
    return Target("tool", audience, "use", audience, labels=labels, **more)


def holding(*names: str, pointer: str = "/body") -> CallContent:
    return CallContent(sightings=tuple(Sighting(name, "jwt", pointer) for name in names))


def showing(*names: str, tokens: frozenset[int] = frozenset()) -> ResultContent:
    return ResultContent(tuple(Sighting(name, "jwt") for name in names), tokens)


@dataclass
class Session:
    """A task at a gateway: history, and the journal as the pipeline writes it."""

    history: History = field(
        default_factory=lambda: build_history(
            HistorySettings(idle=timedelta(days=1)), clock=lambda: 0.0, conceal=lambda goal, _kept: goal
        )
    )
    entries: list[JsonObject] = field(default_factory=list[Any])
    facts: dict[str, SessionFacts] = field(default_factory=dict[str, SessionFacts])
    now: float = 1000.0
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        self.task = self.history.tasks.open_implicit(AGENT, self.now)

    def write(self, kind: str, fields: JsonObject) -> None:
        entry = {"seq": len(self.entries) + 1, "time": f"T{len(self.entries) + 1}", "kind": kind, **fields}
        self.entries.append(json.loads(json.dumps(entry)))

    def count(self, to: Target, content: CallContent | None = None) -> tuple[str, JsonObject]:
        """Reserve a call; its entry is to be written."""
        self.now += 1
        call, call_id = Call("tools/call", to, {}), f"c{len(self.facts) + 1}"
        content = content if content is not None else CallContent()
        counted = self.history.ledger.reserve(self.task, call_id, call, content, self.now, depth=depth_of(AGENT, to))
        self.facts[call_id] = counted.facts
        context = Context(self.now, "0", None, None, self.task)
        decided = (call_id, AGENT, call, self.task, Decision("allow", (), (), REVISION))
        entry = call_entry(*decided, context=context, arguments_record={"mode": "none"}, facts=counted.facts)
        return call_id, {**entry, "history": counted.fields}

    def begin(self, to: Target, content: CallContent | None = None) -> str:
        call_id, entry = self.count(to, content)
        self.write("call", entry)
        return call_id

    def show(self, call_id: str, result: ResultContent) -> None:
        fields = self.history.ledger.observe(self.task, call_id, result)
        if fields is not None:
            self.write("observed", fields)

    def read(self, source: Source, result: ResultContent, number: int | None = None) -> None:
        fields = self.history.ledger.add_reading(
            self.task, f"r{len(self.entries)}", source, result, self.now, number=number
        )
        if fields is not None:
            self.write("observed", {**fields, "source": f"{source.target.audience} a stream"})

    def settle(self, call_id: str, words: ResultContent | None = None) -> None:
        """`words` are what was left to be looked for when the answer was on its way."""
        history = None if words is None else self.history.ledger.observe(self.task, call_id, words)
        self.history.ledger.settle(self.task, call_id)
        self.write("settled", {"id": call_id} if history is None else {"id": call_id, "history": history})

    def call(self, to: Target, content: CallContent | None = None, result: ResultContent | None = None) -> str:
        call_id = self.begin(to, content)
        self.show(call_id, result or ResultContent())
        self.settle(call_id)
        return call_id

    def refuse(self, to: Target, content: CallContent | None = None, **verdict: Any) -> str:
        """Refuse a call: a denial, unless `verdict` has other fields of the entry."""
        call_id, entry = self.count(to, content)
        self.write("call", {**entry, "effect": "deny", **verdict})
        self.history.ledger.release(self.task, call_id, denied=not verdict)
        return call_id

    def deny(self, to: Target, content: CallContent | None = None) -> str:
        return self.refuse(to, content)

    def explain(self, call_id: str, entries: list[JsonObject] | None = None) -> Explanation:
        provenance = Provenance(next(entry for entry in self.entries if entry.get("id") == call_id))
        for entry in self.entries if entries is None else entries:
            if not provenance.take(entry):
                break
        return provenance.explanation()

    def causes(self, call_id: str, fact: str) -> list[tuple[str, str]]:
        return [(cause.call.id, cause.how) for cause in self.explain(call_id).causes.get(fact, ())]
