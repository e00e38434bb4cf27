"""How many requests and streams callers have at once, and what they take from one another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.model.decision import Refusal
from gateway.model.wire import UpstreamRequest
from gateway.wire.http.limits import RequestPlace, RequestPlaces
from tests.requirements import requirement
from tests.unit.harness import Answer, Back, Bench, Upstream, bench, call, modern

EVENTS = {"type": "text/event-stream"}


class Silent(Upstream):
    """Keeps each stream open until the test lets them all end."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.proceed = asyncio.Event()

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request in self.sent and request.method == "GET":
            self.open += 1
            await self.proceed.wait()
        return reply


async def opened(there: Bench, upstream: Silent, address: str, count: int) -> list[asyncio.Task[Answer]]:
    """Open streams for one caller, and wait until they are open."""
    before = upstream.open
    streams = [asyncio.create_task(there.ask(None, client_ip=address)) for _ in range(count)]
    while upstream.open < before + count:
        await asyncio.sleep(0)
    return streams


@requirement("operations/streams")
async def test_streams_that_wait_for_news_take_no_place_of_a_call(tmp_path: Path):
    upstream = Silent()
    upstream.script = lambda _request: Back(chunks=(b"data: {}\n\n",), type="text/event-stream")
    limits = "limits: {in_flight_per_caller: 1, streams_per_caller: 3}\n"
    async with bench(tmp_path, upstream, more=limits) as there:
        streams = await opened(there, upstream, "127.0.0.1", 3)

        assert (await there.ask(call())).status == 200
        one_more = await there.ask(None)
        assert (one_more.status, one_more.codes) == (429, ["limit/streams-per-caller"])
        listening = await there.ask(*modern("subscriptions/listen", notifications={}))
        assert (listening.status, listening.codes) == (429, ["limit/streams-per-caller"])
        assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["limit/streams-per-caller"] * 2
        assert (await there.ask(call())).status == 200, "a refused stream gives its place back"
        assert (await there.ask(None, client_ip="127.0.0.2", method="DELETE")).status == 200
        upstream.proceed.set()
        await asyncio.gather(*streams)
        assert (await there.ask(None)).status == 200, "what has ended is not counted"


@requirement("operations/streams")
async def test_all_streams_together_have_a_bound_and_calls_go_on(tmp_path: Path):
    upstream = Silent()
    limits = "limits: {in_flight_per_caller: 1, streams_per_caller: 2, streams: 4}\n"
    async with bench(tmp_path, upstream, more=limits) as there:
        streams = [await opened(there, upstream, f"127.0.0.{number}", 2) for number in (1, 2)]

        answer = await there.ask(None, client_ip="127.0.0.3")
        assert (answer.status, answer.codes) == (503, ["limit/streams"])
        assert (await there.ask(call(), client_ip="127.0.0.3")).status == 200
        assert (await there.ask(call(), client_ip="127.0.0.1")).status == 200
        streams[0][0].cancel()
        await asyncio.wait(streams[0][:1])
        streams.append(await opened(there, upstream, "127.0.0.3", 1))
        upstream.proceed.set()
        await asyncio.gather(*(one for some in streams for one in some), return_exceptions=True)


@pytest.mark.parametrize("streams", [0, 1])
def test_a_place_is_left_where_it_was_taken(streams: int):
    places = RequestPlaces(requests=1, streams=1, all_streams=1)
    for _ in range(3):
        place = places.enter("ada")
        assert isinstance(place, RequestPlace)
        if streams:
            assert place.become_stream() is None
            other = places.enter("ada")
            assert isinstance(other, RequestPlace)
            assert other.become_stream() is not None
            other.leave()
        else:
            assert isinstance(places.enter("ada"), Refusal)
        place.leave()
