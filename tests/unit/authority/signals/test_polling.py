from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.authority.signals.polling import LONGEST_PAUSE, Poller
from gateway.authority.signals.set import SetFault
from gateway.authority.signals.transmitter import Polled
from gateway.authority.signals.watch import StreamWatch
from gateway.model.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

FAULT = SetFault("invalid_audience", "aud does not name this receiver")


@dataclass
class Script:
    """A transmitter that plays answers, and keeps the questions."""

    answers: list[Polled | str]
    asked: list[tuple[list[str], list[str], bool]] = field(default_factory=list[Any])

    async def poll(self, taken: list[str], refused: Mapping[str, SetFault], *, wait: bool) -> Polled | str:
        self.asked.append((list(taken), list(refused), wait))
        return self.answers.pop(0)


@dataclass
class Polling:
    """A poller, and the pauses that it makes."""

    script: Script
    monkeypatch: pytest.MonkeyPatch
    is_broken: bool = False
    pauses: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.watch = StreamWatch(None, 0.0)
        self.poller = Poller(
            self.script,  # pyright: ignore[reportArgumentType] - as a transmitter
            "idp",
            self._take,
            self.watch,
            lambda: 0.0,
        )
        self.monkeypatch.setattr("gateway.authority.signals.polling.asyncio.sleep", self._pause)

    async def _take(self, token: bytes) -> SetFault | None:
        if self.is_broken:
            raise JournalError("the disk is full", "make room")
        return FAULT if token.startswith(b"bad") else None

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            await self.poller.step()


async def test_taken_events_are_acknowledged_and_refused_ones_named_with_the_next_poll(monkeypatch: pytest.MonkeyPatch):
    script = Script(
        [Polled({"a": "good", "b": "bad"}, has_more=True), Polled({}, has_more=False), Polled({}, has_more=False)]
    )
    here = Polling(script, monkeypatch)
    await here.run(3)

    assert script.asked == [([], [], True), (["a"], ["b"], False), ([], [], True)]
    assert here.pauses == [1.0], "an idle poll that came back at once waits"


async def test_an_event_that_cannot_be_recorded_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch):
    again = Polled({"a": "good"}, has_more=False)
    script = Script([again, again, Polled({}, has_more=False)])
    here = Polling(script, monkeypatch, is_broken=True)
    await here.run(1)
    assert here.watch.problem == "the disk is full"
    here.is_broken = False
    await here.run(2)

    assert [taken for taken, _, _ in script.asked] == [[], [], ["a"]]
    assert here.watch.problem is None


async def test_acknowledgements_survive_an_outage_and_the_pauses_are_bounded(monkeypatch: pytest.MonkeyPatch):
    script = Script([Polled({"a": "good"}, has_more=False), *["it answered 503"] * 12, Polled({}, has_more=False)])
    here = Polling(script, monkeypatch)
    await here.run(14)

    assert all(taken == ["a"] for taken, _, _ in script.asked[1:])
    assert max(here.pauses) <= LONGEST_PAUSE * 1.25
    assert sorted(here.pauses[:6]) == here.pauses[:6]
