"""Answers under way at the end of their lease: which are cut, which finish, and what a race leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.calls.response.frames import begin_frames
from gateway.calls.response.open_answers import ADVERSE, OpenAnswer, OpenAnswers
from gateway.calls.response.stream import ResponseStream, Stages, StreamEnd
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import CredentialEnded, UpstreamBroken
from gateway.model.wire import UpstreamReply

ANN = Principal(id="ann", issuer="https://idp.example", method=AuthMethod.JWT)
BOB = Principal(id="bob", issuer="https://idp.example", method=AuthMethod.JWT)


class Silent:
    """An upstream whose answer has one chunk, and then nothing until it is closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.left = list(chunks)
        self.closed = asyncio.Event()
        self.closes = 0

    def reply(self) -> UpstreamReply:
        return UpstreamReply(200, ((b"content-type", b"text/event-stream"),), self, self.close)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.left:
            return self.left.pop(0)
        await self.closed.wait()
        raise UpstreamBroken("the exchange was given up")

    async def close(self) -> None:
        self.closes += 1
        self.closed.set()


class Streamed:
    """A stream over a silent upstream, with what became of it."""

    def __init__(self, *chunks: bytes, idle: bool = False) -> None:
        self.upstream = Silent(*chunks)
        self.endings: list[StreamEnd] = []
        self.told: list[str] = []
        stages = Stages(begin_frames("text", 0, may_pass_unseen=True), (), fail=self.fail)
        self.stream = ResponseStream(self.upstream.reply(), (), stages, self, idle=idle)

    def on_sent(self) -> None:
        """Do nothing."""

    async def settle(self, end: StreamEnd, /) -> None:
        self.endings.append(end)

    def fail(self, error: Any, *, begun: bool) -> bytes:
        self.told.append(error.code)
        return b"last words"

    async def read(self) -> list[bytes]:
        try:
            return [chunk async for chunk in self.stream]
        finally:
            await self.stream.close()


def entered(answers: OpenAnswers, principal: Principal = ANN, **more: Any) -> OpenAnswer:
    lease, task = more.get("lease", "l1"), more.get("task", "t1")
    return answers.enter(principal, "files", lease, task, is_lent=True, is_idle=more.get("is_idle", False))


def lease(identifier: str = "l1") -> Any:
    class Ending:
        id = identifier

    return Ending()


async def test_a_cut_answer_ends_with_words_for_its_client_and_counts_as_cancelled():
    answers, streamed = OpenAnswers(), Streamed(b"first")
    entered(answers).follow(streamed.stream)
    reading = asyncio.ensure_future(streamed.read())
    await asyncio.sleep(0)

    answers.end_lease(lease(), "signal")

    assert await reading == [b"first", b"last words"]
    assert streamed.told == ["credential/ended"]
    assert [ending.ended for ending in streamed.endings] == ["cancelled"]
    assert (streamed.upstream.closes, len(answers)) == (1, 0)


async def test_a_stream_for_news_ends_without_words():
    answers, streamed = OpenAnswers(on_completed="finish"), Streamed(idle=True)
    entered(answers, is_idle=True).follow(streamed.stream)
    reading = asyncio.ensure_future(streamed.read())
    await asyncio.sleep(0)

    answers.end_lease(lease(), "lease-expired")

    assert await reading == []
    assert streamed.told == []
    assert [ending.ended for ending in streamed.endings] == ["cancelled"]


async def test_an_answer_that_is_not_being_read_is_cut_too():
    answers, streamed = OpenAnswers(), Streamed(b"first", b"second")
    entered(answers).follow(streamed.stream)
    assert await anext(streamed.stream) == b"first"

    answers.end_lease(lease(), "operator")
    await asyncio.sleep(0)

    assert streamed.upstream.closed.is_set()
    assert await streamed.read() == [b"last words"]
    assert streamed.endings[0].ended == "cancelled"


async def test_a_request_without_an_answer_yet_is_cut():
    answers = OpenAnswers()
    answer = entered(answers)
    sending = asyncio.ensure_future(answer.send(asyncio.Event().wait()))
    await asyncio.sleep(0)

    answers.end_lease(lease(), "signal")

    with pytest.raises(CredentialEnded):
        await sending


async def test_a_client_that_leaves_is_no_cut():
    answer = entered(OpenAnswers())
    sending = asyncio.ensure_future(answer.send(asyncio.Event().wait()))
    await asyncio.sleep(0)
    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_client_that_leaves_in_the_turn_of_the_cut_stays_gone():
    answer = entered(OpenAnswers())
    sending = asyncio.ensure_future(answer.send(asyncio.Event().wait()))
    await asyncio.sleep(0)
    answer.cut()
    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_an_answer_that_begins_in_the_turn_of_the_cut_is_not_passed_on():
    answer, begun = entered(OpenAnswers()), asyncio.get_running_loop().create_future()
    sending = asyncio.ensure_future(answer.send(begun))
    await asyncio.sleep(0)
    begun.set_result("reply")
    answer.cut()

    with pytest.raises(CredentialEnded):
        await sending


@pytest.mark.parametrize("cause", ["task-completed", "task-cancelled", "task-expired", "lease-expired", "upstream-401"])
async def test_a_planned_end_lets_a_call_finish_for_a_while(cause: Any):
    answers, streamed = OpenAnswers(grace=0.0), Streamed(b"first")
    entered(answers).follow(streamed.stream)

    answers.end_lease(lease(), cause)

    assert not streamed.upstream.closed.is_set()
    assert await streamed.read() == [b"first", b"last words"]
    assert streamed.endings[0].ended == "cancelled"


async def test_an_answer_that_finishes_in_time_is_not_cut():
    answers, streamed = OpenAnswers(grace=60.0), Streamed(b"first")
    answer = entered(answers)
    answer.follow(streamed.stream)
    answers.end_lease(lease(), "task-completed")
    await streamed.stream.close()

    assert not answer.is_cut
    assert len(answers) == 0


@pytest.mark.parametrize("cause", sorted(ADVERSE))
async def test_a_right_that_is_taken_away_cuts(cause: Any):
    answers = OpenAnswers()
    answer = entered(answers)
    answers.end_lease(lease(), cause)

    assert answer.is_cut


def _of_task(answers: OpenAnswers) -> None:
    answers.end_task("t1", "completed")


def _of_lease(answers: OpenAnswers) -> None:
    answers.end_lease(lease("l1"), "operator")


def _of_callers(answers: OpenAnswers) -> None:
    answers.end_callers(lambda principal: principal.id == "ann")


@pytest.mark.parametrize(
    ("end", "more"),
    [
        (_of_task, {"lease": None, "task": "t2"}),
        (_of_task, {"lease": "l1", "task": "t1"}),
        (_of_lease, {"lease": "l2"}),
        (_of_lease, {"lease": None}),
        (_of_callers, {"principal": BOB}),
    ],
)
async def test_another_answer_goes_on(end: Callable[[OpenAnswers], None], more: dict[str, Any]):
    answers = OpenAnswers(on_completed="cut")
    answer = entered(answers, **more)
    end(answers)

    assert not answer.is_cut


@pytest.mark.parametrize("end", [_of_task, _of_callers])
async def test_a_call_with_a_token_of_its_own_ends_with_its_task_or_its_login(end: Callable[[OpenAnswers], None]):
    answers = OpenAnswers(on_completed="cut")
    answer = entered(answers, lease=None)
    end(answers)

    assert answer.is_cut
