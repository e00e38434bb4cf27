from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.authority.signals.polling import Verifier
from gateway.authority.signals.watch import StreamWatch

EVERY = 300.0


@dataclass
class Quiet:
    """A transmitter that takes questions. `problem` is its answer to them."""

    problem: str | None = None
    asked: list[str] = field(default_factory=list[str])

    async def ask_verification(self, state: str) -> str | None:
        self.asked.append(state)
        return self.problem


@dataclass
class Watched:
    """A watched stream in a test. `ends` counts the silences that were told of."""

    transmitter: Quiet = field(default_factory=Quiet)
    now: float = 1000.0
    ends: int = 0

    def __post_init__(self) -> None:
        self.watch = StreamWatch(EVERY, self.now)
        self.verifier = Verifier(
            self.transmitter,  # pyright: ignore[reportArgumentType] - as a transmitter
            "idp",
            self.watch,
            clock=lambda: self.now,
            new_state=lambda: f"state-{len(self.transmitter.asked)}",
            on_silence=self._end,
        )

    async def _end(self) -> None:
        self.ends += 1

    async def later(self, seconds: float) -> None:
        self.now += seconds
        await self.verifier.look()


async def test_a_stream_that_answers_is_never_silent():
    here = Watched()
    await here.later(0)
    for _ in range(5):
        assert here.watch.note_verified(here.transmitter.asked[-1], here.now + 1) == pytest.approx(1)
        here.watch.note_event(here.now + 1)
        await here.later(EVERY)

    assert (here.ends, here.watch.is_silent, len(here.transmitter.asked)) == (0, False, 6)


@pytest.mark.parametrize("problem", [None, "the transmitter answered 503"])
async def test_a_question_without_any_event_until_the_next_one_is_a_silence(problem: str | None):
    here = Watched(Quiet(problem))
    await here.later(0)
    await here.later(EVERY - 1)
    assert (here.ends, len(here.transmitter.asked)) == (0, 1)
    await here.later(1)
    assert (here.ends, here.watch.is_silent, len(here.transmitter.asked)) == (1, True, 2)
    await here.later(1)
    assert here.ends == 1
    await here.later(EVERY)
    assert here.ends == 2, "each missed question is told of"

    assert here.watch.note_event(here.now)
    assert not here.watch.is_silent
    assert not here.watch.note_event(here.now)
    await here.later(EVERY)
    assert here.ends == 2


async def test_any_event_proves_that_the_stream_works():
    here = Watched()
    await here.later(0)
    here.watch.note_event(here.now + 10)
    await here.later(EVERY)

    assert here.ends == 0


async def test_a_clock_that_is_set_back_asks_again_and_a_leap_forward_is_no_silence_for_ever():
    here = Watched()
    await here.later(0)
    await here.later(-3600)
    assert len(here.transmitter.asked) == 2
    here.watch.note_event(here.now)
    await here.later(EVERY)
    assert here.ends == 0


def test_a_stream_without_questions_is_never_due_and_never_silent():
    watch = StreamWatch(None, 0.0)

    assert not watch.is_due(1e9)
    assert not watch.falls_silent(1e9)


def test_questions_that_are_never_answered_are_bounded():
    watch = StreamWatch(EVERY, 0.0)
    for number in range(100):
        watch.note_question(f"q-{number}", float(number))

    assert not watch.is_waiting("q-0")
    assert watch.is_waiting("q-99")
    assert watch.note_verified("unknown", 1.0) is None
    assert watch.last_verified == 1.0


async def test_an_event_at_another_gateway_is_a_sign_of_life():
    here = Watched()
    await here.later(0)
    assert not here.watch.hear(here.now + 5, here.now + 5, here.transmitter.asked[-1], "enabled")
    assert not here.watch.is_waiting(here.transmitter.asked[-1])
    await here.later(EVERY)

    assert (here.ends, here.watch.is_silent, here.watch.status) == (0, False, "enabled")


async def test_an_event_at_another_gateway_before_a_question_does_not_answer_it():
    here = Watched()
    await here.later(0)
    assert not here.watch.hear(here.now - 5, None, None, "enabled")
    await here.later(EVERY)

    assert here.ends == 1


async def test_an_event_at_another_gateway_ends_a_silence_once():
    here = Watched()
    await here.later(0)
    await here.later(EVERY)
    assert here.watch.is_silent
    assert here.watch.hear(here.now + 1, None, None, "enabled")
    assert not here.watch.hear(here.now + 1, None, None, "enabled")
    assert not here.watch.is_silent
