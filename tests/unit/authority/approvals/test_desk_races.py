"""Races at the desk: one winner, and memory, journal and disk agree on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals import Desk, Times, state
from gateway.authority.approvals.model import Approval, ApproverRule, Person, Question
from gateway.authority.approvals.state import fold_entry
from gateway.authority.approvals.store import ApprovalStore
from gateway.model.decision import Reason
from tests.unit.authority.approvals.making import BOB, DESCRIPTION, Recorder, make_desk, no, question, yes
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock

ROUNDS = 60


class SlowRecorder(Recorder):
    """A journal whose entries take some turns of the event loop each, as many as chance says."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.on_append: Callable[[dict[str, Any]], None] = lambda _fields: None

    async def append(self, kind: str, fields: Any) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        self.on_append(fields)
        await super().append(kind, fields)


async def agrees(folder: Path, recorder: Recorder, desk: Desk, identifiers: Iterable[str]) -> None:
    """The journal, read from its beginning, and the disk have each approval as the desk has it."""
    stored = {one.id: one for one in (await ApprovalStore(sealed_store(folder)).load()).approvals}
    for identifier in identifiers:
        known = desk.get(identifier)
        assert known is not None
        read = state.ask(known.question)
        for entry in recorder.entries:
            if entry["id"] == identifier:
                read = fold_entry(read, entry)
        assert read.state == known.state
        assert read.votes == known.votes
        assert stored[identifier].state == known.state


@pytest.mark.parametrize("seed", range(4))
async def test_an_answer_and_the_end_of_time_at_the_same_instant(tmp_path: Path, seed: int):
    clock, recorder = Clock(), SlowRecorder(seed)
    desk = make_desk(tmp_path, recorder, clock)
    chance, won = random.Random(seed), set[str]()
    for number in range(ROUNDS):
        identifier = f"q{number}"
        await desk.ask(question(identifier, task=identifier, asked=clock.now, expires=clock.now + 10), DESCRIPTION)
        clock.now += 10 - 0.001
        vote = desk.vote(identifier, (no if number % 3 == 0 else yes)(at=clock.now), f"sha256:shown-{identifier}")
        works = [vote, desk.sweep(), desk.wait(identifier, 0.0), desk.sweep()]
        chance.shuffle(works)
        racing = [asyncio.ensure_future(work) for work in works]
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        clock.now += 0.001
        await asyncio.gather(*racing)
        await desk.sweep()
        found = desk.get(identifier)
        assert found is not None
        won.add(found.state)
        ends = [entry["event"] for entry in recorder.entries if entry["id"] == identifier][1:]
        assert ends == [found.state]

    assert won == {"granted", "denied", "expired"}
    await agrees(tmp_path, recorder, desk, [f"q{number}" for number in range(ROUNDS)])


@pytest.mark.parametrize("seed", range(4))
async def test_an_approval_is_used_or_its_task_ended_first(tmp_path: Path, seed: int):
    clock, recorder, ended = Clock(), SlowRecorder(seed), set[str]()

    def has_ended(asked: Question, _now: float) -> bool:
        return asked.task in ended

    desk = make_desk(tmp_path, recorder, clock, has_ended=has_ended)
    chance, won = random.Random(seed), set[str]()

    async def call(identifier: str) -> bool:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        if not await desk.claim(identifier, "d2"):
            return False
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        await desk.use(identifier, f"d-{identifier}")
        return True

    for number in range(ROUNDS):
        identifier = f"q{number}"
        await desk.ask(question(identifier, task=identifier), DESCRIPTION)
        await desk.vote(identifier, yes(), f"sha256:shown-{identifier}")
        calls = [asyncio.ensure_future(call(identifier)) for _ in range(5)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        ended.add(identifier)
        await asyncio.gather(desk.sweep(), desk.sweep())
        passed = await asyncio.gather(*calls)
        found = desk.get(identifier)
        assert found is not None
        won.add(found.state)
        assert passed.count(True) == (found.state == "used")
        events = [entry["event"] for entry in recorder.entries if entry["id"] == identifier][2:]
        assert events == ([] if found.state == "used" else ["withdrawn"])

    assert won == {"used", "withdrawn"}


async def test_of_a_thousand_racing_votes_exactly_the_asked_number_counts(tmp_path: Path):
    clock, recorder = Clock(), SlowRecorder(1)
    desk = make_desk(tmp_path, recorder, clock)
    asked = await desk.ask(question(rule=ApproverRule(count=3)), DESCRIPTION)
    assert isinstance(asked, Approval)
    people = [Person(f"person-{number % 500}", "https://idp.example", (), "login") for number in range(1_000)]
    random.Random(1).shuffle(people)
    votes = await asyncio.gather(*(desk.vote("q1", yes(person), asked.question.shown) for person in people))

    counted = [vote for vote in votes if isinstance(vote, Approval)]
    refused = {vote.code for vote in votes if isinstance(vote, Reason)}
    assert [vote.state for vote in counted] == ["pending", "pending", "granted"]
    assert len({vote.person.id for vote in counted[-1].votes}) == 3
    assert refused <= {"vote/closed", "vote/twice"}
    assert recorder.events == ["asked", "vote", "vote", "granted"]
    await agrees(tmp_path, recorder, desk, ["q1"])


async def test_one_person_by_two_channels_and_issuers_is_one_person(tmp_path: Path):
    desk = make_desk(tmp_path, Recorder(), Clock())
    asked = await desk.ask(question(rule=ApproverRule(count=2)), DESCRIPTION)
    assert isinstance(asked, Approval)
    same = [
        Person("bob", "https://idp.example", (), "login", "api"),
        Person("BOB", "local", (), "peer", "socket"),
        Person(" bob ", "https://other.example", (), "passkey", "api"),
    ]
    votes = await asyncio.gather(*(desk.vote("q1", yes(person), asked.question.shown) for person in same))

    assert [vote.code for vote in votes if isinstance(vote, Reason)] == ["vote/twice", "vote/twice"]


async def test_a_withdrawal_takes_no_approval_from_the_call_that_has_it(tmp_path: Path):
    desk = make_desk(tmp_path, Recorder(), Clock())
    for identifier in ("pending", "granted", "claimed"):
        await desk.ask(question(identifier), DESCRIPTION)
        if identifier != "pending":
            await desk.vote(identifier, yes(BOB), f"sha256:shown-{identifier}")
    assert await desk.claim("claimed", "d2")

    assert [await desk.withdraw(name, "declined") for name in ("pending", "granted", "claimed", "none")] == [
        True,
        True,
        False,
        False,
    ]
    assert await desk.claim("granted", "d2") is False
    assert await desk.claim("claimed", "d2") is False
    await desk.use("claimed", "d2")
    found = desk.get("claimed")
    assert found is not None
    assert found.state == "used"


async def test_a_clock_that_is_set_back_lengthens_nothing(tmp_path: Path):
    clock, passed = Clock(10_000.0), Clock(0.0)
    times = Times(900.0, 300.0, 0.05)
    desk = Desk(times, ApprovalStore(sealed_store(tmp_path)), append=Recorder().append, clock=clock, monotonic=passed)
    for identifier in ("pending", "granted"):
        await desk.ask(question(identifier, asked=10_000.0, expires=10_900.0), DESCRIPTION)
    await desk.vote("granted", yes(at=desk.now()), "sha256:shown-granted")
    clock.now -= 3_600.0
    passed.now += 299.0
    assert await desk.claim("granted", "d2")
    desk.give_back("granted", "d2")
    passed.now += 1.0
    assert await desk.claim("granted", "d2") is False
    passed.now += 600.0
    await desk.sweep()

    assert desk.list_open() == []


async def test_a_clock_that_is_set_back_before_a_restart_revives_nothing(tmp_path: Path):
    clock, recorder = Clock(10_000.0), Recorder()
    first = make_desk(tmp_path, recorder, clock)
    await first.ask(question("old", asked=9_000.0, expires=9_900.0), DESCRIPTION)
    await first.ask(question("young", asked=10_000.0, expires=10_900.0), DESCRIPTION)
    second = make_desk(tmp_path, Recorder(), Clock(5_000.0), monotonic=lambda: 0.0)
    await second.restore()
    for entry in recorder.entries:
        second.replay(entry)
    await second.sweep()

    assert second.now() >= 10_000.0
    assert [one.id for one in second.list_open()] == ["young"]


async def test_ten_thousand_open_questions_leave_calls_their_turn(tmp_path: Path):
    desk = make_desk(tmp_path, Recorder(), Clock())
    for number in range(600):
        desk._register.index.put(state.ask(question(f"q{number}", task=f"t{number}")))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    before = turns
    await desk.sweep()
    counting.cancel()

    assert turns - before >= 2
    assert desk._register._locks == {}
