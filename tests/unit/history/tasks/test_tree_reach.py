"""The limits of a task count all tasks below it, also for calls that race."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.history.declared.marks import FactReader
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect, Labels, Target
from gateway.model.task import Contract, Parent, Task
from tests.unit.history.declared.counting import book
from tests.unit.history.recording import AGENT

if TYPE_CHECKING:
    from gateway.history import Reservation
    from gateway.model.caller import Principal
    from gateway.model.facts import TreeFact

UNTIL = 2000.0
ROOT = Task("root", "declared", 1000.0, UNTIL, contract=Contract(limits={"calls": 9}))
LEFT = Task(
    "left", "declared", 1000.0, UNTIL, contract=Contract(limits={"calls": 3}), parent=Parent("root", "root", 1, UNTIL)
)
LOW = Task(
    "low", "declared", 1000.0, UNTIL, contract=Contract(limits={"calls": 3}), parent=Parent("left", "root", 2, UNTIL)
)
RIGHT = Task("right", "declared", 1000.0, UNTIL, parent=Parent("root", "root", 1, UNTIL))


class Tree:
    """A root with two children and a grandchild."""

    def __init__(self) -> None:
        self.history: History = build_history(HistorySettings(), clock=lambda: 1000.0)
        for task in (ROOT, LEFT, LOW, RIGHT):
            self.history.tasks.open(AGENT, task, ResultContent())
        self.calls = 0

    def begin(
        self,
        task: Task,
        audience: str = "files",
        effect: Effect = Effect.READ,
        principal: Principal | None = None,
        **content: Any,
    ) -> Reservation:
        self.calls += 1
        target = Target("tool", audience, "use", audience, labels=Labels(effect), trust="trusted")
        call = Call("tools/call", target, {})
        name, found = f"c{self.calls}", CallContent(**content)
        return self.history.ledger.reserve(task, name, call, found, 1000.0, depth=0, principal=principal)

    def call(self, task: Task, audience: str = "files", effect: Effect = Effect.READ, **content: Any) -> Reservation:
        found = self.begin(task, audience, effect, **content)
        self.history.ledger.let_pass(task, f"c{self.calls}")
        self.history.ledger.settle(task, f"c{self.calls}")
        return found

    def deny(self, task: Task) -> None:
        self.begin(task)
        self.history.ledger.release(task, f"c{self.calls}", denied=True)


@pytest.fixture
def tree() -> Tree:
    return Tree()


def of(found: Reservation, task: str) -> TreeFact:
    (fact,) = [each for each in found.facts.trees if each.task == task]
    return fact


def test_a_task_without_a_tree_has_no_numbers_of_one(tree: Tree):
    alone = Task("alone", "declared", 1000.0, UNTIL)
    tree.history.tasks.open(AGENT, alone, ResultContent())

    assert tree.call(alone).facts.trees == ()


def test_the_root_counts_what_all_tasks_below_it_reach(tree: Tree):
    tree.call(ROOT, "a", Effect.WRITE)
    tree.call(LEFT, "b", Effect.WRITE)
    tree.call(LOW, "c", Effect.WRITE)

    found = tree.call(RIGHT, "d", Effect.WRITE)

    assert found.facts.audiences == {"d"}
    raised = of(found, "root").raises
    assert (raised["audiences"], raised["write_audiences"], raised["calls"], raised["in_flight"]) == (4, 4, 4, 1)


def test_a_system_that_another_task_of_the_tree_has_reached_raises_nothing(tree: Tree):
    tree.call(LEFT, "a")

    raised = of(tree.call(RIGHT, "a"), "root").raises

    assert raised.keys() == {"calls", "in_flight", "denials"}


def test_destinations_count_once_for_the_tree(tree: Tree):
    tree.call(LEFT, "mail", Effect.WRITE, destinations={1: "a@x.example", 2: "b@x.example"})

    found = tree.call(RIGHT, "mail", Effect.WRITE, destinations={2: "b@x.example", 3: "c@x.example"})

    assert found.facts.destinations == 2
    assert of(found, "root").raises["destinations"] == 3


def test_calls_that_race_in_ten_tasks_count_each_other(tree: Tree):
    """No reach of a call under decision is certain, so each call to a new system has to pass the limit of all."""
    workers = [
        Task(f"w{number}", "declared", 1000.0, UNTIL, parent=Parent("root", "root", 1, UNTIL)) for number in range(10)
    ]
    for worker in workers:
        tree.history.tasks.open(AGENT, worker, ResultContent())

    found = [tree.begin(workers[number % 10], f"system-{number % 40}") for number in range(1000)]

    numbers = [of(each, "root").raises["audiences"] for each in found]
    assert numbers[:40] == list(range(1, 41))
    assert set(numbers[40:]) == {40}
    assert of(found[-1], "root").raises["in_flight"] == 1000


def test_a_refused_call_gives_its_reach_back_and_leaves_a_denial(tree: Tree):
    tree.deny(LEFT)

    found = tree.call(RIGHT, "other")

    assert (of(found, "root").raises["audiences"], of(found, "root").raises["denials"]) == (1, 1)


def test_a_task_with_limits_between_counts_what_is_below_it(tree: Tree):
    tree.call(ROOT)
    tree.call(LEFT)

    found = tree.call(LOW)

    assert [fact.task for fact in found.facts.trees] == ["left", "root"]
    assert (of(found, "left").raises["calls"], of(found, "left").limits) == (2, {"calls": 3})
    assert (of(found, "root").raises["calls"], of(found, "root").limits) == (3, {"calls": 9})


def test_a_task_that_is_over_still_counts(tree: Tree):
    tree.call(LOW, "a")
    tree.history.tasks.end(LEFT, "completed")

    assert of(tree.call(RIGHT, "b"), "root").raises["audiences"] == 2


def test_a_yes_for_a_tree_holds_in_all_of_its_tasks_and_in_no_other(tree: Tree):
    tree.history.ledger.endorse(LEFT, frozenset(), {"root.audiences": 7, "left.calls": 4, "audiences": 8})

    assert of(tree.call(RIGHT), "root").approved == {"audiences": 7}
    low = tree.call(LOW)
    assert of(low, "left").approved == {"calls": 4}
    assert low.facts.approved == {}


def test_questions_of_all_tasks_are_those_of_the_root(tree: Tree):
    for task in (LEFT, LOW, RIGHT):
        tree.history.ledger.endorse(task, frozenset())

    assert tree.call(RIGHT).facts.approvals_used == 3


def test_a_declared_fact_of_the_root_counts_the_calls_of_all_tasks_below(tree: Tree):
    facts = book("made: {count: calls, by: root, within: 1h}\nown: {count: calls, by: task, within: 1h}")
    tree.history.ledger.declared = FactReader(b"k" * 32, lambda: facts)
    alone = Task("alone", "declared", 1000.0, UNTIL)
    tree.history.tasks.open(AGENT, alone, ResultContent())

    found = [tree.call(task, principal=AGENT).declared.values for task in (ROOT, LEFT, LOW, RIGHT, alone)]

    assert [values["made"] for values in found] == [1, 2, 3, 4, 1]
    assert [values["own"] for values in found] == [1, 1, 1, 1, 1]
