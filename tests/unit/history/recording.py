"""A history and its record, wired as the pipeline does it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.base.keys.key_ring import KeyRing
from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.model.call import Call, Source
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Contract, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import Json, JsonObject


_RUNS = itertools.count(1, 1000)
"""Each history gives other ids, as random ones are."""
KEY = KeyRing(b"k" * 32)
AGENT = Principal("agent", "https://idp.example", AuthMethod.JWT, token_id="t")
CALLER = {"key": AGENT.key, "id": AGENT.id, "issuer": AGENT.issuer, "user": None}
"""`AGENT` in an entry of the journal."""
DECLARED = Task("declared-1", "declared", 1000.0, 10**9, "mend it", contract=Contract(frozenset({"a"})))


def another(name: object) -> Principal:
    """A caller of its own."""
    return replace(AGENT, id=f"agent-{name}")


def new_history(now: Callable[[], float] = lambda: 1000.0, idle: float = 600, lifetime: float = 10**9) -> History:
    numbers = itertools.count(next(_RUNS))
    settings = HistorySettings(idle=timedelta(seconds=idle), lifetime=timedelta(seconds=lifetime))
    return build_history(settings, clock=now, new_id=lambda: f"task-{next(numbers)}", conceal=lambda goal, _kept: goal)


def stream(audience: str = "a", **more: Any) -> Source:
    """What a system says on a stream."""
    target = Target("resource", audience, "", audience, labels=Labels(Effect.READ))
    return replace(Source(target, untrusted=True, sensitivity=Sensitivity.INTERNAL), **more)


class Record:
    """A journal in memory: what the pipeline writes, and where."""

    def __init__(self, name: str = "journal-1") -> None:
        self.name = name
        self.entries: list[JsonObject] = []
        self.append("segment", {"segment": 1, "journal": name})

    def append(self, kind: str, fields: JsonObject) -> None:
        self.entries.append(msgspec.json.decode(msgspec.json.encode({"seq": self.seq + 1, "kind": kind, **fields})))

    @property
    def seq(self) -> int:
        return len(self.entries)

    def position(self) -> tuple[str, int]:
        return self.name, self.seq

    def after(self, seq: int) -> list[JsonObject]:
        """As a reader gives them that begins with a heading."""
        return [self.entries[0], *self.entries[max(seq, 1) :]]


class Gateway:
    """History and its record, wired as the pipeline does it."""

    def __init__(self, history: History, record: Record) -> None:
        self.history = history
        self.record = record
        self.numbers = itertools.count(1)

    def begin(
        self,
        task: Task,
        audience: str = "a",
        content: CallContent | None = None,
        *,
        effect: str = "allow",
        at: float = 1000.0,
        recorded: bool = True,
    ) -> str:
        call_id = f"{self.record.name}-c{next(self.numbers)}"
        target = Target("tool", audience, "use", audience, labels=Labels(Effect.WRITE, sensitivity=Sensitivity.PUBLIC))
        counted = self.history.ledger.reserve(
            task, call_id, Call("tools/call", target, {}), content or CallContent(), at, depth=0
        )
        if recorded:
            entry: dict[str, Json] = {"id": call_id, "effect": effect, "history": counted.fields}
            kept = self.history.tasks.find(task.id)
            assert kept is not None
            principal = {"key": kept.owner, "id": kept.agent, "issuer": AGENT.issuer, "user": None}
            self.record.append("call", {**entry, "task": {"id": task.id}, "principal": principal})
            if effect == "allow":
                self.history.ledger.let_pass(task, call_id)
            else:
                self.history.ledger.release(task, call_id, denied=True)
        return call_id

    def show(self, task: Task, call_id: str, content: ResultContent) -> None:
        fields = self.history.ledger.observe(task, call_id, content)
        if fields is not None:
            self.record.append("observed", fields)

    def read(
        self, task: Task, source: Source, content: ResultContent, at: float = 1000.0, number: int | None = None
    ) -> JsonObject | None:
        fields = self.history.ledger.add_reading(task, f"{self.record.name}-r", source, content, at, number=number)
        if fields is not None:
            self.record.append("observed", fields)
        return fields

    def settle(self, task: Task, call_id: str, words: ResultContent | None = None) -> None:
        """`words` are what was left to be looked for when the answer was on its way."""
        history = None if words is None else self.history.ledger.observe(task, call_id, words)
        self.history.ledger.settle(task, call_id)
        more: dict[str, Json] = {} if history is None else {"history": history}
        self.record.append("settled", {"id": call_id, "outcome": "completed", **more})

    def call(self, task: Task, audience: str = "a", content: CallContent | None = None, *shown: ResultContent) -> None:
        """The last part of what is shown is looked for when the answer is on its way."""
        call_id = self.begin(task, audience, content)
        for part in shown[:-1]:
            self.show(task, call_id, part)
        self.settle(task, call_id, *shown[-1:])

    def open(self, task: Task = DECLARED, content: ResultContent | None = None) -> None:
        self.record.append("task", self.history.tasks.open(AGENT, task, content or ResultContent()))


def busy(gateway: Gateway) -> Task:
    """A task with something of everything."""
    secret = Sighting("fp:1", "jwt")
    gateway.open(DECLARED, ResultContent((Sighting("fp:u", "jwt"),), frozenset({5})))
    task = gateway.history.tasks.open_implicit(AGENT, 1000.0)
    words = ResultContent(tokens=frozenset({10, 11}))
    gateway.call(DECLARED, "a", CallContent({1: "d"}), ResultContent((secret,)), words)
    gateway.call(DECLARED, "b", CallContent({2: "d"}, (secret,), tokens=frozenset({10})))
    gateway.begin(DECLARED, "c", CallContent({3: "d"}), effect="deny")
    gateway.record.append("task", gateway.history.ledger.endorse(DECLARED, frozenset({77})))
    gateway.call(task, "x", None, ResultContent(tokens=frozenset({20}), complete=False))
    gateway.read(task, stream("x"), ResultContent((Sighting("fp:r", "jwt"),), frozenset({21})))
    gateway.read(DECLARED, stream("b"), ResultContent(tokens=frozenset({22})))
    return task


def all_facts(history: History, task: Task) -> tuple[SessionFacts, ...]:
    content = CallContent(authority={"/u": frozenset({5}), "/e": frozenset({77}), "/n": frozenset({8})})
    return tuple(history.ledger.facts(each, 1000.0, content=content) for each in (DECLARED, task))
