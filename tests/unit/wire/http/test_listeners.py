"""Who hears of changed lists, when, and after whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.wire.http import exchange as listeners
from gateway.wire.http.exchange import Listeners


class Reader:
    """A stream, and what keeps it alive, as far as they matter here."""

    def __init__(self, crowd: Crowd, announcement: bytes) -> None:
        self.announcement = announcement
        self._crowd = crowd

    def announce(self, events: bytes) -> None:
        assert events == self.announcement
        self._crowd.told.append(events)
        self._crowd.news.set()


class Crowd:
    """Readers that are each told something of their own, and what they were told so far, in order."""

    def __init__(self, *announcements: bytes) -> None:
        self.told: list[bytes] = []
        self.news = asyncio.Event()
        self.listeners = Listeners()
        self._readers: dict[bytes, Any] = {}
        for announcement in announcements:
            self.comes(announcement)

    def comes(self, announcement: bytes) -> None:
        reader: Any = Reader(self, announcement)
        self._readers[announcement] = reader
        self.listeners.add(reader, reader)

    def leaves(self, announcement: bytes) -> None:
        self.listeners.remove(self._readers.pop(announcement))

    async def until(self, holds: Callable[[list[bytes]], bool]) -> None:
        while not holds(self.told):
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 300)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets how many seconds lie between two that are told, and within how many all are."""

    def set_to(seconds: float, within: float) -> None:
        monkeypatch.setattr(listeners, "_APART_SECONDS", seconds)
        monkeypatch.setattr(listeners, "_SPREAD_SECONDS", within)

    return set_to


async def test_they_are_told_one_after_another(apart: Callable[[float, float], None]):
    apart(3600, 7200)
    crowd = Crowd(b"1", b"2")
    crowd.listeners.announce()
    for _ in range(5):
        await asyncio.sleep(0)

    assert crowd.told == [b"1"]


async def test_all_are_told_within_a_time_however_many_they_are(apart: Callable[[float, float], None]):
    apart(3600, 0.01)
    crowd = Crowd(b"1", b"2", b"3", b"4")
    crowd.listeners.announce()
    await crowd.until(lambda told: len(told) == 4)

    assert crowd.told == [b"1", b"2", b"3", b"4"]


async def test_a_stream_on_which_there_is_nothing_to_say_takes_no_time(apart: Callable[[float, float], None]):
    apart(3600, 7200)
    crowd = Crowd(b"", b"2")
    crowd.listeners.announce()

    assert crowd.told == [b"2"]


async def test_who_is_still_to_be_told_keeps_its_turn_when_there_is_another_change(
    apart: Callable[[float, float], None],
):
    apart(0.01, 60)
    crowd = Crowd(b"1", b"2", b"3")
    crowd.listeners.announce()
    crowd.listeners.announce()
    await crowd.until(lambda told: told.count(b"1") == 2)

    assert crowd.told == [b"1", b"2", b"3", b"1"]


async def test_who_leaves_before_its_turn_is_not_told_and_those_after_it_are(apart: Callable[[float, float], None]):
    apart(0.01, 60)
    crowd = Crowd(b"1", b"2", b"3")
    crowd.listeners.announce()
    crowd.leaves(b"2")
    await crowd.until(lambda told: b"3" in told)

    assert crowd.told == [b"1", b"3"]


async def test_a_change_after_all_have_left_is_told_to_those_who_came_since(apart: Callable[[float, float], None]):
    apart(0.01, 60)
    crowd = Crowd(b"1", b"2")
    crowd.listeners.announce()
    crowd.leaves(b"1")
    crowd.leaves(b"2")
    crowd.comes(b"later")
    crowd.listeners.announce()
    await crowd.until(lambda told: b"later" in told)

    assert crowd.told == [b"1", b"later"]
