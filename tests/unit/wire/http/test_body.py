"""Bodies of requests: each handler gets the body of its request, however it arrives."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from gateway.model.decision import Refusal
from gateway.wire.http.edge import Edge
from gateway.wire.http.exchange import Answer, Exchange
from gateway.wire.protocol.replies import Reply
from tests.requirements import requirement
from tests.unit.wire.http.test_edge import configured, handlers, rendered
from tests.unit.wire.http.test_server_connection import made

HEAD = b"POST /mcp/files HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
LIMIT = 64
"""Bytes of a body, as the tests of the edge configure them."""
SIZES = (0, 1, 2, 63, LIMIT, LIMIT + 1, 200)


class Bodies:
    """A handler in the place of the pipeline: it notes each body, or the code of its refusal."""

    def __init__(self) -> None:
        self.found: list[bytes | str] = []
        self.edge = Edge(configured(), handlers(self))

    async def __call__(self, exchange: Exchange) -> Answer:
        body = await exchange.body()
        self.found.append(body.reason.code if isinstance(body, Refusal) else body)
        return rendered(body) if isinstance(body, Refusal) else Reply(200, (), b"{}")


def written(body: bytes, random: Random) -> bytes:
    """Return a request with a body in one of its framings."""
    head = HEAD + b"expect: 100-continue\r\n" * (random.random() < 0.3)
    if random.random() < 0.6:
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    parts = [body[at : at + 40] for at in range(0, len(body), 40)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


async def settle(random: Random | None = None) -> None:
    for _ in range(30 if random is None else random.choice((0, 1, 10))):
        await asyncio.sleep(0)


@requirement("strangers/one-reading")
async def test_the_body_of_each_request_is_whole_and_bounded_however_it_arrives():
    random, read = Random(19), 0
    for _ in range(600):
        bodies = [random.randbytes(random.choice(SIZES)) for _ in range(random.randint(1, 3))]
        requests = [written(body, random) for body in bodies]
        sent = b"".join(requests)
        ends = [sum(map(len, requests[: count + 1])) for count in range(len(requests))]
        cuts = sorted({*random.sample(range(1, len(sent)), random.randint(0, 3)), *random.sample(ends, 1), len(sent)})
        there = Bodies()
        connection, wire = made(there.edge)
        for begin, end in zip([0, *cuts], cuts, strict=False):
            connection.data_received(sent[begin:end])
            await settle(random)
        await settle()

        expected = [body if len(body) <= LIMIT else "request/too-large" for body in bodies]
        assert there.found == expected[: len(there.found)], (sent, cuts)
        # A client that was not told to go on ends its connection with a refusal.
        assert len(there.found) == len(bodies) or (wire.ended and b"expect" in sent)
        read += len(there.found)
        connection.connection_lost(None)
    assert read > 200


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
async def test_a_body_over_the_limit_reaches_no_handler(size: int):
    there = Bodies()
    connection, wire = made(there.edge)
    connection.data_received(HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * size)
    await settle()
    connection.connection_lost(None)

    assert there.found == [b"x" * size if size <= LIMIT else "request/too-large"]
    assert wire.writes[0].startswith(b"HTTP/1.1 200" if size <= LIMIT else b"HTTP/1.1 413")


async def test_a_body_of_a_client_that_has_left_reaches_no_handler():
    there = Bodies()
    connection, wire = made(there.edge)
    connection.data_received(HEAD + b"content-length: 2\r\n\r\n{}")
    connection.connection_lost(None)
    await settle()

    assert (there.found, wire.writes) == ([], [])


async def test_the_reader_of_a_paused_connection_lets_its_client_send_on():
    on: list[bool] = []

    class Noting(Bodies):
        async def __call__(self, exchange: Exchange) -> Answer:
            answer = await super().__call__(exchange)
            on.append(wire.is_read_on)
            return answer

    there = Noting()
    connection, wire = made(there.edge)
    connection._pause_reading()
    connection.data_received(HEAD + b"content-length: 2\r\n\r\n{}")
    await settle()
    connection.connection_lost(None)

    assert (there.found, on) == ([b"{}"], [True])
