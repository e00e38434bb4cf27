"""Channels at a real desk: once each, retries, digests, ends, restarts, and questions that reach nobody."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals import Desk
from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import NoticeMessage
from gateway.authority.approvals.channels.notifier import Notifier
from gateway.authority.approvals.channels.sender import ATTEMPTS, Timing, pause_before
from gateway.authority.approvals.model import Approval, Requester
from gateway.base.store.duty import Duty
from gateway.model.wire import JsonObject
from tests.unit.authority.approvals.making import BOB, DESCRIPTION, Recorder, make_desk, no, question, yes
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock

PAGE = "https://gateway.example/approvals"
DOWN = UndeliveredError("it is away")
GONE = UndeliveredError("it refuses", is_final=True)


@dataclass
class Scripted:
    """A channel that fails with `failures`, one for each attempt, and then delivers. With a `gate` it hangs."""

    name: str = "hook"
    place: str = "https://hooks.example"
    tells_end: bool = True
    failures: list[UndeliveredError | Exception] = field(default_factory=list[Any])
    always: UndeliveredError | None = None
    gate: asyncio.Event | None = None
    sent: list[NoticeMessage] = field(default_factory=list[NoticeMessage])
    attempts: int = 0

    async def send(self, message: NoticeMessage, within: float) -> None:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.always is not None:
            raise self.always
        self.sent.append(message)

    async def aclose(self) -> None:
        """Nothing is open."""

    @property
    def kinds(self) -> list[str]:
        return [message.kind for message in self.sent]


@dataclass
class Sleeps:
    """Time of the retries: it passes when nothing else is left to do."""

    now: float = 0.0
    waiting: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list[Any])
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self.waiting, (self.now + seconds, next(self.numbers), future))
        await future

    async def pass_until(self, at: float) -> None:
        await settle()
        while self.waiting and self.waiting[0][0] <= at:
            self.now, _, future = heapq.heappop(self.waiting)
            if not future.done():
                future.set_result(None)
            await settle()
        self.now = max(self.now, at)


async def settle() -> None:
    """Let all tasks and threads that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0.001)


@dataclass
class Stage:
    desk: Desk
    recorder: Recorder
    sleeps: Sleeps
    clock: Clock


@asynccontextmanager
async def telling(
    folder: Path, *channels: Scripted, watched: bool = False, desk: Desk | None = None, recorder: Recorder | None = None
) -> AsyncGenerator[Stage]:
    recorder, clock, sleeps = recorder or Recorder(), Clock(), Sleeps()
    desk = desk or make_desk(folder, recorder, clock)
    timing = Timing(sleeps.clock, sleeps.sleep, lambda: 1.0, attempt=0.2)
    duty = Duty(sealed_store(folder), "messages", None)
    notifier = Notifier(desk, channels, PAGE, timing, duty, has_watchers=watched)
    notifier.start()
    await notifier.look()
    try:
        yield Stage(desk, recorder, sleeps, clock)
    finally:
        await notifier.stop()


async def ask(desk: Desk, identifier: str = "q1", **changes: Any) -> Approval:
    asked = await desk.ask(question(identifier, **changes), DESCRIPTION)
    assert isinstance(asked, Approval)
    return asked


def deliveries(recorder: Recorder, event: str = "sent") -> list[tuple[str, str, str]]:
    return [(entry["id"], entry[event][0], entry["notice"]) for entry in recorder.entries if entry["event"] == event]


async def test_each_channel_is_told_once_and_of_the_end(tmp_path: Path):
    hook, mail = Scripted(), Scripted("mail", tells_end=False)
    async with telling(tmp_path, hook, mail) as there:
        same = [there.desk.ask(question(f"q{number}", call="sha256:same"), DESCRIPTION) for number in range(100)]
        ((first, *_),) = [await asyncio.gather(*same)]
        assert isinstance(first, Approval)
        await settle()
        assert (hook.kinds, mail.kinds) == (["asked"], ["asked"])
        await there.desk.vote(first.id, yes(), first.question.shown)
        await settle()
        await there.desk.claim(first.id, "d2")
        await there.desk.use(first.id, "d2")
        await settle()

    assert (hook.kinds, mail.kinds) == (["asked", "closed"], ["asked"])
    assert sorted(deliveries(there.recorder)) == [
        (first.id, "hook", "asked"),
        (first.id, "hook", "closed"),
        (first.id, "mail", "asked"),
    ]


async def test_a_retry_has_the_same_id_and_longer_pauses(tmp_path: Path):
    hook = Scripted(failures=[DOWN, UndeliveredError("busy", after=30.0), DOWN])
    async with telling(tmp_path, hook, watched=True) as there:
        await ask(there.desk)
        await settle()
        attempts = [hook.attempts]
        for at in (1.0, 30.9, 31.0, 35.0):
            await there.sleeps.pass_until(at)
            attempts.append(hook.attempts)

    assert attempts == [1, 2, 2, 3, 4]
    assert hook.kinds == ["asked"]
    assert [pause_before(number, 1.0) for number in (1, 2, 3, 8)] == [1.0, 2.0, 4.0, 60.0]
    assert pause_before(1, 0.0) == 0.5


async def test_a_question_in_line_is_told_when_its_turn_comes(tmp_path: Path):
    hook = Scripted()
    async with telling(tmp_path, hook) as there:
        for number in range(7):
            await ask(there.desk, f"q{number}")
        await settle()
        await there.sleeps.pass_until(60.0)
        before = {item.id for message in hook.sent for item in message.items}
        await there.desk.vote("q0", yes(), "sha256:shown-q0")
        await settle()
        await there.sleeps.pass_until(120.0)
        asked = [item.id for message in hook.sent for item in message.items if item.notice == "asked"]

    assert before == {f"q{number}" for number in range(5)}
    assert sorted(asked) == [f"q{number}" for number in range(6)]


async def test_a_hanging_channel_holds_up_no_other(tmp_path: Path):
    hanging, hook = Scripted("hanging", gate=asyncio.Event()), Scripted()
    async with telling(tmp_path, hanging, hook) as there:
        for number in range(9):
            await ask(there.desk, f"q{number}", task=f"t{number}", requester=Requester(f"k{number}", "agent", "x"))
        await settle()
        assert len(hook.sent) == 9
        assert hanging.attempts == 4


async def test_a_question_that_reaches_nobody_is_told_at_once_and_mended(tmp_path: Path):
    hook, mail = Scripted(always=DOWN), Scripted("mail", failures=[DOWN])
    async with telling(tmp_path, hook, mail) as there:
        asked = await ask(there.desk)
        waiting = asyncio.create_task(there.desk.wait(asked.id, 900.0))
        await settle()
        assert waiting.done()
        assert there.desk.is_unreached(asked.id)
        assert (await there.desk.wait(asked.id, 900.0)) == there.desk.get(asked.id)
        await there.sleeps.pass_until(1.0)
        assert not there.desk.is_unreached(asked.id)
        voted = await there.desk.vote(asked.id, yes(), asked.question.shown)

    assert isinstance(voted, Approval)
    assert voted.state == "granted"


@pytest.mark.parametrize("failures", [(GONE, GONE), (GONE, DOWN), (DOWN, DOWN)])
async def test_a_question_that_all_channels_gave_up_ends(tmp_path: Path, failures: tuple[UndeliveredError, ...]):
    channels = [Scripted(f"channel-{number}", always=failure) for number, failure in enumerate(failures)]
    async with telling(tmp_path, *channels) as there:
        asked = await ask(there.desk)
        await settle()
        await there.sleeps.pass_until(600.0)
        found = there.desk.find(asked.question.call)
        assert found is not None
        assert found.state == "unreachable"
        attempts = [channel.attempts for channel in channels]
        events = [event for event in there.recorder.events if event != "unsent"]
        assert there.recorder.events.count("unsent") == 2
        there.desk.note_told(found)
        again = await ask(there.desk, "q2", call=asked.question.call)

    assert again.id == "q2"
    assert events == ["asked", "unreachable"]
    assert attempts == [1 if failure is GONE else ATTEMPTS for failure in failures]


async def test_people_who_look_by_themselves_can_always_answer(tmp_path: Path):
    hook = Scripted(always=GONE)
    async with telling(tmp_path, hook, watched=True) as there:
        asked = await ask(there.desk)
        await settle()
        assert not there.desk.is_unreached(asked.id)
        assert [one.state for one in there.desk.list_open()] == ["pending"]
    assert deliveries(there.recorder, "unsent") == [("q1", "hook", "asked")]


async def test_a_flood_is_a_few_messages_and_one_digest(tmp_path: Path):
    hook = Scripted()
    async with telling(tmp_path, hook) as there:
        refused = 0
        for number in range(10_000):
            asked = await there.desk.ask(question(f"q{number}"), DESCRIPTION)
            refused += not isinstance(asked, Approval)
            if number < 5:
                await settle()
        await there.sleeps.pass_until(600.0)

    assert refused == 9_900
    assert hook.kinds == ["asked", "asked", "asked", "digest"]
    assert [item.id for item in hook.sent[-1].items] == ["q3", "q4"]


async def test_many_tasks_of_one_caller_share_its_pace(tmp_path: Path):
    hook = Scripted()
    async with telling(tmp_path, hook) as there:
        for number in range(100):
            await ask(there.desk, f"q{number}", task=f"t{number}")
            await asyncio.sleep(0)
        await there.sleeps.pass_until(600.0)

    assert len(hook.sent) <= 4
    assert {item.id for message in hook.sent for item in message.items} == {f"q{number}" for number in range(100)}


async def test_a_question_that_ended_before_its_message_is_not_told(tmp_path: Path):
    hook = Scripted()
    async with telling(tmp_path, hook) as there:
        for number in range(5):
            await ask(there.desk, f"q{number}")
            await settle()
        await there.desk.vote("q4", no(), "sha256:shown-q4")
        await there.sleeps.pass_until(600.0)

    assert [item.id for message in hook.sent for item in message.items] == ["q0", "q1", "q2", "q3"]


async def test_an_end_during_the_delivery_is_told_after_it(tmp_path: Path):
    hook = Scripted(gate=asyncio.Event())
    async with telling(tmp_path, hook) as there:
        asked = await ask(there.desk)
        await settle()
        await there.desk.vote(asked.id, no(), asked.question.shown)
        assert hook.gate is not None
        hook.gate.set()
        await settle()

    assert hook.kinds == ["asked", "closed"]


@dataclass
class SlowRecorder(Recorder):
    """A journal whose disk takes the entry of a told end only when the test says so."""

    written: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, kind: str, fields: JsonObject) -> None:
        if fields.get("notice") == "closed":
            await self.written.wait()
        await super().append(kind, fields)


async def test_a_use_while_the_told_end_is_recorded_tells_it_no_second_time(tmp_path: Path):
    hook, recorder = Scripted(), SlowRecorder()
    async with telling(tmp_path, hook, recorder=recorder) as there:
        asked = await ask(there.desk)
        await settle()
        await there.desk.vote(asked.id, yes(BOB), asked.question.shown)
        await settle()
        assert await there.desk.claim(asked.id, "d1")
        await there.desk.use(asked.id, "d1")
        recorder.written.set()
        await there.sleeps.pass_until(600.0)

    assert hook.kinds == ["asked", "closed"]
    assert [kind for _, _, kind in deliveries(there.recorder)] == ["asked", "closed"]


async def test_after_a_restart_the_rest_is_sent_and_nothing_twice(tmp_path: Path):
    recorder, away = Recorder(), Scripted("mail", always=DOWN)
    first = Scripted()
    async with telling(tmp_path, first, away, recorder=recorder) as there:
        for number in range(3):
            await ask(there.desk, f"q{number}")
            await settle()
    # The gateway was killed. Two questions end before the channels start again.
    second = make_desk(tmp_path, recorder, there.clock)
    await second.restore()
    for entry in tuple(recorder.entries):
        second.replay(entry)
    await second.vote("q0", no(), "sha256:shown-q0")
    hook, mail = Scripted(), Scripted("mail")
    async with telling(tmp_path, hook, mail, desk=second, recorder=recorder):
        await settle()
    async with telling(tmp_path, hook, mail, desk=second, recorder=recorder):
        await settle()

    assert first.kinds == ["asked", "asked", "asked"]
    assert [(message.kind, len(message.items)) for message in mail.sent] == [("digest", 2)]
    assert hook.kinds == ["closed"]


async def test_a_defect_of_a_channel_is_a_failure_of_it(tmp_path: Path):
    hook = Scripted(failures=[ZeroDivisionError()])
    async with telling(tmp_path, hook) as there:
        asked = await ask(there.desk)
        await settle()
        assert there.desk.is_unreached(asked.id)
        await there.sleeps.pass_until(1.0)
    assert hook.kinds == ["asked"]


async def test_a_delivery_that_cannot_be_recorded_is_not_repeated_now(tmp_path: Path):
    gate = asyncio.Event()
    hook = Scripted(gate=gate)
    async with telling(tmp_path, hook) as there:
        asked = await ask(there.desk)
        there.recorder.failing = True
        gate.set()
        await settle()
        there.recorder.failing = False
        await there.sleeps.pass_until(600.0)
        assert not there.desk.is_unreached(asked.id)
        await there.desk.vote(asked.id, yes(BOB), asked.question.shown)
    assert hook.kinds == ["asked"]
    assert deliveries(there.recorder) == []
