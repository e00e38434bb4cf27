"""What declared facts count once it is known what became of a call of unknown outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from gateway.history import Restored, Store, rebuild, restore, rewind, snapshot
from gateway.history.declared.accounts import Account
from gateway.history.declared.tables import Mark
from tests.unit.history.declared.counting import ADA, Run, book
from tests.unit.history.recording import new_history

if TYPE_CHECKING:
    from gateway.model.facts import DeclaredFacts
    from gateway.model.wire import JsonObject

FACTS = """
paid: {sum: /arguments/amount, of: {outcome: [open, done, unknown]}, by: [user, /arguments/customer], within: 1h}
in_task: {count: calls, of: {outcome: [open, done, unknown]}, by: task}
lost: {count: calls, of: {outcome: unknown}, by: user, within: 1h}
done: {count: calls, of: {outcome: done}, by: user, within: 1h}
failed: {count: calls, of: {outcome: failed}, by: user, within: 1h}
"""


def pay(amount: float) -> JsonObject:
    return {"amount": amount, "customer": "c1"}


def settle_later(run: Run, call: str, end: Literal["done", "failed"]) -> None:
    """Note and record what became of a call of unknown outcome, as the gateway does."""
    task = run.history.tasks.open_implicit(ADA, run.now)
    fields = run.history.ledger.confirm(task.id, call, end)
    assert fields is not None
    run.record.append("confirmed", {"id": call, "task": task.id, "end": end, "by": {"operator": "ann"}, **fields})


def lose(run: Run, amount: float) -> str:
    call, _ = run.begin(pay(amount))
    run.settle(call, "unknown")
    return call


def read(run: Run) -> DeclaredFacts:
    return run.begin(pay(0), verdict=lambda _: "none", recorded=False)[1]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("failed", {"paid": 3, "in_task": 1, "done": 1, "failed": 1}),
        ("done", {"paid": 10.25, "in_task": 2, "done": 2}),
    ],
)
def test_a_settled_call_counts_by_its_true_outcome(end: Literal["done", "failed"], expected: dict[str, float]):
    run = Run(book(FACTS))
    run.settle(run.begin(pay(3))[0])
    call = lose(run, 7.25)
    assert read(run).before == {"paid": 10.25, "in_task": 2, "done": 1, "lost": 1}

    settle_later(run, call, end)

    assert read(run).before == expected


def test_a_call_is_settled_once():
    account, marks = Account("user:x"), (Mark("paid@1", "user:x", "k", "sum", ("open", "done"), 60.0, 10, "5"),)
    for call in ("c-1", "c-2"):
        account.begin(call, 100.0, marks)
        account.end(call, ("unknown", "open"))

    for _ in range(2):
        account.correct("c-1", 100.0, marks, "failed")

    assert [str(part) for part in account.held.tables["paid@1"].cells["k"].closed.values()] == ["5"]
    account.sweep(100.0 + 62 * 60)
    assert account.held.corrected == {}


def test_a_call_before_a_new_beginning_takes_nothing_back_from_the_calls_after_it():
    facts = "tries: {count: calls, of: {outcome: [failed, unknown]}, by: user, within: 1h, since: {outcome: done}}"
    run = Run(book(facts))
    early = lose(run, 1)
    run.call(pay(1))
    lose(run, 1)
    assert read(run).before == {"tries": 1}

    settle_later(run, early, "done")

    assert read(run).before == {"tries": 1}


@pytest.mark.parametrize("cut", range(1, 5))
async def test_settled_calls_are_the_same_after_a_kill_from_any_snapshot_on(cut: int, store: Store):
    facts, first = book(FACTS), Run(book(FACTS))
    first.history.states.attach(store)
    calls = [lose(first, amount) for amount in (1, 2)]
    for number, step in enumerate(("", "failed", "done", "last"), start=1):
        if step == "failed":
            settle_later(first, calls[0], "failed")
        elif step == "done":
            settle_later(first, calls[1], "done")
        if number == cut:
            await snapshot(first.history, store, first.record.position)
    expected = read(first)

    for from_snapshot in (True, False):
        history = new_history(lambda: first.now)
        restored = restore(history, store) if from_snapshot else Restored()
        rebuild(history, first.record.after(restored.seq), restored)
        rewind(history, first.record.seq)
        assert read(Run(facts, first.record, history)) == expected
    assert expected.before == {"paid": 2, "in_task": 1, "done": 1, "failed": 1}
