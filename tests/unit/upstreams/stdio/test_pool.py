"""The stateless era: a few children for one principal, shared by its clients. With real child processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Disposition, Era, Kind, Message, UpstreamReply
from gateway.upstreams.stdio import replies
from gateway.upstreams.stdio import upstream as upstream_module
from gateway.upstreams.stdio.pool import MAX_CANCELLED, POOL_SIZE, Pool
from gateway.upstreams.stdio.wire import LOG_LEVEL_KEY, SUBSCRIPTION_KEY
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import (
    ALICE,
    Client,
    Make,
    body_of,
    events_of,
    is_stream,
    json_of,
    next_event,
    note,
    result,
    until,
)

PROGRESS = "notifications/progress"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


def stateless(make: Make, **settings: Any) -> Client:
    return Client(make(**settings), era=Era.STATELESS)


def pool_of(client: Client) -> Pool:
    return client.upstream._pools[client.principal.key, ""]


def children(client: Client) -> int:
    return client.upstream.status().processes


def subscribed(method: str, subscription: Any, **params: Any) -> dict[str, Any]:
    """A script step: a notification for a subscription."""
    return note(method, _meta={SUBSCRIPTION_KEY: subscription}, **params)


async def listen(client: Client, request: int, script: list[dict[str, Any]] | None = None) -> UpstreamReply:
    steps = script if script is not None else [subscribed(ACKNOWLEDGED, request)]
    return await client.post(
        {"jsonrpc": "2.0", "id": request, "method": "subscriptions/listen", "params": {"script": steps}}
    )


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with every line that the puppets got."""
    path = tmp_path / "record"
    path.touch()
    monkeypatch.setenv("RECORD_FILE", str(path))
    monkeypatch.setenv("RECORD_FOLDER", str(path.parent))
    return path


def lines_of(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


RECORDING = {"env": {"RECORD": "${RECORD_FILE}"}, "files": {"write": ["${RECORD_FOLDER}"]}}


async def test_requests_one_after_another_share_a_child(make: Make):
    client = stateless(make)
    for _ in range(3):
        assert (await json_of(await client.call(1)))["id"] == 1

    assert children(client) == 1


async def test_different_ids_at_once_share_a_child(make: Make):
    client = stateless(make)

    answers = await asyncio.gather(*(client.call(n) for n in range(50)))

    assert [(await json_of(reply))["id"] for reply in answers] == list(range(50))
    assert children(client) == 1


@pytest.mark.parametrize(("error", "status"), [(-32601, 404), (-32020, 400), (-32021, 400), (-32022, 400), (-1, 200)])
async def test_an_error_has_the_http_status_that_the_specification_gives_it(make: Make, error: int, status: int):
    client = stateless(make)
    said = {"jsonrpc": "2.0", "id": 1, "error": {"code": error, "message": "no"}}

    reply = await client.call(1, [{"say": said}])

    assert (reply.status, await json_of(reply)) == (status, said)


async def test_the_same_id_at_once_goes_to_two_children_and_does_not_mix(make: Make):
    one, other = stateless(make), Client(make(), era=Era.STATELESS)
    other.upstream = one.upstream
    first = await one.call(1, [note(data="one")])
    await next_event(first)

    second = await other.call(1, [note(data="other"), result(1, of="other")])

    assert [message.get("result") for _, message in events_of(await body_of(second))] == [None, {"of": "other"}]
    assert children(one) == 2
    assert one.upstream.status().in_flight == 1


async def test_a_number_and_a_text_are_two_ids(make: Make):
    client = stateless(make)
    await next_event(await client.call(1, [note(data="open")]))

    assert (await json_of(await client.call("1")))["id"] == "1"
    assert children(client) == 1


async def test_the_same_progress_token_at_once_goes_to_two_children(make: Make):
    client = stateless(make)
    await next_event(await client.call(1, [note(PROGRESS, progressToken="t", progress=1)], progressToken="t"))

    reply = await client.call(2, [note(PROGRESS, progressToken="t", progress=2), result(2)], progressToken="t")

    assert [m.get("params", {}).get("progress") for _, m in events_of(await body_of(reply))] == [2, None]
    assert children(client) == 2


async def test_two_requests_for_logs_at_once_go_to_two_children(make: Make):
    client = stateless(make)
    first = await client.call(1, [note(data="one")], **{LOG_LEVEL_KEY: "info"})
    await next_event(first)

    reply = await client.call(2, [note(data="two"), result(2)], **{LOG_LEVEL_KEY: "info"})

    assert events_of(await body_of(reply))[0][1]["params"] == {"data": "two"}
    assert children(client) == 2


async def test_a_log_message_goes_to_the_request_that_asked_for_logs(make: Make):
    client = stateless(make)
    asking = await client.call(1, [note(data="one")], **{LOG_LEVEL_KEY: "info"})
    await next_event(asking)

    assert (await json_of(await client.call(2, [note(data="two"), result(2)])))["id"] == 2
    assert (await next_event(asking))["params"] == {"data": "two"}


async def test_what_cannot_be_attributed_is_shown_to_nobody(make: Make):
    """The log names a method of the protocol, and no other: a program chooses its words freely."""
    client = stateless(make)
    first = await client.call(1, [note(data="open")])
    await next_event(first)
    with capture_logs() as logs:
        second = await client.call(2, [note(data="whose?"), note("notifications/x"), result(2)])

    assert (await json_of(second))["id"] == 2
    assert [(e["event"], e["method"]) for e in logs] == [
        ("upstream.unattributed", "notifications/message"),
        ("upstream.unattributed", None),
    ]
    await first.close()


async def test_progress_without_a_known_token_is_dropped_even_with_one_request_in_flight(make: Make):
    client = stateless(make)

    reply = await client.call(1, [note(PROGRESS, progressToken="other", progress=1), note(PROGRESS), result(1)])

    assert (await json_of(reply))["id"] == 1


async def test_children_of_one_principal_are_bounded_and_the_refusal_says_what_to_do(make: Make):
    client = stateless(make)
    streams = [await client.call(1, [note(data="open")]) for _ in range(POOL_SIZE)]

    with pytest.raises(UpstreamUnreachable, match=f"in each of its {POOL_SIZE} processes") as caught:
        await client.call(1)

    assert caught.value.code == "upstream/unreachable"
    assert "random" in caught.value.remedy
    assert children(client) == POOL_SIZE
    for stream in streams:
        await stream.close()


async def test_principals_never_share_a_child(make: Make):
    alice = stateless(make)
    bob = Client(alice.upstream, era=Era.STATELESS)
    bob.principal = type(ALICE)("bob", ALICE.issuer, ALICE.method)

    await alice.call(1)
    await bob.call(2)

    assert children(alice) == 2
    assert set(alice.upstream._pools) == {(alice.principal.key, ""), (bob.principal.key, "")}


# --- cancellation ----------------------------------------------------------------------------------------


async def test_closing_the_stream_cancels_the_request_in_the_child(make: Make, record: Path):
    client = stateless(make, **RECORDING)
    reply = await client.call(1, [note(data="open")])
    await next_event(reply)

    await reply.close()
    await reply.close()
    await until(lambda: "notifications/cancelled" in record.read_text())

    assert [line["params"]["requestId"] for line in lines_of(record)[1:]] == [1]
    assert client.upstream.status().in_flight == 0


async def test_a_client_that_leaves_while_it_waits_cancels_the_request(make: Make, record: Path):
    client = stateless(make, **RECORDING)
    waiting = asyncio.ensure_future(client.call(1, []))
    await until(lambda: "tools/call" in record.read_text())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await until(lambda: "notifications/cancelled" in record.read_text())
    assert client.upstream.status().in_flight == 0


async def test_closing_a_stream_that_was_answered_cancels_nothing(make: Make, record: Path):
    client = stateless(make, **RECORDING)
    reply = await client.call(1, [note(data="open"), result(1)])
    await until(lambda: client.upstream.status().in_flight == 0)
    await reply.close()
    await client.call(2)

    assert [line["method"] for line in lines_of(record)] == ["tools/call", "tools/call"]


async def test_a_cancelled_id_is_not_given_out_again_until_its_late_response_has_come(make: Make):
    client = stateless(make)
    reply = await client.call(1, [note(data="open")], progressToken="t")
    await next_event(reply)
    await reply.close()

    second = await client.call(1)
    third = await client.call(5, progressToken="t")

    assert (await json_of(second))["result"]["got"]
    assert (await json_of(third))["id"] == 5
    assert children(client) == 2
    await client.call(7, [result(1, late=True), result(7)])
    assert pool_of(client)._workers[0]._cancelled == {}
    assert (await json_of(await client.call(1)))["id"] == 1


async def test_a_cancelled_request_for_logs_takes_none_from_the_next(make: Make):
    client = stateless(make)
    first = await client.call(1, [note(data="one")], **{LOG_LEVEL_KEY: "info"})
    await next_event(first)
    await first.close()
    plain = await client.call(2, [note(data="late, of the first"), result(2)])
    second = await client.call(3, [note(data="two"), result(3)], **{LOG_LEVEL_KEY: "info"})

    assert (await json_of(plain))["id"] == 2
    assert events_of(await body_of(second))[0][1]["params"] == {"data": "two"}
    assert children(client) == 2


async def test_a_request_for_logs_gets_them_though_one_without_was_cancelled(make: Make):
    client = stateless(make)
    first = await client.call(1, [note(data="one")])
    await next_event(first)
    await first.close()
    second = await client.call(2, [note(data="two"), result(2)], **{LOG_LEVEL_KEY: "info"})

    assert events_of(await body_of(second))[0][1]["params"] == {"data": "two"}
    assert children(client) == 1


async def test_no_unattributed_message_is_guessed_while_a_cancelled_request_may_still_speak(make: Make):
    client = stateless(make)
    reply = await client.call(1, [note(data="open")])
    await next_event(reply)
    await reply.close()

    assert (await json_of(await client.call(2, [note(data="of the cancelled one?"), result(2)])))["id"] == 2


async def test_idle_children_that_cannot_take_an_id_make_room(make: Make):
    client = stateless(make)
    for _ in range(POOL_SIZE + 2):
        reply = await client.call(1, [note(data="open")])
        await next_event(reply)
        await reply.close()

    assert (await json_of(await client.call(1)))["id"] == 1
    await until(lambda: children(client) <= POOL_SIZE)


async def test_a_child_with_many_cancelled_requests_is_replaced_when_it_is_idle(make: Make):
    client = stateless(make)
    for request in range(MAX_CANCELLED + 1):
        opening = note(PROGRESS, progressToken=request, progress=1)
        reply = await client.call(request, [opening], progressToken=request)
        await next_event(reply)
        await reply.close()
    (worn,) = pool_of(client)._workers
    assert worn.worn

    await client.call(1000)

    assert worn not in pool_of(client)._workers
    await until(lambda: children(client) == 1)


async def test_a_request_that_is_never_answered_is_a_timeout_and_cancelled(make: Make, record: Path):
    client = stateless(make, **RECORDING, first_byte="500ms")

    with pytest.raises(UpstreamTimeout):
        await client.call(1, [])

    await until(lambda: "no answer in time" in record.read_text())
    assert client.upstream.status().in_flight == 0


async def test_a_silent_stream_ends_with_an_error_and_the_request_is_cancelled(
    make: Make, record: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replies, "GRACE", 0.2)
    client = stateless(make, **RECORDING, first_byte="400ms")

    reply = await client.call(1, [])
    ((_, message),) = events_of(await body_of(reply))

    assert "did not begin to answer" in message["error"]["message"]
    await until(lambda: "no answer in time" in record.read_text())


# --- subscriptions ---------------------------------------------------------------------------------------


async def test_a_subscription_gets_its_notifications_and_no_others(make: Make):
    client = stateless(make)
    first, second = await listen(client, 1), await listen(client, 2)
    assert (await next_event(first))["method"] == ACKNOWLEDGED
    assert (await next_event(second))["method"] == ACKNOWLEDGED

    reply = await client.call(
        3,
        [
            subscribed("notifications/tools/list_changed", 2),
            subscribed("notifications/tools/list_changed", 99),
            subscribed("notifications/tools/list_changed", 3),
            note(data="mine"),
            result(3),
        ],
    )

    assert [m.get("method") for _, m in events_of(await body_of(reply))] == ["notifications/message", None]
    assert (await next_event(second))["method"] == "notifications/tools/list_changed"
    assert children(client) == 1
    await first.close()
    await second.close()


async def test_a_subscription_that_the_server_ends_gracefully_ends_with_its_response(make: Make):
    client = stateless(make)
    stream = await listen(client, 1)
    await client.call(2, [result(1, resultType="complete"), result(2)])

    assert [m.get("id") for _, m in events_of(await body_of(stream))] == [None, 1]


async def test_a_subscription_that_the_server_cancels_ends(make: Make):
    client = stateless(make)
    stream = await listen(client, 1)
    await client.call(2, [note("notifications/cancelled", requestId=1), result(2)])

    assert [m.get("method") for _, m in events_of(await body_of(stream))] == [ACKNOWLEDGED]
    assert client.upstream.status().in_flight == 0


@pytest.mark.parametrize("about", [{"requestId": 2}, {"requestId": 50}, {}])
async def test_a_server_cannot_cancel_anything_else(make: Make, about: dict[str, Any]):
    client = stateless(make)

    reply = await client.call(2, [note("notifications/cancelled", **about), result(2)])

    assert (await json_of(reply))["id"] == 2


async def test_a_client_that_leaves_a_subscription_cancels_it(make: Make, record: Path):
    client = stateless(make, **RECORDING)
    stream = await listen(client, 1)
    await stream.close()

    await until(lambda: "notifications/cancelled" in record.read_text())


# --- what goes wrong -------------------------------------------------------------------------------------


async def test_a_request_of_the_server_is_answered_with_an_error_and_shown_to_nobody(make: Make, record: Path):
    client = stateless(make, **RECORDING)
    asks: dict[str, Any] = {"say": {"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}}}

    reply = await client.call(1, [asks, result(1)])

    assert (await json_of(reply))["id"] == 1
    await until(lambda: len(lines_of(record)) == 2)
    assert (lines_of(record)[1]["id"], lines_of(record)[1]["error"]["code"]) == ("q", -32601)


async def test_a_response_to_no_request_is_dropped(make: Make):
    client = stateless(make)
    with capture_logs() as logs:
        reply = await client.call(1, [result(50), result(50), result(50), result(1)])

    assert (await json_of(reply))["id"] == 1
    assert [e["event"] for e in logs if e["log_level"] == "warning"] == ["upstream.unknown-response"] * 2


async def test_a_child_that_dies_fails_what_is_in_flight_and_nothing_else(make: Make, clock: Clock):
    client = stateless(make)
    begun = await client.call(1, [note(data="begun")])

    with pytest.raises(UpstreamBroken, match="files exited with status 9"):
        await client.call(2, [{"exit": 9}])

    assert "exited" in events_of(await body_of(begun))[-1][1]["error"]["message"]
    with pytest.raises(UpstreamUnreachable, match=r"may be started again in 0\.5 s"):
        await client.call(3)
    clock.now += 0.5
    assert (await json_of(await client.call(3)))["id"] == 3


async def test_idle_children_end_and_used_ones_stay(make: Make, clock: Clock):
    client = stateless(make)
    await client.call(1)
    busy = await client.call(2, [note(data="open")])
    clock.now += upstream_module.CHILD_IDLE + 1
    client.upstream.reap()
    assert children(client) == 1

    await busy.close()
    client.upstream.reap()
    assert children(client) == 1
    clock.now += upstream_module.CHILD_IDLE + 1
    client.upstream.reap()

    await until(lambda: children(client) == 0)
    assert client.upstream._pools == {}


@pytest.mark.parametrize("method", ["notifications/cancelled", "notifications/x"])
async def test_a_notification_of_a_client_is_accepted_and_reaches_no_child(make: Make, record: Path, method: str):
    client = stateless(make, **RECORDING)
    await next_event(await client.call(1, [note(data="open")]))

    reply = await client.post({"jsonrpc": "2.0", "method": method, "params": {"requestId": 1}})

    assert (reply.status, await body_of(reply)) == (202, b"")
    await client.call(2)
    assert [line["method"] for line in lines_of(record)] == ["tools/call", "tools/call"]


async def test_a_response_of_a_client_is_refused(make: Make):
    reply = await stateless(make).post({"jsonrpc": "2.0", "id": 1, "result": {}})

    assert reply.status == 400


async def test_a_request_without_an_id_is_refused(make: Make):
    client = stateless(make)
    await client.call(1)

    reply = await pool_of(client).request(Message(Kind.REQUEST, Era.STATELESS, Disposition.PASS, b"{}", method="m"))

    assert reply.status == 400


async def test_a_session_id_is_ignored(make: Make):
    client = stateless(make)
    client.session = "somebody's"

    assert (await json_of(await client.call(1)))["id"] == 1


async def test_an_event_stream_carries_no_event_ids(make: Make):
    reply = await stateless(make).call(1, [note(data="one"), result(1)])

    assert is_stream(reply)
    assert [event for event, _ in events_of(await body_of(reply))] == [None, None]
