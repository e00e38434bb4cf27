"""What the gateway answers over HTTP in the place of a server that has only pipes."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.model.errors import UpstreamError, UpstreamTimeout
from gateway.model.wire import UpstreamReply
from gateway.upstreams.stdio import replies
from gateway.upstreams.stdio.stream import Backlog, MessageStream
from tests.unit.upstreams.stdio.driving import body_of, events_of, is_stream, next_event


def stream() -> MessageStream:
    return MessageStream(1, Backlog(), resumable=True, request=1)


async def answer(
    of: MessageStream, *, first_byte: float = 10.0, grace: float = 10.0, late: list[UpstreamError] | None = None
) -> UpstreamReply:
    def on_late(failure: UpstreamError) -> None:
        of.fail(failure)
        if late is not None:
            late.append(failure)

    return await replies.answer(
        of,
        upstream="files",
        first_byte=first_byte,
        grace=grace,
        late=on_late,
        left=lambda: None,
        status=replies.stateless_status,
        headers=((b"x-extra", b"1"),),
    )


@pytest.mark.parametrize(
    ("error", "status"), [(None, 200), (-32601, 404), (-32020, 400), (-32021, 400), (-32022, 400), (-32602, 200)]
)
async def test_a_lone_response_has_the_http_status_of_its_error(error: int | None, status: int):
    of = stream()
    of.publish(b'{"x":1}', last=True, error=error)

    reply = await answer(of)
    await reply.close()

    assert reply.status == status
    assert reply.headers == ((b"content-type", b"application/json"), (b"content-length", b"7"), (b"x-extra", b"1"))
    assert await body_of(reply) == b'{"x":1}'


async def test_a_notification_first_makes_an_event_stream_that_proxies_do_not_buffer():
    of = stream()
    of.publish(b"1")

    reply = await answer(of)

    assert reply.status == 200
    assert dict(reply.headers)[b"x-accel-buffering"] == b"no"
    assert dict(reply.headers)[b"cache-control"] == b"no-cache, no-transform"
    assert dict(reply.headers)[b"x-extra"] == b"1"
    assert await next_event(reply) == 1


async def test_after_the_grace_an_event_stream_opens_and_the_response_follows_in_it():
    of = stream()
    reply = await answer(of, grace=0.0)
    of.publish(b'{"x":1}', last=True)

    assert is_stream(reply)
    assert events_of(await body_of(reply)) == [("1-1", {"x": 1})]


async def test_silence_beyond_the_first_byte_limit_is_a_timeout():
    late: list[UpstreamError] = []

    with pytest.raises(UpstreamTimeout, match=r"files did not begin to answer within 0\.01 s") as caught:
        await answer(stream(), first_byte=0.01, late=late)

    assert caught.value.code == "upstream/timeout"
    assert late == [caught.value]


async def test_silence_in_an_open_stream_ends_it_with_an_error_response():
    reply = await answer(stream(), grace=0.0, first_byte=0.01)

    ((_, message),) = events_of(await body_of(reply))

    assert "did not begin to answer" in message["error"]["message"]


async def test_a_stream_that_has_begun_may_be_silent_for_longer():
    of, late = stream(), list[UpstreamError]()
    reply = await answer(of, grace=0.0, first_byte=0.01, late=late)
    of.publish(b"1")
    await next_event(reply)
    await asyncio.sleep(0.03)

    assert late == []
    of.publish(b"2", last=True)
    assert events_of(await body_of(reply)) == [("1-2", 2)]


async def test_a_refusal_is_a_json_rpc_error_with_the_id_if_it_is_known():
    reply = replies.refusal(404, "no such session")

    assert reply.status == 404
    assert json.loads(await body_of(reply)) == {
        "jsonrpc": "2.0",
        "error": {"code": -32600, "message": "no such session"},
    }
    assert json.loads(await body_of(replies.refusal(400, "twice", request=0)))["id"] == 0


async def test_an_empty_reply_has_no_body():
    reply = replies.empty(202)

    assert (reply.status, await body_of(reply)) == (202, b"")
    assert reply.headers == ((b"content-length", b"0"),)
