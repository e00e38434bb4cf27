"""The answer to one request, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import UpstreamBroken
from gateway.upstreams.stdio.stream import Backlog, MessageStream, StreamResponse
from tests.requirements import requirement
from tests.unit.upstreams.stdio.driving import events_of

FAILURE = UpstreamBroken("upstream files exited with status 1", "try again")


def stream_of(number: int = 1, *, resumable: bool = True, backlog: Backlog | None = None) -> MessageStream:
    return MessageStream(number, backlog or Backlog(), resumable=resumable, request=number)


def left() -> None:
    """Nobody is told."""


async def all_of(connection: StreamResponse) -> bytes:
    return b"".join([chunk async for chunk in connection])


async def test_events_of_a_resumable_stream_are_numbered_within_it():
    stream = stream_of(3)
    stream.publish(b'"a"')
    stream.publish(b'"b"', last=True)

    assert await all_of(stream.connect(left=left)) == (
        b'id: 3-1\nevent: message\ndata: "a"\n\nid: 3-2\nevent: message\ndata: "b"\n\n'
    )


async def test_events_of_another_stream_have_no_ids():
    stream = stream_of(resumable=False)
    stream.publish(b'"a"', last=True)

    assert await all_of(stream.connect(left=left)) == b'event: message\ndata: "a"\n\n'


async def test_what_is_published_while_a_connection_waits_is_delivered_at_once():
    stream = stream_of()
    connection = stream.connect(left=left)
    waiting = asyncio.ensure_future(anext(connection))
    await asyncio.sleep(0)

    stream.publish(b"1")

    assert events_of(await waiting) == [("1-1", 1)]


async def test_a_read_that_was_cancelled_can_be_taken_up_again():
    stream = stream_of()
    connection = stream.connect(left=left)
    waiting = asyncio.ensure_future(anext(connection))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    stream.publish(b"1", last=True)

    assert events_of(await all_of(connection)) == [("1-1", 1)]


async def test_a_new_connection_resumes_after_what_the_client_has_seen():
    stream = stream_of()
    for number in range(1, 5):
        stream.publish(b"%d" % number, last=number == 4)
    await all_of(stream.connect(left=left))

    assert events_of(await all_of(stream.connect(after=2, left=left))) == [("1-3", 3), ("1-4", 4)]


async def test_a_new_connection_without_an_event_id_gets_only_what_was_not_delivered():
    stream = stream_of()
    stream.publish(b"1")
    first = stream.connect(left=left)
    await anext(first)
    await first.close()
    stream.publish(b"2", last=True)

    assert events_of(await all_of(stream.connect(left=left))) == [("1-2", 2)]


async def test_a_new_connection_takes_over_and_the_old_one_ends():
    stream = stream_of()
    old = stream.connect(left=left)
    waiting = asyncio.ensure_future(all_of(old))
    await asyncio.sleep(0)

    new = stream.connect(left=left)
    assert await waiting == b""

    stream.publish(b"1", last=True)
    assert events_of(await all_of(new)) == [("1-1", 1)]


@pytest.mark.parametrize("end", [MessageStream.finish, MessageStream.abandon])
async def test_a_connection_that_waits_ends_with_its_stream(end: Callable[[MessageStream], None]):
    stream = stream_of()
    waiting = asyncio.ensure_future(all_of(stream.connect(left=left)))
    await asyncio.sleep(0)

    end(stream)

    assert await waiting == b""


async def test_a_stream_is_spent_once_it_has_ended_and_nothing_of_it_is_kept():
    for resumable in (True, False):
        stream = stream_of(resumable=resumable)
        assert not stream.spent
        stream.publish(b"1", last=True)
        assert not stream.spent
        await all_of(stream.connect(left=left))
        assert stream.spent is not resumable


async def test_closing_the_old_connection_does_not_disturb_the_new_one():
    stream = stream_of()
    old = stream.connect(left=left)
    new = stream.connect(left=left)

    await old.close()

    assert stream.connection is new


async def test_a_priming_event_has_an_id_and_no_data():
    connection = stream_of(4).connect(prime=True, left=left)

    assert await anext(connection) == b"id: 4-0\ndata: \n\n"


async def test_a_client_that_leaves_early_is_told_of_once():
    told: list[int] = []
    connection = stream_of().connect(left=lambda: told.append(1))

    await connection.close()
    await connection.close()

    assert told == [1]
    with pytest.raises(StopAsyncIteration):
        await anext(connection)


async def test_a_client_that_read_to_the_end_has_not_left_early():
    told: list[int] = []
    stream = stream_of()
    stream.publish(b"1", last=True)
    connection = stream.connect(left=lambda: told.append(1))

    await all_of(connection)
    await connection.close()

    assert told == []


async def test_a_lone_response_is_given_as_it_is_and_leaves_the_stream():
    stream = stream_of()
    stream.publish(b"{}", last=True, error=-32601)

    assert await stream.begun(1.0)
    assert stream.sole_response() == (b"{}", -32601)
    assert stream.spent


@pytest.mark.parametrize("before", [[], [b"1"]])
async def test_anything_before_the_response_makes_it_no_lone_response(before: list[bytes]):
    stream = stream_of()
    for data in before:
        stream.publish(data)

    assert stream.sole_response() is None
    stream.publish(b"{}", last=bool(before))
    assert stream.sole_response() is None


async def test_a_notification_alone_in_a_finished_stream_is_no_response():
    stream = stream_of()
    stream.publish(b"1")
    stream.finish()

    assert stream.sole_response() is None


async def test_nothing_in_time_is_not_a_beginning():
    assert not await stream_of().begun(0.0)


async def test_a_message_that_comes_with_the_end_of_the_patience_counts():
    stream = stream_of()
    waiting = asyncio.ensure_future(stream.begun(0.0))
    await asyncio.sleep(0)
    stream.publish(b"1", last=True)

    assert await waiting
    assert stream.sole_response() == (b"1", None)


async def test_a_failure_before_the_answer_began_is_raised():
    stream = stream_of()
    stream.fail(FAILURE)

    with pytest.raises(UpstreamBroken, match="exited with status 1"):
        await stream.begun(1.0)


@pytest.mark.parametrize("opened", [True, False])
async def test_a_failure_after_the_beginning_is_an_error_response(opened: bool):  # noqa: FBT001 - a parameter of the test
    stream = stream_of(9)
    connection = stream.connect(left=left) if opened else None
    stream.publish(b"1")
    stream.fail(FAILURE)
    stream.fail(FAILURE)

    assert await stream.begun(1.0)
    assert events_of(await all_of(connection or stream.connect(left=left)))[1:] == [
        (
            "9-2",
            {
                "jsonrpc": "2.0",
                "id": 9,
                "error": {"code": -32603, "message": "upstream files exited with status 1"},
            },
        )
    ]


async def test_a_failure_before_any_message_is_an_error_response_if_the_stream_is_open():
    stream = stream_of(9)
    connection = stream.connect(left=left)
    stream.fail(FAILURE)

    ((name, message),) = events_of(await all_of(connection))
    assert (name, message["id"], message["error"]["code"]) == ("9-1", 9, -32603)


async def test_a_stream_of_no_request_only_ends_with_a_failure():
    stream = MessageStream(0, Backlog(), resumable=True)
    connection = stream.connect(left=left)
    stream.fail(FAILURE)

    assert await all_of(connection) == b""


async def test_nothing_follows_the_response():
    stream = stream_of()
    stream.publish(b"1", last=True)
    stream.publish(b"2")
    stream.fail(FAILURE)

    assert events_of(await all_of(stream.connect(left=left))) == [("1-1", 1)]


async def test_a_server_that_nobody_listens_to_cannot_fill_the_log():
    stream = stream_of(1, backlog=Backlog(max_events=1))
    with capture_logs() as logs:
        for number in range(1001):
            stream.publish(b"%d" % number)

    assert [entry["so_far"] for entry in logs] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


async def test_an_abandoned_stream_keeps_nothing():
    backlog = Backlog(max_events=2)
    stream, other = stream_of(1, backlog=backlog), stream_of(2, backlog=backlog)
    stream.publish(b"1")
    stream.abandon()
    stream.publish(b"2")
    for number in (3, 4):
        other.publish(b"%d" % number)
    other.finish()

    assert stream.spent
    assert not stream.listening
    assert [message for _, message in events_of(await all_of(other.connect(left=left)))] == [3, 4]


async def test_the_oldest_events_of_a_session_go_first_and_are_spoken_of_if_nobody_saw_them():
    backlog = Backlog(max_events=2)
    seen, unseen = stream_of(1, backlog=backlog), stream_of(2, backlog=backlog)
    seen.publish(b"1", last=True)
    await all_of(seen.connect(left=left))
    with capture_logs() as logs:
        for number in (2, 3, 4):
            unseen.publish(b"%d" % number)

    assert [(entry["event"], entry["stream"]) for entry in logs] == [("upstream.message-dropped", 2)]
    assert seen.spent
    unseen.finish()
    assert [message for _, message in events_of(await all_of(unseen.connect(left=left)))] == [3, 4]


async def test_bytes_are_bounded_but_the_newest_event_is_kept_whatever_its_size():
    stream = stream_of(backlog=Backlog(max_bytes=10))
    stream.publish(b'"small"')
    stream.publish(b'"' + b"x" * 100 + b'"', last=True)

    assert events_of(await all_of(stream.connect(left=left))) == [("1-2", "x" * 100)]


async def test_what_was_lost_or_dropped_takes_no_room():
    backlog = Backlog(max_bytes=10)
    other, stream = stream_of(1, backlog=backlog), stream_of(2, backlog=backlog)
    other.publish(b'"12345678"')
    other.abandon()
    for number in range(10):
        stream.publish(b"10000%d" % number)
    stream.publish(b"1234", last=True)

    assert [message for _, message in events_of(await all_of(stream.connect(left=left)))] == [100009, 1234]


async def test_what_a_client_has_read_makes_room_in_a_stream_that_cannot_be_resumed():
    stream = stream_of(resumable=False, backlog=Backlog(max_events=2))
    connection = stream.connect(left=left)
    with capture_logs() as logs:
        for number in range(10):
            stream.publish(b"%d" % number)
            assert events_of(await anext(connection)) == [(None, number)]

    assert logs == []


async def test_a_stream_listens_until_its_answer_or_while_it_is_connected():
    stream = stream_of()
    assert stream.listening
    assert stream.silent

    connection = stream.connect(left=left)
    assert stream.listening

    await connection.close()
    assert not stream.listening


def test_a_stream_knows_the_events_that_it_has_published():
    stream = stream_of()
    stream.publish(b"1")

    assert stream.knows(0)
    assert stream.knows(1)
    assert not stream.knows(2)


@requirement("fault/stall")
async def test_an_answer_that_stalls_ends_with_its_failure():
    """Its status has been sent, so the failure is the last message."""
    stream = stream_of()
    connection = stream.connect(left=left)
    connection.stall = 0.05, FAILURE
    stream.publish(b"1")

    events = events_of(await all_of(connection))

    assert [name for name, _ in events] == ["1-1", "1-2"]
    assert events[1][1]["error"]["message"] == FAILURE.message


async def test_an_answer_that_waits_for_somebody_at_the_client_does_not_stall():
    stream = stream_of()
    connection = stream.connect(left=left)
    connection.stall = 0.05, FAILURE
    connection.be_patient()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await anext(connection)
