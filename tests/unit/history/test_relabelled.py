"""New labels judge anew what open tasks did with a tool."""

from __future__ import annotations

import itertools
from typing import Final, Literal, TypeAlias

import pytest

from gateway.history import Restored, rebuild
from gateway.history.events import NewLabels, Relabelled, from_fields, to_fields
from gateway.history.state import MAX_TOOLS
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent
from gateway.model.facts import SessionFacts, TaskLabels
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Task
from tests.unit.history.recording import AGENT, CALLER, Gateway, Record, new_history

Trust: TypeAlias = Literal["trusted", "untrusted"]
UNLABELLED: Final = Labels(assumed=frozenset({"effect"}))
READ: Final = Labels(effect=Effect.READ)
AS_READ: Final = NewLabels(write=False)
AS_WRITE: Final = NewLabels(write=True)
NUMBERS: Final = itertools.count(1)


class Run:
    """A task, its record, and the calls in it."""

    def __init__(self) -> None:
        self.gateway = Gateway(new_history(), Record())
        self.task: Task = self.gateway.history.tasks.open_implicit(AGENT, 1000.0)

    def begin(
        self, tool: str = "read", labels: Labels = UNLABELLED, trust: Trust = "untrusted", *, ok: bool = True
    ) -> str:
        name = f"c{next(NUMBERS)}"
        target = Target("tool", "files", tool, "files", "acme", "test", trust, labels)
        ledger = self.gateway.history.ledger
        counted = ledger.reserve(self.task, name, Call("tools/call", target, {}), CallContent(), 1000.0, depth=0)
        entry = {"id": name, "effect": "allow" if ok else "deny", "history": counted.fields}
        self.gateway.record.append("call", {**entry, "task": {"id": self.task.id}, "principal": CALLER})
        ledger.let_pass(self.task, name) if ok else ledger.release(self.task, name, denied=True)
        return name

    def call(self, tool: str = "read", labels: Labels = UNLABELLED, trust: Trust = "untrusted") -> None:
        self.gateway.settle(self.task, self.begin(tool, labels, trust), ResultContent(tokens=frozenset({1, 2})))

    async def relabel(self, **tools: NewLabels) -> None:
        labels = {f"files/{tool}": found for tool, found in tools.items()}
        self.gateway.record.append("configuration", {"history": to_fields(Relabelled(labels))})
        await self.gateway.history.ledger.relabel(labels)

    @property
    def facts(self) -> SessionFacts:
        return self.gateway.history.ledger.facts(self.task, 1000.0)

    @property
    def labels(self) -> TaskLabels:
        found = self.facts.labels
        assert found is not None
        return found

    def require_same_after_rebuild(self) -> None:
        """The journal alone gives the same state."""
        again = new_history()
        rebuild(again, self.gateway.record.entries, Restored())
        old, new = self.gateway.history.tasks.find(self.task.id), again.tasks.find(self.task.id)
        assert old is not None
        assert new is not None
        assert new.state == old.state


@pytest.fixture
def run() -> Run:
    return Run()


async def test_an_unlabelled_read_counts_as_a_write_no_longer(run: Run):
    run.call()
    assert (run.facts.write_audiences, run.facts.assumed_write_audiences) == ({"files"}, {"files"})

    await run.relabel(read=AS_READ)
    assert (run.facts.write_audiences, run.facts.assumed_write_audiences) == (frozenset(), frozenset())
    assert run.facts.audiences == {"files"}
    run.require_same_after_rebuild()


async def test_a_system_stays_written_to_while_another_tool_has_written(run: Run):
    run.call()
    run.call("send")
    await run.relabel(read=AS_READ)

    assert run.facts.write_audiences == {"files"}


async def test_a_tool_now_labelled_a_write_counts_as_one(run: Run):
    run.call(labels=READ)
    assert run.facts.write_audiences == frozenset()

    await run.relabel(read=AS_WRITE)
    assert (run.facts.write_audiences, run.facts.assumed_write_audiences) == ({"files"}, frozenset())
    run.require_same_after_rebuild()


async def test_a_source_now_labelled_untrusted_taints_the_task_and_its_words_are_no_ground(run: Run):
    run.call(labels=READ, trust="trusted")
    assert not run.labels.untrusted

    await run.relabel(read=NewLabels(untrusted=True, sensitivity=Sensitivity.CONFIDENTIAL))
    assert run.labels.untrusted
    assert run.labels.confidentiality is Sensitivity.CONFIDENTIAL
    kept = run.gateway.history.tasks.find(run.task.id)
    assert kept is not None
    assert kept.state is not None
    assert (kept.state.trusted, kept.state.partial_sources) == (frozenset(), {"files"})
    run.require_same_after_rebuild()


async def test_milder_labels_take_back_nothing_that_the_task_has_read(run: Run):
    run.call(labels=Labels(effect=Effect.READ, sensitivity=Sensitivity.RESTRICTED))
    before = run.labels
    await run.relabel(read=AS_READ)

    assert run.labels == before
    assert before.untrusted


async def test_labels_of_tools_that_the_task_did_not_use_change_nothing(run: Run):
    run.call(labels=READ)
    before = run.facts
    await run.relabel(other=NewLabels(write=True, untrusted=True))

    assert run.facts == before


@pytest.mark.parametrize("ok", [True, False])
async def test_a_call_under_way_ends_by_its_new_labels_and_leaves_no_wrong_count(run: Run, *, ok: bool):
    name = run.begin(labels=READ, trust="trusted")
    await run.relabel(read=NewLabels(write=True, untrusted=True))
    assert run.facts.write_audiences == {"files"}
    if ok:
        run.gateway.settle(run.task, name)
    else:
        run.gateway.history.ledger.release(run.task, name, denied=True)

    assert run.facts.write_audiences == ({"files"} if ok else frozenset())
    assert run.labels.untrusted
    assert run.facts.in_flight == 0


async def test_a_refused_call_leaves_no_use_of_its_tool(run: Run):
    run.begin(labels=READ, ok=False)
    await run.relabel(read=NewLabels(write=True, untrusted=True))

    assert run.facts.write_audiences == frozenset()
    assert not run.labels.untrusted


async def test_new_labels_folded_twice_are_those_folded_once(run: Run):
    run.call()
    await run.relabel(read=AS_READ)
    once = run.facts
    await run.relabel(read=AS_READ)

    assert run.facts == once


async def test_tools_beyond_the_room_still_taint_by_the_labels_of_their_upstream(run: Run):
    for number in range(MAX_TOOLS + 1):
        run.call(f"tool{number}", READ, "trusted")
    await run.relabel(**{"": NewLabels(untrusted=True)})

    assert run.labels.untrusted


def test_the_event_is_read_as_it_was_written():
    event = Relabelled({"files/read": NewLabels(write=False), "files/": NewLabels(untrusted=True)})

    assert from_fields(to_fields(event)) == event
