"""The handshake era: one client, one child. Driven through `StdioUpstream.send`, with a real child process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Era, Message, UpstreamRequest
from gateway.upstreams.stdio import replies, session
from gateway.upstreams.stdio.session import StdioSession
from gateway.upstreams.stdio.stream import MAX_EVENTS
from tests.unit.upstreams.stdio.driving import (
    PROTOCOL_2025,
    Client,
    Make,
    body_of,
    events_of,
    is_stream,
    json_of,
    message_of,
    next_event,
    note,
    result,
    until,
)

LOG = "notifications/message"


async def connected(make: Make, **settings: Any) -> Client:
    client = Client(make(**settings))
    assert (await client.initialize()).status == 200
    return client


def session_of(client: Client) -> StdioSession:
    session = client.upstream._sessions[client.session or ""]
    assert isinstance(session, StdioSession)
    return session


def tell(script: list[dict[str, Any]]) -> dict[str, Any]:
    """A notification that makes the puppet say something of its own accord."""
    return {"jsonrpc": "2.0", "method": "notifications/script", "params": {"script": script}}


def asked(request: int = 90, method: str = "elicitation/create") -> dict[str, Any]:
    """A script step: the server asks the client something."""
    return {"say": {"jsonrpc": "2.0", "id": request, "method": method, "params": {}}}


async def test_a_response_that_comes_alone_is_one_json_document_and_the_childs_own_bytes(make: Make):
    client = await connected(make)
    line = '{ "jsonrpc":"2.0","id":1 ,"result":{"a":1.0,"unknown":["é"]} }'

    reply = await client.call(1, [{"raw": line}])

    assert reply.status == 200
    assert await body_of(reply) == line.encode()


async def test_a_request_reaches_the_child_as_the_same_bytes_on_one_line(make: Make):
    client = await connected(make)
    body = b'{\n  "jsonrpc": "2.0",\r\n  "id": 1, "method": "x/y", "params": {"z": "\\n\xc3\xa9"}\n}'

    reply = await client.post(json.loads(body), body=body)

    assert (await json_of(reply))["result"]["got"].encode() == body.replace(b"\n", b" ").replace(b"\r", b" ")


async def test_an_error_response_has_status_200_in_this_era(make: Make):
    client = await connected(make)
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}

    reply = await client.call(1, [{"say": error}])

    assert (reply.status, await json_of(reply)) == (200, error)


async def test_notifications_before_the_response_make_an_event_stream(make: Make):
    client = await connected(make)

    reply = await client.call(1, [note(data="one"), note(data="two"), result(1)])

    assert is_stream(reply)
    messages = [message for _, message in events_of(await body_of(reply))]
    assert [message.get("method", "response") for message in messages] == [LOG, LOG, "response"]


async def test_notifications_and_responses_of_the_client_are_accepted_and_forwarded(make: Make):
    client = await connected(make)
    reply = await client.call(1, [asked(90)])
    assert (await next_event(reply))["id"] == 90

    answer = await client.post({"jsonrpc": "2.0", "id": 90, "result": {}, "params": {"script": [result(1)]}})

    assert (answer.status, await body_of(answer)) == (202, b"")
    assert events_of(await body_of(reply))[0][1]["id"] == 1


async def test_progress_goes_to_the_request_with_its_token(make: Make):
    client = await connected(make)
    first = await client.call(1, [note(data="begin")], progressToken="t1")
    await next_event(first)
    second = await client.call(
        2, [note("notifications/progress", progressToken="t1", progress=1), result(2)], progressToken=7
    )

    assert (await next_event(first))["params"]["progressToken"] == "t1"
    assert (await json_of(second))["id"] == 2


async def test_a_token_ends_with_its_request(make: Make):
    client = await connected(make)
    await client.call(1, [result(1)], progressToken="t1")

    reply = await client.call(2, [note("notifications/progress", progressToken="t1", progress=1), result(2)])

    assert is_stream(reply)


async def test_what_belongs_to_no_request_goes_to_the_only_one_in_flight_even_with_a_get_open(make: Make):
    client = await connected(make)
    await client.get()

    reply = await client.call(1, [note("notifications/tools/list_changed"), result(1)])

    assert events_of(await body_of(reply))[0][1]["method"] == "notifications/tools/list_changed"


async def test_with_several_requests_in_flight_it_goes_to_the_stream_of_the_get(make: Make):
    client = await connected(make)
    get = await client.get()
    await next_event(await client.call(1, [note(data="open")]))
    waiting = asyncio.ensure_future(client.call(2, [asked(91)]))

    assert (await next_event(get))["id"] == 91
    await client.post(tell([result(2)]))
    assert (await json_of(await waiting))["id"] == 2


async def test_with_several_in_flight_and_no_get_it_goes_to_the_latest_request(make: Make):
    client = await connected(make)
    first = await client.call(1, [note(data="open")])
    await next_event(first)

    second = await client.call(2, [asked(91), result(1), result(2)])

    assert [message["id"] for _, message in events_of(await body_of(second))] == [91, 2]
    assert [message["id"] for _, message in events_of(await body_of(first))] == [1]


async def test_with_nothing_open_it_waits_for_a_get(make: Make):
    client = await connected(make)
    await client.post(tell([note("notifications/tools/list_changed"), asked(92)]))
    await until(lambda: not session_of(client)._standalone.silent)

    get = await client.get()

    assert is_stream(get)
    first = events_of(await anext(get.chunks))
    messages = first if len(first) == 2 else first + events_of(await anext(get.chunks))
    assert [message.get("id") for _, message in messages] == [None, 92]


async def test_there_is_one_get_stream_at_a_time(make: Make):
    client = await connected(make)
    first = await client.get()

    second = await client.get()
    assert (second.status, (await json_of(second))["error"]["code"]) == (409, -32600)

    await first.close()
    assert (await client.get()).status == 200


async def test_a_lost_connection_does_not_cancel_and_the_rest_can_be_fetched(
    make: Make, tmp_path: Any, monkeypatch: Any
):
    monkeypatch.setenv("RECORD_FILE", str(tmp_path / "record"))
    client = await connected(make, env={"RECORD": "${RECORD_FILE}"}, files={"write": [str(tmp_path)]})
    reply = await client.call(1, [note(data="one")])
    ((event, _),) = events_of(await anext(reply.chunks))
    await reply.close()
    await client.post(tell([note("notifications/progress", progressToken="none", progress=1), result(1, text="late")]))
    await until(lambda: session_of(client).in_flight == 0)

    resumed = await client.get(event)

    assert [message["result"] for _, message in events_of(await body_of(resumed))] == [{"text": "late"}]
    assert "cancelled" not in (tmp_path / "record").read_text()


async def test_a_resumed_stream_goes_on_live(make: Make):
    client = await connected(make)
    reply = await client.call(1, [note(data="one")])
    ((event, _),) = events_of(await anext(reply.chunks))
    resumed = await client.get(event)
    await client.post(tell([result(1)]))

    assert [message["id"] for _, message in events_of(await body_of(resumed))] == [1]
    assert await body_of(reply) == b""


async def test_a_finished_stream_can_be_replayed_from_its_beginning(make: Make):
    client = await connected(make)
    reply = await client.call(1, [note(data="one"), result(1)])
    whole = await body_of(reply)
    stream = (events_of(whole)[0][0] or "").split("-")[0]

    assert await body_of(await client.get(f"{stream}-0")) == whole


@pytest.mark.parametrize("event", ["99-0", "2-99", "2", "x", "2-", "-1-0", "２-0", "2-0\n", "9" * 30 + "-0"])
async def test_an_event_that_is_not_known_cannot_be_resumed_after(make: Make, event: str):
    client = await connected(make)
    await body_of(await client.call(1, [note(data="one"), result(1)]))

    reply = await client.upstream.send(_get(client, event.encode()))

    assert (reply.status, (await json_of(reply))["error"]["code"]) == (400, -32600)


def _get(client: Client, event: bytes) -> UpstreamRequest:
    return UpstreamRequest("GET", ((b"last-event-id", event),), client.principal, session=client.session)


async def test_the_get_stream_can_be_resumed_too(make: Make):
    client = await connected(make)
    get = await client.get()
    await client.post(tell([asked(1), asked(2)]))
    data = b""
    while data.count(b"\n\n") < 2:
        data += await anext(get.chunks)

    resumed = await client.get(events_of(data)[0][0])

    assert (await next_event(resumed))["id"] == 2


async def test_priming_events_are_sent_from_2025_11_25_on(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replies, "GRACE", 0.0)
    client = await connected(make)
    old = await client.call(1, [])
    client.headers = PROTOCOL_2025
    new = await client.post({"jsonrpc": "2.0", "id": 2, "method": "m", "params": {"script": []}})
    get = await client.get()

    first = asyncio.ensure_future(anext(old.chunks))
    assert events_of(await anext(new.chunks)) == [("3-0", None)]
    assert events_of(await anext(get.chunks)) == [("0-0", None)]
    assert not first.done()
    first.cancel()


async def test_a_long_silence_opens_an_event_stream_from_which_a_client_can_resume(make: Make):
    client = await connected(make)
    client.headers = PROTOCOL_2025
    session = session_of(client)
    reply = await session.request(_message(5, {"script": []}), prime=True, grace=0.0)
    ((event, _),) = events_of(await anext(reply.chunks))
    await reply.close()
    await client.post(tell([result(5, text="after all")]))
    await until(lambda: session.in_flight == 0)

    resumed = await client.get(event)

    assert [message["result"] for _, message in events_of(await body_of(resumed))] == [{"text": "after all"}]


def _message(request: int, params: dict[str, Any]) -> Message:
    return message_of({"jsonrpc": "2.0", "id": request, "method": "m", "params": params}, Era.HANDSHAKE)


async def test_an_id_that_is_in_flight_is_refused(make: Make):
    client = await connected(make)
    await next_event(await client.call(1, [note(data="open")]))

    reply = await client.call(1)

    assert (reply.status, (await json_of(reply))["id"]) == (400, 1)


async def test_a_client_that_leaves_while_it_waits_does_not_cancel_the_request(make: Make):
    client = await connected(make)
    session = session_of(client)
    waiting = asyncio.ensure_future(client.call(1, [note("notifications/none", progressToken="x")], progressToken="t"))
    await until(lambda: session.in_flight == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await client.post(tell([note("notifications/progress", progressToken="t", progress=1), result(1)]))
    await until(lambda: session.in_flight == 0)

    assert (await json_of(await client.call(2)))["id"] == 2


async def test_what_the_server_says_after_a_client_has_left_goes_to_a_stream_that_is_read(make: Make):
    client = await connected(make)
    session = session_of(client)
    waiting = asyncio.ensure_future(client.call(1, [{"stderr": ""}]))
    await until(lambda: session.in_flight == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    get = await client.get()
    await client.post(tell([note("notifications/tools/list_changed")]))

    assert (await next_event(get))["method"] == "notifications/tools/list_changed"


@pytest.mark.parametrize("request_id", [1, "one"])
async def test_a_request_that_the_client_cancels_is_answered_and_its_late_response_dropped(
    make: Make, request_id: int | str
):
    client = await connected(make)
    reply = await client.call(request_id, [note(data="open")])
    await next_event(reply)
    params = {"requestId": request_id, "script": [result(request_id)]}
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}

    assert (await client.post(cancel)).status == 202

    ((_, message),) = events_of(await body_of(reply))
    error = {"code": 0, "message": "the client cancelled the request"}
    assert message == {"jsonrpc": "2.0", "id": request_id, "error": error}
    assert session_of(client).in_flight == 0
    assert (await json_of(await client.call(2)))["id"] == 2


@pytest.mark.parametrize(
    ("method", "request_id"),
    [*(("notifications/cancelled", other) for other in (99, None, True, [1])), ("notifications/progress", 1)],
)
async def test_a_cancellation_of_nothing_is_forwarded_and_changes_nothing(make: Make, method: str, request_id: Any):
    client = await connected(make)
    await next_event(await client.call(1, [note(data="open")]))

    reply = await client.post({"jsonrpc": "2.0", "method": method, "params": {"requestId": request_id}})

    assert reply.status == 202
    assert session_of(client).in_flight == 1


async def test_a_response_to_no_request_is_logged_and_dropped(make: Make):
    client = await connected(make)
    with capture_logs() as logs:
        reply = await client.call(1, [result(77), result("1"), result(77), result(1)])  # type: ignore[arg-type] - ids that no request has

    assert (await json_of(reply))["id"] == 1
    assert [(e["event"], e["so_far"]) for e in logs] == [
        ("upstream.unknown-response", 1),
        ("upstream.unknown-response", 2),
    ]


async def test_a_request_that_is_never_answered_is_a_timeout_and_cancelled_in_the_child(
    make: Make, tmp_path: Any, monkeypatch: Any
):
    monkeypatch.setenv("RECORD_FILE", str(tmp_path / "record"))
    client = await connected(
        make, env={"RECORD": "${RECORD_FILE}"}, files={"write": [str(tmp_path)]}, first_byte="500ms"
    )

    with pytest.raises(UpstreamTimeout):
        await client.call(1, [{"stderr": ""}])

    assert session_of(client).in_flight == 0
    await until(lambda: "notifications/cancelled" in (tmp_path / "record").read_text())


async def test_a_request_that_is_never_answered_ends_its_open_stream_with_a_timeout(
    make: Make, tmp_path: Any, monkeypatch: Any
):
    monkeypatch.setenv("RECORD_FILE", str(tmp_path / "record"))
    client = await connected(make, env={"RECORD": "${RECORD_FILE}"}, files={"write": [str(tmp_path)]}, first_byte="3s")
    session = session_of(client)
    reply = await session.request(_message(5, {"script": []}), prime=False, grace=0.0)

    ((_, message),) = events_of(await body_of(reply))
    assert (message["id"], "did not begin to answer" in message["error"]["message"]) == (5, True)
    assert session.in_flight == 0
    await until(lambda: "notifications/cancelled" in (tmp_path / "record").read_text())


async def test_streams_that_are_not_read_to_their_end_outlive_many_requests(make: Make):
    client = await connected(make)
    get, open_ = await client.get(), await client.call(1, [note(data="open")])
    ((event, _),) = events_of(await anext(open_.chunks))
    await client.post(tell([note(data="more")]))
    await open_.close()
    await get.close()
    for request in range(2, 2 + 2 * session._PRUNE_EVERY):
        await client.call(request, [result(request)])
    await client.post(tell([result(1)]))

    rest = [message for _, message in events_of(await body_of(await client.get(event)))]
    assert rest[-1]["id"] == 1
    assert is_stream(await client.get("0-0"))


async def test_a_child_that_dies_before_it_answers_is_an_error_and_the_session_is_over(make: Make):
    client = await connected(make)

    with pytest.raises(UpstreamBroken, match="files exited with status 5") as caught:
        await client.call(1, [{"exit": 5}])

    assert caught.value.code == "upstream/broken"
    assert (await client.call(2)).status == 404


async def test_a_child_that_dies_in_the_middle_ends_every_stream_with_an_error_response(make: Make):
    client = await connected(make)
    get = await client.get()
    reply = await client.call(1, [note(data="begun"), {"exit": 5}])

    events = events_of(await body_of(reply))

    assert "exited" in events[-1][1]["error"]["message"]
    assert await body_of(get) == b""


async def test_many_requests_leave_no_more_than_the_bounds_behind(make: Make):
    client = await connected(make)
    for request in range(1, 101):
        reply = await client.call(request, [note(data=str(n)) for n in range(20)] + [result(request)])
        assert len(events_of(await body_of(reply))) == 21

    session = session_of(client)
    assert len(session._backlog._kept) == MAX_EVENTS
    assert len(session._streams) < MAX_EVENTS / 21 + 40
    assert session.in_flight == 0
    assert session._tokens == {}


async def test_concurrent_requests_each_get_their_own_answer(make: Make):
    client = await connected(make)

    answers = await asyncio.gather(*(client.call(n) for n in range(1, 201)))

    assert [(await json_of(reply))["id"] for reply in answers] == list(range(1, 201))


async def test_a_session_has_a_bound_for_requests_that_its_server_does_not_answer(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    """Also for those whose clients have gone: they are not cancelled, so they stay."""
    monkeypatch.setattr(session, "MAX_IN_FLIGHT", 3)
    client = await connected(make)
    for number in range(3):
        asking = asyncio.ensure_future(client.call(number, []))
        await until(lambda number=number: client.upstream.status().in_flight == number + 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    with pytest.raises(UpstreamUnreachable, match="has not answered 3 requests of this session"):
        await client.call(3)

    await client.post(tell([result(0)]))
    await until(lambda: client.upstream.status().in_flight == 2)
    assert (await json_of(await client.call(3)))["id"] == 3
