"""Writes of one turn are one write, and nothing is lost, reordered or held back too long."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.transport.write_coalescing import CoalescingTransport


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def write(self, data: Any) -> None:
        self.calls.append(bytes(data))

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.calls

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def get_write_buffer_size(self) -> int:
        return 7

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": "somebody"}.get(name, default)


async def test_what_is_written_in_one_turn_is_written_once_at_its_end():
    wire = Wire()
    found = CoalescingTransport(wire)
    found.write(b"head")
    found.write(b"")
    found.writelines([b"bo", bytearray(b"dy")])
    assert wire.calls == []
    assert found.get_write_buffer_size() == 7 + 8
    await asyncio.sleep(0)
    assert wire.calls == [b"headbody"]
    found.write(b"next")
    await asyncio.sleep(0)
    assert wire.calls == [b"headbody", b"next"]
    assert found.get_write_buffer_size() == 7


async def test_nothing_is_held_back_beyond_a_bound_and_the_order_stays():
    wire = Wire()
    found = CoalescingTransport(wire)
    found.write(b"a" * 40_000)
    found.write(b"b" * 40_000)
    found.write(b"c")
    assert wire.calls == [b"a" * 40_000 + b"b" * 40_000]
    await asyncio.sleep(0)
    assert wire.calls[1:] == [b"c"]
    await asyncio.sleep(0)
    assert len(wire.calls) == 2


async def test_closing_writes_first_what_is_held_back():
    wire = Wire()
    found = CoalescingTransport(wire)
    found.write(b"last words")
    found.close()
    await asyncio.sleep(0)

    assert wire.calls == [b"last words", "close"]
    assert found.is_closing()


async def test_aborting_drops_what_is_held_back():
    wire = Wire()
    found = CoalescingTransport(wire)
    found.write(b"last words")
    found.abort()
    await asyncio.sleep(0)

    assert wire.calls == ["abort"]
    assert found.get_write_buffer_size() == 7


async def test_the_rest_is_asked_of_the_transport():
    wire = Wire()
    found = CoalescingTransport(wire)
    found.pause_reading()
    found.resume_reading()

    assert wire.calls == ["pause", "resume"]
    assert (found.get_extra_info("peername"), found.get_extra_info("socket", 1)) == ("somebody", 1)
    assert found.is_reading()
    assert not found.is_closing()
