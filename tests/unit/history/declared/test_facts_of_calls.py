"""What a rule reads of the calls before: numbers and times, by key, window and outcome."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.history import Restored, Store, rebuild, restore, rewind, snapshot
from gateway.history.declared.tables import BEYOND
from gateway.model.content import CallContent
from gateway.model.target import Effect, Target
from tests.unit.history.declared.counting import ADA, READ, REFUND, Run, book, caller, target
from tests.unit.history.recording import Record, new_history

if TYPE_CHECKING:
    from gateway.history.events import CallEnd
    from gateway.model.facts import DeclaredFacts
    from gateway.model.wire import Json, JsonObject

SUM = """
refunded:
  sum: /arguments/amount
  of: {tool: payments/refund, outcome: [open, done, unknown]}
  by: [user, /arguments/customer]
  within: 60s
"""


def pay(amount: Json, customer: Json = "c1") -> JsonObject:
    return {"amount": amount, "customer": customer}


# --- sums ----------------------------------------------------------------------------------------------


def test_a_sum_is_exact_and_counts_the_call_itself():
    run = Run(book(SUM))

    found = [run.call(pay(0.1)).values["refunded"] for _ in range(3)]

    assert found == [0.1, 0.2, 0.3]
    assert run.call(pay(1)).before["refunded"] == 0.3


def test_each_customer_and_each_user_has_a_sum_of_its_own():
    run = Run(book(SUM))
    run.call(pay(5))

    assert run.call(pay(7, "c2")).values["refunded"] == 7
    assert run.call(pay(9), who=caller(user="bob")).values["refunded"] == 9
    assert run.call(pay(1), who=caller("another agent")).values["refunded"] == 6, "the same user, by any agent"


def test_a_call_without_the_key_has_no_fact():
    run = Run(book(SUM))
    run.call(pay(5))

    assert run.call({"amount": 5}).values == {}
    assert run.call(pay(5), who=caller(user=None)).values == {}


def test_writing_a_key_otherwise_begins_no_other_sum():
    run = Run(book(SUM))
    run.call(pay(5, "Cust-1"))

    for written in ("cust-1", " CUST-1 ", "\uff23ust-1", "cust-1\u00a0"):
        found = run.call(pay(5, written)).before
        assert "refunded" in found, written
    assert run.call(pay(1, 10)).before == {}
    assert "refunded" in run.call(pay(1, 10.0)).before
    assert run.call(pay(1, 0)).before == {}
    assert "refunded" in run.call(pay(1, -0.0)).before


@pytest.mark.parametrize("amount", ["5", None, True, -5, [5], {"value": 5}, 1e40, "NaN", "1e999999999"])
def test_an_amount_that_is_no_number_makes_the_fact_incomplete_for_that_call_alone(amount: Json):
    run = Run(book(SUM))
    run.call(pay(5))
    labelled = replace(REFUND, labels=replace(REFUND.labels, roles={}))

    _, found = run.begin(pay(amount), labelled, verdict=lambda facts: "deny" if facts.incomplete else "allow")

    assert found.incomplete == ("refunded",)
    after = run.call(pay(1))
    assert (after.values["refunded"], after.incomplete) == (6, ())


def test_a_missing_amount_makes_the_fact_incomplete():
    assert Run(book(SUM)).call({"customer": "c1"}).incomplete == ("refunded",)


def test_a_text_is_an_amount_where_the_label_says_so():
    run = Run(book(SUM))

    assert run.call(pay("10.00")).values["refunded"] == 10
    assert run.call(pay("1e2")).values["refunded"] == 110
    assert run.call(pay("-1")).incomplete == ("refunded",)


@pytest.mark.parametrize("customer", [["c1"], {"id": "c1"}])
def test_a_key_that_is_no_scalar_makes_the_fact_incomplete(customer: Json):
    run = Run(book(SUM))
    run.call(pay(5))

    assert run.call(pay(5, customer)).incomplete == ("refunded",)
    assert run.call(pay(5, "c9")).incomplete == ("refunded",), "a call that passed all the same is lost to every key"
    run.now += 62
    assert run.call(pay(5, "c9")).incomplete == ()


# --- racing calls, outcomes ----------------------------------------------------------------------------


def test_racing_calls_never_pass_a_total():
    run = Run(book(SUM))
    opened: list[str] = []

    def judge(facts: DeclaredFacts) -> str:
        return "allow" if float(facts.values["refunded"]) <= 500 else "deny"

    for _ in range(1000):
        call, facts = run.begin(pay(10), verdict=judge)
        if judge(facts) == "allow":
            opened.append(call)

    assert len(opened) == 50
    for call in opened:
        run.settle(call)
    assert run.call(pay(0)).values["refunded"] == 500


def test_a_refused_call_and_a_failed_one_do_not_count():
    run = Run(book(SUM))
    run.begin(pay(100), verdict=lambda _: "deny")
    run.begin(pay(100), verdict=lambda _: "ask")
    run.call(pay(100), end="failed")

    assert run.call(pay(1)).values["refunded"] == 1


def test_a_call_of_unknown_outcome_counts_as_an_open_one():
    facts = """
    open_only: {count: calls, of: {outcome: open}, by: agent, within: 1h}
    done_only: {count: calls, of: {outcome: done}, by: agent, within: 1h}
    """
    run = Run(book(facts))
    run.call({}, end="unknown")
    run.call({}, end="done")

    found = run.call({})
    assert (found.values["open_only"], found.before["open_only"], found.values["done_only"]) == (2, 1, 1)


def test_refusals_and_their_codes_are_counted():
    facts = """
    refused: {count: calls, of: {outcome: refused}, by: agent, within: 1h}
    asked: {count: calls, of: {decision: ask}, by: agent, within: 1h}
    coded: {count: calls, of: {code: acme/deny}, by: agent, within: 1h}
    other: {count: calls, of: {code: acme/other}, by: agent, within: 1h}
    """
    run = Run(book(facts))
    for effect in ("deny", "deny", "ask", "allow"):
        run.begin({}, verdict=lambda _, effect=effect: effect)

    assert run.call({}).values == {"refused": 3, "asked": 1, "coded": 2}


def test_failures_are_forgotten_after_a_success():
    facts = """
    failures: {count: calls, of: {outcome: [failed, unknown]}, by: [agent, tool], within: 1h, since: {outcome: done}}
    """
    run = Run(book(facts))
    for _ in range(3):
        run.call({}, end="failed")

    assert run.call({}).values == {"failures": 3}
    assert run.call({}).values == {}, "the call before was done"
    run.call({}, end="failed")
    assert run.call({}, target("other")).values == {}, "each tool has failures of its own"
    assert run.call({}).values == {"failures": 1}


def test_a_key_that_began_anew_takes_no_room():
    facts = """
    failures:
      count: calls
      of: {outcome: [failed, unknown]}
      by: [task, /arguments/customer]
      since: {outcome: done}
      keys: 1
    """
    run = Run(book(facts))
    for customer in ("c1", "c2", "c3"):
        assert run.call(pay(1, customer), end="failed").incomplete == ()
        assert run.call(pay(1, customer)).before == {"failures": 1}


# --- prerequisites -------------------------------------------------------------------------------------

PREREQUISITE = """
read_before:
  last: time
  of: {tool: files/read_file, outcome: done}
  by: [task, {this: /arguments/target, that: /arguments/path}]
  within: 5m
"""
DELETE = target("delete_file", "files", effect=Effect.DESTRUCTIVE)


def test_an_earlier_call_is_found_by_its_own_argument():
    run = Run(book(PREREQUISITE))
    run.call({"path": "/a"}, READ)

    assert run.call({"target": "/a"}, DELETE).values == {"read_before": "1970-01-12T13:46:40Z"}
    assert run.call({"target": "/b"}, DELETE).values == {}
    assert run.call({"target": "/A"}, DELETE).values == {}, "a time is no limit, so its key is exact"
    assert run.call({}, DELETE).values == {}


def test_an_open_or_failed_call_is_no_prerequisite():
    run = Run(book(PREREQUISITE))
    run.begin({"path": "/a"}, READ)
    run.call({"path": "/a"}, READ, end="failed")

    assert run.call({"target": "/a"}, DELETE).values == {}


def test_a_prerequisite_ends_to_the_second():
    run = Run(book(PREREQUISITE))
    run.call({"path": "/a"}, READ)
    run.now += 300
    assert "read_before" in run.call({"target": "/a"}, DELETE).values
    run.now += 1
    assert run.call({"target": "/a"}, DELETE).values == {}


def test_a_fact_of_a_task_ends_with_the_task():
    run = Run(book(PREREQUISITE))
    run.call({"path": "/a"}, READ)

    assert run.call({"target": "/a"}, DELETE, caller("another")).values == {}


# --- distinct ------------------------------------------------------------------------------------------


def test_different_systems_and_destinations_are_counted():
    facts = """
    systems: {distinct: system, of: {effect: [write, destructive]}, by: user, within: 10m}
    sent_to: {distinct: destination, by: user, within: 10m}
    """
    run = Run(book(facts))
    for upstream, sent in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        run.begin({}, target(upstream=upstream), content=CallContent({sent: "d"}))
    run.begin({}, READ, content=CallContent())

    _, found = run.begin({}, target(upstream="c"), content=CallContent({3: "d"}))
    assert found.values == {"systems": 3, "sent_to": 3}
    _, unseen = run.begin({}, content=CallContent(complete=False))
    assert unseen.incomplete == ("sent_to",)


SENT = "sent_to: {distinct: destination, by: user, within: 10m, values: 3}"


def send(run: Run, *to: int) -> DeclaredFacts:
    call, found = run.begin({}, content=CallContent(dict.fromkeys(to, "d")))
    run.settle(call)
    return found


def test_more_different_values_than_are_kept_pass_every_limit_and_block_no_other_call():
    run = Run(book(SENT))
    assert [send(run, each).values["sent_to"] for each in (1, 2, 3, 4)] == [1, 2, 3, 4]

    known, other = send(run, 2), send(run, 9)
    assert known.incomplete == other.incomplete == ()
    assert known.values == known.before, "a call to a known destination raises nothing"
    for found in (known, other):
        assert float(found.values["sent_to"]) >= BEYOND
    assert float(other.values["sent_to"]) > float(other.before["sent_to"]), "a call to another one does"
    again = send(run, 9)
    assert float(again.values["sent_to"]) > float(again.before["sent_to"])
    run.now += 700
    assert send(run, 9).values["sent_to"] == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_number_of_different_values_is_exact_up_to_its_bound_and_never_too_small(seed: int):
    chance, run, sent = random.Random(seed), Run(book(SENT)), set[int]()
    for _ in range(40):
        to = chance.sample(range(6), chance.randint(1, 3))
        before = len(sent)
        sent |= {*to}
        found = float(send(run, *to).values["sent_to"])
        assert found == len(sent) if before <= 3 and len(sent) <= 3 else found >= len(sent)


ALL = "paid: {sum: /arguments/amount, by: /arguments/customer, within: 60s, keys: 8}"


def test_one_caller_cannot_fill_a_fact_that_all_share():
    run, other = Run(book(ALL)), caller("other", "bob")
    for number in range(20):
        call, found = run.begin(pay(5, f"a{number}"), verdict=lambda facts: "deny" if facts.incomplete else "allow")
        if found.incomplete:
            assert number >= 4
        else:
            run.settle(call)

    assert run.begin(pay(5, "a99"), verdict=lambda _facts: "deny")[1].incomplete == ("paid",)
    for number in range(2):
        found = run.call(pay(7, f"b{number}"), who=other)
        assert (found.values, found.incomplete) == ({"paid": 7}, ())
    assert run.call(pay(7, "a0"), who=other).values["paid"] == 12, "all callers count one another"
    run.now += 200
    assert run.call(pay(5, "a99")).incomplete == (), "shares end with their window"


# --- windows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_window_counts_at_most_one_part_too_long_and_never_too_short(seed: int):
    """Against a list of all calls. The window has 60 parts of a second."""
    chance, run = random.Random(seed), Run(book(SUM))
    told: list[tuple[float, int, str]] = []
    pending: list[tuple[str, float, int]] = []
    for _ in range(300):
        run.now += chance.choice([0, 0.2, 1.1, 7.5])
        if pending and chance.random() < 0.5:
            call, at, amount = pending.pop(chance.randrange(len(pending)))
            ends: list[CallEnd] = ["done", "failed", "unknown"]
            end = chance.choice(ends)
            run.settle(call, end)
            if end != "failed":
                told.append((at, amount, "closed"))
            continue
        amount = chance.randrange(1, 9)
        call, facts = run.begin(pay(amount))
        still = sum(each for _, _, each in pending) + amount
        found = float(facts.values["refunded"])
        exact = still + sum(each for at, each, _ in told if run.now - at <= 60)
        longest = still + sum(each for at, each, _ in told if run.now - at <= 61)
        assert exact <= found <= longest
        pending.append((call, run.now, amount))


def test_more_keys_than_are_kept_make_the_fact_incomplete_and_not_smaller():
    run = Run(book(SUM.replace("within: 60s", "within: 60s\n  keys: 3")))
    for number in range(3):
        run.call(pay(5, f"c{number}"))

    call, beyond = run.begin(pay(5, "c9"))
    assert (beyond.values, beyond.incomplete) == ({}, ("refunded",))
    run.settle(call)
    assert run.call(pay(5, "c0")).incomplete == ("refunded",)
    run.now += 200
    assert run.call(pay(5, "c9")).values["refunded"] == 5, "keys whose window is over make room"


def test_racing_calls_beyond_the_kept_keys_pass_no_limit():
    run = Run(book(SUM.replace("within: 60s", "within: 60s\n  keys: 1")))
    run.call(pay(5, "c0"))

    def judge(facts: DeclaredFacts) -> str:
        return "deny" if facts.incomplete or float(facts.values.get("refunded", 0)) > 500 else "allow"

    found = [run.begin(pay(400, "c9"), verdict=judge)[1] for _ in range(3)]

    assert [each.incomplete for each in found] == [("refunded",)] * 3
    assert run.call(pay(5, "c0")).values["refunded"] == 10, "a refused call takes no room of the others"
    run.now += 200
    assert run.call(pay(5, "c9")).incomplete == ()


# --- durable -------------------------------------------------------------------------------------------

BOTH = SUM + PREREQUISITE + "mails: {count: calls, by: [agent], within: 1h}\n"


def busy(run: Run) -> None:
    run.call({"path": "/a"}, READ)
    for amount in (1, 2, 3):
        run.call(pay(amount))
    run.begin(pay(50), verdict=lambda _: "deny")
    run.begin(pay(7))


def facts_of(run: Run) -> list[DeclaredFacts]:
    calls: list[tuple[JsonObject, Target]] = [(pay(0), REFUND), ({"target": "/a"}, DELETE)]
    return [run.begin(arguments, to, verdict=lambda _: "none", recorded=False)[1] for arguments, to in calls]


def test_facts_are_the_same_after_a_kill():
    """The open call of the dead gateway counts as one of unknown outcome."""
    facts, before = book(BOTH), Run(book(BOTH))
    busy(before)
    expected = facts_of(before)

    history = new_history(lambda: before.now)
    rebuild(history, before.record.entries, Restored())

    assert facts_of(Run(facts, before.record, history)) == expected
    assert expected[0].values["refunded"] == 13


@pytest.mark.parametrize("cut", range(1, 14))
async def test_facts_are_the_same_from_any_snapshot_on(cut: int, store: Store):
    """A snapshot between any two events, a kill at the end, and a start from the snapshot."""
    facts, first = book(BOTH), Run(book(BOTH))
    first.history.states.attach(store)
    steps = 0

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps == cut:
            await snapshot(first.history, store, first.record.position)

    for amount in (1, 2, 3):
        call, _ = first.begin(pay(amount))
        await step()
        first.settle(call)
        await step()
    first.call({"path": "/a"}, READ)
    await step()
    first.begin(pay(50), verdict=lambda _: "deny")
    await step()
    first.begin(pay(7))
    await step()
    expected = facts_of(first)

    history = new_history(lambda: first.now)
    restored = restore(history, store)
    rebuild(history, first.record.after(restored.seq), restored)
    rewind(history, first.record.seq)

    assert facts_of(Run(facts, first.record, history)) == expected
    await snapshot(history, store, first.record.position)
    again = new_history(lambda: first.now)
    restored = restore(again, store)
    rebuild(again, first.record.after(restored.seq), restored)
    assert facts_of(Run(facts, first.record, again)) == expected


async def test_a_forgotten_account_leaves_the_snapshots(store: Store):
    run = Run(book(SUM))
    run.history.states.attach(store)
    run.call(pay(5))
    await snapshot(run.history, store, run.record.position)
    run.now += 3600
    run.history.states.accounts.sweep(run.now)
    await snapshot(run.history, store, run.record.position)

    again = new_history(lambda: run.now)
    restore(again, store)
    assert not list(again.states.accounts.names())


def test_another_declaration_begins_anew():
    run = Run(book(SUM))
    run.call(pay(5))
    again = Run(book(SUM.replace("60s", "120s")), run.record, run.history)
    again.now = run.now

    assert again.call(pay(1)).values["refunded"] == 1


def test_no_value_of_an_argument_is_written_down():
    run = Run(book(BOTH))
    run.call(pay(5, "a-very-secret-customer"))
    run.call({"path": "/a-very-secret-path"}, READ)

    written = json.dumps(run.record.entries)
    assert "very-secret" not in written
    assert "user:" in written
    assert "ada" not in written.replace(ADA.key, "")


def test_a_call_that_no_fact_counts_has_no_marks():
    run = Run(book(SUM), Record())
    run.call({"path": "/a"}, READ)

    assert '"facts"' not in json.dumps(run.record.entries)
