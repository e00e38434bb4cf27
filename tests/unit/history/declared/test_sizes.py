"""The bytes that `opagate policy check` prints for a declared fact, against those of a gateway that counts calls."""

from __future__ import annotations

import gc
import json
import tracemalloc

from msgspec.structs import replace

from gateway.history.declared import sizes
from gateway.history.declared.marks import FactReader, Subject
from gateway.history.events import Settled
from gateway.history.new_events import build_reservation
from gateway.history.state import TaskState
from gateway.model.call import Call
from tests.unit.history.declared.counting import ADA, REFUND, Run, book

FACTS = "refunded: {sum: /arguments/amount, by: [user, /arguments/customer], within: 24h}"


def test_the_printed_bytes_of_the_journal_are_those_of_an_entry():
    declared = book(FACTS)
    run, without = Run(declared), Run(book("other: {count: calls, by: task, of: {tool: none/*}}"))
    for each in (run, without):
        each.call({"amount": 1.5, "customer": "c1"})
        each.begin({"amount": 1234.5, "customer": "c1"})

    written, bare = (len(json.dumps(each.record.entries[-1], separators=(",", ":"))) for each in (run, without))

    printed = sizes.journal_bytes(declared.all[0])
    frame = ',"facts":[],"declared":{"facts":,"facts_before":}'
    assert abs(written - bare - len(frame) - printed) <= printed / 10


def test_the_printed_bytes_of_memory_are_those_of_keys_in_use():
    """Measured while a gateway counts one call for each of 512 customers."""
    declared = book(FACTS)
    run = Run(declared)
    subject = Subject(ADA, Call("tools/call", REFUND, {}), "task", None)
    reader, accounts = FactReader(b"k" * 32, lambda: declared), run.history.states.accounts
    reserved = build_reservation(TaskState(), "call", subject.call, None, 0.0)

    tracemalloc.start()
    for number in range(512):
        call = Call("tools/call", REFUND, {"amount": 5, "customer": f"c{number}"})
        event = replace(reader.look(subject._replace(call=call)).mark(reserved), call=f"call-{number}")
        accounts.reserve(event)
        accounts.close(Settled(event.call))
    gc.collect()  # Python keeps freed tuples for later use, and gives them back now
    taken = tracemalloc.get_traced_memory()[0] / 512
    tracemalloc.stop()

    printed = sizes.key_bytes(declared.all[0], 1)
    assert abs(taken - printed) <= printed / 10


def test_facts_that_hold_nothing_are_named():
    facts = """
    total: {sum: /arguments/amount, by: user, within: 1h}
    racing: {count: calls, of: {outcome: done}, by: user, within: 1h}
    unread: {last: time, of: {outcome: done}, by: task}
    """
    told = list(sizes.describe(book(facts), frozenset({"total", "racing"})))

    about = {
        name: [each for each in told if each.startswith(f"{name}: ")][1:] for name in ("total", "racing", "unread")
    }
    assert about["total"] == []
    assert len(about["racing"]) == 1
    assert "racing calls pass a limit" in about["racing"][0]
    assert about["unread"] == ["unread: no rule reads it; remove it, or read `input.facts.unread`"]
