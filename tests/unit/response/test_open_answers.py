"""Answers under way at the end of their lease: which are cut, which finish, and what a race leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.errors import CredentialEnded, UpstreamBroken
from gateway.model.caller import AuthMethod, Principal
from gateway.model.wire import UpstreamReply
from gateway.response.open_answers import ADVERSE, OpenAnswer, OpenAnswers
from gateway.response.stream import Ending, Relay

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


class Relayed:
    """A relay over a silent upstream, with what became of it."""

    def __init__(self, *chunks: bytes, idle: bool = False) -> None:
        self.upstream = Silent(*chunks)
        self.endings: list[Ending] = []
        self.told: list[str] = []
        self.relay = Relay(self.upstream.reply(), headers=(), on_end=self.settle, idle=idle, on_broken=self.broken_off)

    async def settle(self, ending: Ending) -> None:
        self.endings.append(ending)

    def broken_off(self, error: Any, begun: bool) -> bytes:  # noqa: FBT001 - as `Relay` asks
        self.told.append(error.code)
        return b"last words"

    async def read(self) -> list[bytes]:
        try:
            return [chunk async for chunk in self.relay]
        finally:
            await self.relay.close()


def entered(answers: OpenAnswers, principal: Principal = ANN, **more: Any) -> OpenAnswer:
    return answers.enter(principal, more.get("lease", "l1"), more.get("task", "t1"), is_idle=more.get("is_idle", False))


def lease(identifier: str = "l1") -> Any:
    class Ending:
        id = identifier

    return Ending()


async def test_a_cut_answer_ends_with_words_for_its_client_and_counts_as_cancelled():
    answers, relayed = OpenAnswers(), Relayed(b"first")
    entered(answers).follow(relayed.relay)
    reading = asyncio.ensure_future(relayed.read())
    await asyncio.sleep(0)

    answers.end_lease(lease(), "signal")

    assert await reading == [b"first", b"last words"]
    assert relayed.told == ["credential/ended"]
    assert [ending.ended for ending in relayed.endings] == ["cancelled"]
    assert (relayed.upstream.closes, len(answers)) == (1, 0)


async def test_a_stream_for_news_ends_without_words():
    answers, relayed = OpenAnswers(on_completed="finish"), Relayed(idle=True)
    entered(answers, is_idle=True).follow(relayed.relay)
    reading = asyncio.ensure_future(relayed.read())
    await asyncio.sleep(0)

    answers.end_lease(lease(), "lease-expired")

    assert await reading == []
    assert relayed.told == []
    assert [ending.ended for ending in relayed.endings] == ["cancelled"]


async def test_an_answer_that_is_not_being_read_is_cut_too():
    answers, relayed = OpenAnswers(), Relayed(b"first", b"second")
    entered(answers).follow(relayed.relay)
    assert await anext(relayed.relay) == b"first"

    answers.end_lease(lease(), "operator")
    await asyncio.sleep(0)

    assert relayed.upstream.closed.is_set()
    assert await relayed.read() == [b"last words"]
    assert relayed.endings[0].ended == "cancelled"


async def test_a_request_without_an_answer_yet_is_cut():
    answers = OpenAnswers()
    answer = entered(answers)
    sending = asyncio.ensure_future(answer.sending(asyncio.Event().wait()))
    await asyncio.sleep(0)

    answers.end_lease(lease(), "signal")

    with pytest.raises(CredentialEnded):
        await sending


async def test_a_client_that_leaves_is_no_cut():
    answer = entered(OpenAnswers())
    sending = asyncio.ensure_future(answer.sending(asyncio.Event().wait()))
    await asyncio.sleep(0)
    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_client_that_leaves_in_the_turn_of_the_cut_stays_gone():
    answer = entered(OpenAnswers())
    sending = asyncio.ensure_future(answer.sending(asyncio.Event().wait()))
    await asyncio.sleep(0)
    answer.cut()
    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_an_answer_that_begins_in_the_turn_of_the_cut_is_not_passed_on():
    answer, begun = entered(OpenAnswers()), asyncio.get_running_loop().create_future()
    sending = asyncio.ensure_future(answer.sending(begun))
    await asyncio.sleep(0)
    begun.set_result("reply")
    answer.cut()

    with pytest.raises(CredentialEnded):
        await sending


@pytest.mark.parametrize("cause", ["task-completed", "task-cancelled", "task-expired", "lease-expired", "upstream-401"])
async def test_a_planned_end_lets_a_call_finish_for_a_while(cause: Any):
    answers, relayed = OpenAnswers(grace=0.0), Relayed(b"first")
    entered(answers).follow(relayed.relay)

    answers.end_lease(lease(), cause)

    assert not relayed.upstream.closed.is_set()
    assert await relayed.read() == [b"first", b"last words"]
    assert relayed.endings[0].ended == "cancelled"


async def test_an_answer_that_finishes_in_time_is_not_cut():
    answers, relayed = OpenAnswers(grace=60.0), Relayed(b"first")
    answer = entered(answers)
    answer.follow(relayed.relay)
    answers.end_lease(lease(), "task-completed")
    await relayed.relay.close()

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
