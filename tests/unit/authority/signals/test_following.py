"""Signals of other gateways on the same records: an end is one everywhere, and what one gateway forgets, all forget."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.authority.signals.receiver import SignalReceiver, SignalStream
from gateway.authority.signals.register import Effect, Signal, SignalRegister
from gateway.authority.signals.set import SSF, SecurityEvent, SetRules
from gateway.authority.signals.store import SignalStore, StoredEvent
from gateway.authority.signals.subjects import SignalSubject
from gateway.authority.signals.watch import StreamWatch
from tests.unit.base.store.keeping import sealed_store

ISSUER = "https://idp.example"


@dataclass
class Following:
    """A receiver of one gateway. `ended` and `noted` are the signals that it acted on."""

    folder: Path
    ended: list[Signal] = field(default_factory=list[Signal])
    noted: list[Signal] = field(default_factory=list[Signal])

    def __post_init__(self) -> None:
        self.register, self.store = SignalRegister(), SignalStore(sealed_store(self.folder, clock=lambda: 1_000.0))
        self.receiver = SignalReceiver(
            self.register,
            self.store,
            self._append,
            lambda: 1_000.0,
            on_end=self.ended.append,
            on_note=self.noted.append,
        )

    async def take(self, signal: Signal) -> None:
        """Keep a signal as the receiver does."""
        self.register.put(signal)
        await self.store.note(StoredEvent(f"{signal.id} {signal.at}", "a"), 1_000.0, put=signal)

    async def _append(self, _kind: str, _fields: Any) -> None:
        """Record an entry nowhere."""


def signal(effect: Effect = "end", at: float = 900.0, *, is_open: bool = True) -> Signal:
    return Signal("idp", frozenset({ISSUER}), SignalSubject(), "session-revoked", at, effect, is_open=is_open)


async def test_an_end_at_one_gateway_ends_the_login_at_each_after_a_look(tmp_path: Path):
    one, other = Following(tmp_path), Following(tmp_path)
    await one.take(signal())
    await one.receiver.follow()
    await other.receiver.follow()
    await other.receiver.follow()

    assert other.register.get(signal().id) == signal()
    assert (other.ended, other.noted) == ([signal()], [])
    assert one.ended == [], "the own signal is no news"


async def test_a_later_event_counts_and_an_earlier_one_does_not_come_back(tmp_path: Path):
    one, other = Following(tmp_path), Following(tmp_path)
    await one.take(signal("note"))
    await other.receiver.follow()
    await one.take(signal("note", 950.0, is_open=False))
    other.register.put(signal("note", 970.0))
    await other.receiver.follow()
    assert other.register.get(signal("note").id) == signal("note", 970.0)
    await one.take(signal("note", 990.0))
    await other.receiver.follow()

    assert other.register.get(signal("note").id) == signal("note", 990.0)
    assert other.noted == [signal("note"), signal("note", 990.0)]


async def test_a_signal_that_one_gateway_forgets_is_forgotten_by_each(tmp_path: Path):
    one, other = Following(tmp_path), Following(tmp_path)
    await one.take(signal())
    await other.receiver.follow()
    await other.receiver.forget(signal().id)
    await other.receiver.follow()
    assert len(one.register) == 1
    await one.receiver.follow()

    assert (len(one.register), len(other.register)) == (0, 0)


async def test_an_end_that_could_not_be_written_stays_in_force(tmp_path: Path):
    there = Following(tmp_path)
    there.register.put(signal())

    await there.receiver.follow()
    assert there.register.get(signal().id) == signal()


async def test_an_event_at_one_gateway_is_a_sign_of_life_of_its_stream_at_each(tmp_path: Path):
    one, other = Following(tmp_path), Following(tmp_path)
    rules = SetRules(ISSUER, frozenset({"https://gateway.example/ssf/idp"}))
    streams = [SignalStream("idp", rules, frozenset({ISSUER}), {}, StreamWatch(300.0, 900.0)) for _ in range(2)]
    await other.receiver.follow_streams({"idp": streams[1]})
    streams[0].watch.note_question("mine", 950.0)
    event = SecurityEvent("jti-1", 990.0, f"{SSF}verification", {"state": "mine"})

    assert await one.receiver.take(streams[0], event, b"token") is None
    await other.receiver.follow_streams({"idp": streams[1]})

    assert (streams[1].watch.last_event, streams[1].watch.last_verified) == (1_000.0, 1_000.0)
    assert streams[1].watch.last_state == "mine"
