"""The untrusted results that people are told of: which call, of which tool, when, and by which argument."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.history.events import Settled, Touch
from gateway.history.fold import apply
from gateway.history.sources import (
    MAX_SUBJECTS,
    ReadTask,
    Subject,
    find_latest,
    find_sources,
    find_subject,
    note_subject,
)
from gateway.history.state import MAX_READS, TaskState
from gateway.model.call import Call
from gateway.model.target import Effect, Labels, Role, Target
from tests.unit.history.made_events import make_observed, make_read, make_reserved
from tests.unit.history.sessions import Session, target

FILES, MAIL = (
    Touch("files", write=False, tenant=None, environment=None),
    Touch("mail", write=False, tenant=None, environment=None),
)
SENT = MAIL._replace(write=True)


def read(state: TaskState, number: int, touch: Touch = FILES, *tokens: int, ended: bool = True, **more: Any) -> None:
    """A call of the task with an untrusted result."""
    call = f"c{number}"
    name = f"{touch.audience}/{'send' if touch.write else 'use'}"
    apply(state, make_reserved(call, number, 100.0 + number, touch, tool=name, **more))
    apply(state, make_observed(call, tokens=tokens))
    if ended:
        apply(state, Settled(call))


def test_a_value_has_the_call_that_first_showed_it():
    state = TaskState()
    read(state, 1, FILES, 7)
    read(state, 2, MAIL, 7, 8)

    (found,) = find_sources([ReadTask(state, {1: Subject("path", "invoice.txt")})], {7})
    assert (found.call, found.tool, found.at, found.decision) == (1, "files/use", 101.0, "c1")
    assert found.subject == Subject("path", "invoice.txt")
    assert [one.call for one in find_sources([ReadTask(state, {})], {7, 8})] == [1, 2]
    assert find_sources([ReadTask(state, {})], {9}) == []


def test_a_value_of_an_answer_that_still_comes_has_its_call_too():
    state = TaskState()
    read(state, 1, FILES, 7, ended=False)

    (found,) = find_sources([ReadTask(state, {})], {7})
    assert (found.tool, found.decision) == ("files/use", "c1")


def test_a_value_of_an_earlier_task_says_so():
    now, before = TaskState(), TaskState()
    read(before, 3, FILES, 7)

    (found,) = find_sources([ReadTask(now, {}), ReadTask(before, {}, is_earlier=True)], {7})
    assert (found.call, found.is_earlier) == (3, True)


def test_a_reading_outside_of_a_call_has_no_decision():
    state = TaskState()
    apply(state, make_read(4, 120.0, FILES, tokens=(7,), tool="files/"))

    (found,) = find_sources([ReadTask(state, {})], {7})
    assert (found.call, found.decision, found.at) == (4, None, 120.0)


def test_the_latest_results_come_last_first_and_own_changes_without_text_are_left_out():
    state = TaskState()
    read(state, 1, FILES, 7)
    read(state, 2, SENT)
    read(state, 3, MAIL)
    read(state, 4, FILES, trusted=True)

    assert [one.call for one in find_latest([ReadTask(state, {})], 5)] == [3, 1]
    assert [one.call for one in find_latest([ReadTask(state, {})], 1)] == [3]


def test_of_a_long_task_the_system_is_still_known():
    state = TaskState()
    read(state, 1, FILES, 7)
    for number in range(2, MAX_READS + 3):
        read(state, number, MAIL)

    (found,) = find_sources([ReadTask(state, {})], {7})
    assert (found.audience, found.tool, found.at) == ("files", "", None)
    assert len(state.reads) == MAX_READS


READ = Target("tool", "files", "read", "files", labels=Labels(Effect.READ, roles={"/folder": Role.RECORD}))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"depth": 3, "path": "invoice.txt"}, Subject("path", "invoice.txt")),
        ({"path": "invoice.txt", "folder": "bills"}, Subject("folder", "bills")),
        ({"path": "x" * 200}, None),
        ({"p" * 200: "invoice.txt"}, None),
        ({"path": ["invoice.txt"], "q": ""}, None),
    ],
)
def test_the_argument_that_names_a_text_has_such_a_role_or_is_the_first(arguments: Any, expected: Subject | None):
    assert find_subject(Call("tools/call", READ, arguments)) == expected


def test_a_resource_is_named_by_its_uri():
    there = Target("resource", "files", "file:///invoice.txt", "files")

    assert find_subject(Call("resources/read", there, {})) == Subject("uri", "file:///invoice.txt")


def test_named_texts_are_bounded_and_the_latest_stay():
    kept: dict[int, Subject] = {}
    for number in range(MAX_SUBJECTS + 5):
        note_subject(kept, number, Call("tools/call", READ, {"path": f"{number}.txt"}))

    assert (len(kept), min(kept)) == (MAX_SUBJECTS, 5)


def test_a_ledger_names_the_text_of_an_untrusted_call():
    session = Session()
    ledger, call = session.history.ledger, Call("tools/call", target("files"), {"path": "invoice.txt"})
    ledger.reserve(session.task, "c1", call, None, 1000.0, depth=0)
    ledger.let_pass(session.task, "c1")
    ledger.settle(session.task, "c1")

    (found,) = ledger.find_latest_reads(session.task, 3)
    assert (found.decision, found.subject) == ("c1", Subject("path", "invoice.txt"))
