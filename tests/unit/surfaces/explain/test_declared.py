"""The calls behind a declared fact: they add up to its number."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import pytest

from gateway.surfaces.explain.declared import find_causes, find_cited
from tests.unit.history.declared.counting import READ, REFUND, Run, book, caller
from tests.unit.history.declared.test_settled_later import settle_later

if TYPE_CHECKING:
    from gateway.history.events import CallEnd
    from gateway.history.provenance import Cause
    from gateway.model.wire import JsonObject

FACTS = """
refunded: {sum: /arguments/amount, by: [user, /arguments/customer], within: 60s}
refunds: {count: calls, of: {outcome: [open, done, unknown]}, by: [task]}
failures: {count: calls, of: {outcome: failed}, by: [agent], within: 60s, since: {outcome: done}}
"""
NAMES = ("refunded", "refunds", "failures")
ENDS: tuple[CallEnd, ...] = ("done", "failed", "unknown")


def cited(run: Run, call: str) -> dict[str, Any]:
    """The entry of a call, with a reason that names each fact."""
    entry = next(entry for entry in run.record.entries if entry.get("id") == call)
    pointers = [f"/{part}/{name}" for part in ("facts", "facts_before") for name in NAMES]
    written: dict[str, Any] = json.loads(json.dumps(entry))
    return {**written, "reasons": [{"code": "acme/no", "facts": pointers}]}


def causes(run: Run, call: str) -> dict[str, tuple[Cause, ...]]:
    decision = cited(run, call)
    return find_causes({**decision, "time": "T"}, timed(run), find_cited(decision))


def timed(run: Run) -> list[JsonObject]:
    return [json.loads(json.dumps({**entry, "time": f"T{entry['seq']}"})) for entry in run.record.entries]


@pytest.mark.parametrize("seed", range(20))
def test_the_calls_behind_a_number_add_up_to_it(seed: int):
    chance = random.Random(seed)
    run = Run(book(FACTS))
    amounts: dict[str, Decimal] = {}
    started: list[str] = []
    for _ in range(40):
        run.now += chance.choice((0.25, 1, 7))
        amount = chance.choice((1, 0.1, 2.5))
        verdict = chance.choice(("allow", "allow", "allow", "deny", "ask"))
        who = caller(chance.choice(("agent", "other")))
        arguments = {"amount": amount, "customer": chance.choice(("c1", "c2"))}
        call, facts = run.begin(arguments, REFUND, who, verdict=lambda _facts, said=verdict: said)
        amounts[call] = Decimal(str(amount))
        found = causes(run, call)
        for part, values in (("facts", facts.values), ("facts_before", facts.before)):
            told = {name: found.get(f"/{part}/{name}", ()) for name in NAMES}
            assert len(told["refunds"]) == values.get("refunds", 0)
            assert len(told["failures"]) == values.get("failures", 0)
            assert sum(amounts[one.call.id] for one in told["refunded"]) == Decimal(str(values.get("refunded", 0)))
        if verdict == "allow":
            started.append(call)
        if started and chance.random() < 0.7:
            run.settle(started.pop(chance.randrange(len(started))), chance.choice(ENDS))


def test_a_call_says_what_it_added_and_how_it_ended():
    run = Run(book(FACTS))
    run.call({"amount": 20, "customer": "c1"})
    run.call({"amount": 7, "customer": "c2"})
    run.call({"amount": 30, "customer": "C1 "}, who=caller("other"), end="unknown")
    call, _ = run.begin({"amount": 5, "customer": "c1"})

    found = causes(run, call)["/facts/refunded"]

    assert [(one.how, one.call.target) for one in found] == [
        ("added 20 (done)", "payments/refund"),
        ("added 30 (unknown)", "payments/refund"),
        ("added 5 (open)", "payments/refund"),
    ]
    assert [one.call.task is None for one in found] == [True, False, True]


@pytest.mark.parametrize(
    ("end", "refunds", "failures"), [("failed", ["done"], ["failed"]), ("done", ["done", "done"], [])]
)
def test_a_call_that_was_settled_later_is_told_by_its_true_outcome(
    end: Literal["done", "failed"], refunds: list[str], failures: list[str]
):
    run = Run(
        book("""
refunds: {count: calls, of: {outcome: [open, done, unknown]}, by: [task]}
failures: {count: calls, of: {outcome: failed}, by: [agent], within: 60s}
""")
    )
    run.call({"amount": 1, "customer": "c1"})
    lost, _ = run.begin({"amount": 2, "customer": "c1"})
    run.settle(lost, "unknown")
    settle_later(run, lost, end)
    call, facts = run.begin({"amount": 5, "customer": "c1"})

    found = causes(run, call)

    assert [one.how for one in found["/facts/refunds"]] == [*(f"counts ({each})" for each in refunds), "counts (open)"]
    assert [one.how for one in found["/facts/failures"]] == [f"counts ({each})" for each in failures]
    assert facts.values["refunds"] == len(refunds) + 1


def test_a_settled_call_stays_in_a_fact_that_began_anew():
    run = Run(
        book("""
paid: {count: calls, of: {outcome: [open, done, unknown]}, by: [user], within: 1h, since: {outcome: done, tool: files/read_file}}
""")
    )
    run.call({"path": "/a"}, READ)
    run.call({"amount": 1, "customer": "c1"}, end="unknown")
    lost, _ = run.begin({"amount": 2, "customer": "c1"})
    run.settle(lost, "unknown")
    run.call({"path": "/a"}, READ)
    later, _ = run.begin({"amount": 2, "customer": "c1"})
    run.settle(later, "unknown")
    settle_later(run, later, "failed")
    call, facts = run.begin({"amount": 5, "customer": "c1"})
    decision = cited(run, call)
    decision["reasons"] = [{"code": "acme/no", "facts": ["/facts/paid"]}]

    found = find_causes({**decision, "time": "T"}, timed(run), find_cited(decision))

    assert len(found["/facts/paid"]) == facts.values["paid"]


def test_a_call_of_another_tool_names_the_calls_behind_its_facts():
    facts = """
    read_at: {last: time, of: {tool: files/read_file}, by: [task, {this: /arguments/target, that: /arguments/path}], within: 1h}
    reads: {count: calls, of: {tool: files/read_file}, by: [user], within: 1h}
    """
    run = Run(book(facts))
    run.call({"path": "/a"}, READ)
    run.call({"path": "/b"}, READ)
    call, seen = run.begin({"target": "/a"}, REFUND)
    decision = cited(run, call)
    decision["reasons"] = [{"code": "acme/no", "facts": ["/facts_before/read_at", "/facts/reads"]}]

    found = find_causes({**decision, "time": "T"}, timed(run), find_cited(decision))

    first, second = (str(entry["id"]) for entry in run.record.entries if entry["kind"] == "settled")
    assert {*seen.places} == {"read_at", "reads"}
    assert [one.call.id for one in found["/facts_before/read_at"]] == [first]
    assert [one.call.id for one in found["/facts/reads"]] == [first, second]
