"""A ledger whose policy declares facts, and calls to it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import yaml

from gateway.history import History
from gateway.history.declared.marks import FactReader
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.content import CallContent
from gateway.model.facts import DeclaredFacts
from gateway.model.target import Effect, Labels, Role, Target
from gateway.policy.document import describe_declared
from gateway.policy.facts import FactBook, read_facts
from tests.unit.history.recording import Record, new_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.history.events import CallEnd
    from gateway.model.wire import Json, JsonObject


def book(text: str) -> FactBook:
    """The facts of an overlay with this text below `facts`."""
    return read_facts({"overlay": {"facts": yaml.safe_load(text)}}, lambda _condition, _arguments, _pointer: False)


def target(name: str = "refund", upstream: str = "payments", effect: Effect = Effect.WRITE) -> Target:
    return Target("tool", upstream, name, upstream, "acme", labels=Labels(effect, roles={"/amount": Role.AMOUNT}))


REFUND = target()
READ = target("read_file", "files", effect=Effect.READ)


def caller(agent: str = "agent", user: str | None = "ada") -> Principal:
    return Principal(agent, "https://idp.example", AuthMethod.JWT, user=None if user is None else User(user))


ADA = caller()


class Run:
    """A gateway's history and record, whose policy declares facts. `now` is its clock."""

    def __init__(self, facts: FactBook, record: Record | None = None, history: History | None = None) -> None:
        self.now = 1_000_000.0
        self.record = record or Record()
        self.history = history or new_history(lambda: self.now)
        self.history.ledger.declared = FactReader(b"k" * 32, lambda: facts)
        self._numbers = itertools.count(1)
        self._open: dict[str, Principal] = {}

    def begin(
        self,
        arguments: JsonObject,
        to: Target = REFUND,
        who: Principal = ADA,
        content: CallContent | None = None,
        *,
        verdict: Callable[[DeclaredFacts], str] = lambda _facts: "allow",
        recorded: bool = True,
    ) -> tuple[str, DeclaredFacts]:
        """Reserve a call, and record the verdict on its facts. Returns its id and its facts."""
        ledger, task = self.history.ledger, self.history.tasks.open_implicit(who, self.now)
        call = f"{self.record.name}-{next(self._numbers)}-{len(self.record.entries)}"
        counted = ledger.reserve(task, call, Call("tools/call", to, arguments), content, self.now, principal=who)
        effect = verdict(counted.declared)
        if recorded:
            reasons: list[Json] = [] if effect == "allow" else [{"code": f"acme/{effect}"}]
            principal: JsonObject = {"key": who.key, "id": who.id, "issuer": who.issuer}
            entry: JsonObject = {"id": call, "effect": effect, "reasons": reasons, "history": counted.fields}
            places: JsonObject = {name: list(place) for name, place in counted.declared.places.items()}
            told: JsonObject = {
                "declared": {**describe_declared(counted.declared), **({"places": places} if places else {})}
            }
            told = told if counted.declared.values else {}
            entry |= {"target": {"id": to.id}, **told}
            self.record.append("call", {**entry, "task": {"id": task.id}, "principal": principal})
        if effect == "allow":
            ledger.let_pass(task, call)
            self._open[call] = who
        else:
            codes = (f"acme/{effect}",) if effect == "deny" else ()
            ledger.release(task, call, denied=effect == "deny", asked=effect == "ask", codes=codes)
        return call, counted.declared

    def settle(self, call: str, end: CallEnd = "done", *, recorded: bool = True) -> None:
        who = self._open.pop(call)
        self.history.ledger.settle(self.history.tasks.open_implicit(who, self.now), call, end)
        if recorded:
            outcome = {"done": "completed", "failed": "error", "unknown": "lost"}[end]
            self.record.append("settled", {"id": call, "outcome": outcome})

    def call(
        self, arguments: JsonObject, to: Target = REFUND, who: Principal = ADA, end: CallEnd = "done"
    ) -> DeclaredFacts:
        call, facts = self.begin(arguments, to, who)
        self.settle(call, end)
        return facts
