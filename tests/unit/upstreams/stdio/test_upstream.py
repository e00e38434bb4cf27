"""HTTP on one side, processes on the other: what `StdioUpstream` itself decides."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.model.caller import Actor, Principal, User
from gateway.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Era, Kind, UpstreamRequest
from gateway.upstreams.stdio import Status
from gateway.upstreams.stdio import spawner as spawner_module
from gateway.upstreams.stdio import upstream as upstream_module
from gateway.upstreams.stdio.session import StdioSession
from gateway.upstreams.stdio.wire import Inbound
from tests.machine import needs_proc
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import (
    ALICE,
    BOB,
    PUPPET,
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


async def test_initialize_starts_a_process_and_gives_a_session(make: Make):
    client = Client(make())

    reply = await client.initialize()

    assert (await json_of(reply))["id"] == 0
    assert client.session == "session-1"
    assert client.upstream.status() == Status(processes=1, sessions=1, in_flight=0, failures=0, retry_seconds=0.0)


async def test_an_initialize_that_brings_log_messages_is_an_event_stream_with_the_session(make: Make):
    client = Client(make())

    reply = await client.initialize([note(data="starting"), result(0)])

    assert is_stream(reply)
    assert client.session == "session-1"
    assert len(events_of(await body_of(reply))) == 2


async def test_each_initialize_has_a_process_of_its_own(make: Make):
    first = Client(make())
    second = Client(first.upstream)
    await first.initialize()
    await second.initialize()

    assert first.session != second.session
    assert first.upstream.status().processes == 2


def discovery(answer: dict[str, Any], *before: dict[str, Any]) -> dict[str, Any]:
    """The question of a client that does not know the era of its server."""
    said = {"say": {"jsonrpc": "2.0", "id": 9, **answer}}
    return {"jsonrpc": "2.0", "id": 9, "method": "server/discover", "params": {"script": [*before, said]}}


REFUSED: dict[str, Any] = {"error": {"code": -32601, "message": "no"}}


async def test_a_process_that_refused_to_be_discovered_begins_the_session(make: Make):
    asking = Client(make(), era=Era.STATELESS)
    await body_of(await asking.post(discovery(REFUSED)))

    await Client(asking.upstream).initialize()

    assert asking.upstream.status().processes == 1
    await Client(asking.upstream).initialize()
    assert asking.upstream.status().processes == 2


async def test_a_process_that_has_not_answered_yet_is_waited_for(make: Make):
    asking = Client(make(), era=Era.STATELESS)
    discovering = asyncio.ensure_future(asking.post(discovery(REFUSED, {"sleep": 0.2})))
    await asyncio.sleep(0)

    await Client(asking.upstream).initialize()

    await body_of(await discovering)
    assert asking.upstream.status().processes == 1


async def test_a_process_that_ended_without_an_answer_is_not_waited_for(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upstream_module, "_REFUSAL_SECONDS", 3600.0)
    asking = Client(make(), era=Era.STATELESS)
    ended = {"jsonrpc": "2.0", "id": 9, "method": "server/discover", "params": {"script": [{"exit": 1}]}}
    with pytest.raises(UpstreamBroken):
        await asking.post(ended)

    initializing = asyncio.ensure_future(Client(asking.upstream).initialize())
    await asyncio.sleep(0)
    clock.now += spawner_module.FIRST_DELAY
    async with asyncio.timeout(300):
        await initializing

    assert asking.upstream.status().processes == 1


@pytest.mark.parametrize("used", [discovery({"result": {}}), {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}])
async def test_a_process_that_serves_the_stateless_era_begins_no_session(make: Make, used: dict[str, Any]):
    asking = Client(make(), era=Era.STATELESS)
    await body_of(await asking.post(discovery(REFUSED)))
    await body_of(await asking.post(used))

    await Client(asking.upstream).initialize()

    assert asking.upstream.status().processes == 2


async def test_a_process_of_another_caller_begins_no_session(make: Make):
    asking = Client(make(), era=Era.STATELESS)
    await body_of(await asking.post(discovery(REFUSED)))

    await Client(asking.upstream, BOB).initialize()

    assert asking.upstream.status().processes == 2


async def test_an_initialize_that_is_refused_leaves_no_session_and_no_process(make: Make):
    client = Client(make())
    error = {"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "unsupported"}}

    reply = await client.initialize([{"say": error}])

    assert await json_of(reply) == error
    assert client.session is None
    await until(lambda: client.upstream.status() == Status(0, 0, 0, failures=0, retry_seconds=0.0))


async def test_an_initialize_that_is_refused_late_is_cleared_away(make: Make):
    client = Client(make())
    error = {"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "unsupported"}}
    reply = await client.initialize([note(data="hm"), {"say": error}])
    await body_of(reply)

    client.upstream.reap()

    await until(lambda: client.upstream.status().processes == 0)


async def test_a_server_that_dies_in_initialize_is_an_error_and_backs_off(make: Make):
    client = Client(make())

    with pytest.raises(UpstreamBroken, match="exited with status 1"):
        await client.initialize([{"exit": 1}])

    assert client.upstream.status().sessions == 0
    with pytest.raises(UpstreamUnreachable, match=r"again in 0\.5 s"):
        await client.initialize()


async def test_a_server_that_never_answers_initialize_is_ended(make: Make):
    client = Client(make(first_byte="300ms"))

    with pytest.raises(UpstreamTimeout):
        await client.initialize([])

    await until(lambda: client.upstream.status().processes == 0)
    assert client.upstream.status().failures == 0


async def test_a_client_that_leaves_during_initialize_leaves_nothing_behind(make: Make):
    client = Client(make())
    waiting = asyncio.ensure_future(client.initialize([]))
    await until(lambda: client.upstream.status().in_flight == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await until(lambda: client.upstream.status() == Status(0, 0, 0, failures=0, retry_seconds=0.0))


# --- whose session it is ---------------------------------------------------------------------------------

OTHERS = [
    BOB,
    Principal(ALICE.id, "https://other.example", ALICE.method),
    Principal(ALICE.id, ALICE.issuer, ALICE.method, user=User("carol")),
    Principal(ALICE.id, ALICE.issuer, ALICE.method, delegation=(Actor("helper", None),)),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_session_of_another_principal_is_unknown_in_every_way(make: Make, other: Principal, method: Any):
    owner = Client(make())
    await owner.initialize()
    thief = Client(owner.upstream, other)
    thief.session = owner.session

    async def attempt() -> tuple[int, bytes]:
        if method == "POST":
            reply = await thief.call(1)
        else:
            reply = await (thief.get() if method == "GET" else thief.delete())
        return reply.status, await body_of(reply)

    stolen = await attempt()
    thief.session = "never-existed"

    assert stolen == await attempt()
    assert stolen[0] == 404
    assert (await owner.call(2)).status == 200


async def test_a_session_is_the_same_for_every_token_of_its_principal(make: Make):
    client = Client(make())
    await client.initialize()
    client.principal = Principal(ALICE.id, ALICE.issuer, ALICE.method, token_id="another")

    assert (await client.call(1)).status == 200


@pytest.mark.parametrize("method", ["POST", "NOTIFY", "GET", "DELETE"])
async def test_without_a_session_only_initialize_is_possible(make: Make, method: str):
    client = Client(make())

    if method == "POST":
        reply = await client.call(1)
    elif method == "NOTIFY":
        reply = await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    else:
        reply = await (client.get() if method == "GET" else client.delete())

    assert (reply.status, (await json_of(reply))["error"]["code"]) == (400, -32600)
    assert client.upstream.status().processes == 0


async def test_initialize_within_a_session_goes_to_its_child(make: Make):
    client = Client(make())
    await client.initialize()
    session = client.session

    reply = await client.post({"jsonrpc": "2.0", "id": 5, "method": "initialize"})

    assert (await json_of(reply))["id"] == 5
    assert client.session == session
    assert client.upstream.status().processes == 1


@needs_proc
async def test_nothing_of_the_http_request_reaches_the_child(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RECORD_FILE", str(tmp_path / "record"))
    client = Client(make(env={"RECORD": "${RECORD_FILE}"}, files={"write": [str(tmp_path)]}))
    client.headers = ((b"authorization", b"Bearer t0ken"), (b"cookie", b"t0ken"), (b"x-any", b"t0ken"))
    await client.initialize()
    await client.call(1)
    (child,) = client.upstream._spawner._children

    seen = [Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline")]  # noqa: ASYNC240 - proc is no disk
    seen.append((tmp_path / "record").read_bytes())
    assert not any(b"t0ken" in data or b"alice" in data for data in seen)
    assert seen[1].rstrip(b"\0").split(b"\0")[-len(PUPPET) :] == [part.encode() for part in PUPPET]


# --- the end of a session --------------------------------------------------------------------------------


async def test_delete_ends_the_session_its_requests_and_its_process(make: Make):
    client = Client(make())
    await client.initialize()
    reply = await client.call(1, [note(data="open")])
    await next_event(reply)

    assert (await client.delete()).status == 200

    ((_, message),) = events_of(await body_of(reply))
    assert message["error"]["message"] == "upstream files ended the session at the client's wish"
    assert (await client.call(2)).status == 404
    assert (await client.delete()).status == 404
    await until(lambda: client.upstream.status().processes == 0)
    assert client.upstream.status().failures == 0


async def test_a_session_that_nobody_uses_ends_after_half_an_hour(make: Make, clock: Clock):
    client = Client(make())
    await client.initialize()
    clock.now += upstream_module.SESSION_IDLE
    client.upstream.reap()
    assert client.upstream.status().sessions == 1

    clock.now += 1.0
    client.upstream.reap()

    late = await client.call(1)
    assert late.status == 404
    assert json.loads(await body_of(late)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32600, "message": upstream_module._NO_SESSION},
    }
    await until(lambda: client.upstream.status().processes == 0)


async def test_a_session_with_an_open_stream_does_not_end(make: Make, clock: Clock):
    client = Client(make())
    await client.initialize()
    get = await client.get()
    clock.now += upstream_module.SESSION_IDLE + 1.0
    client.upstream.reap()
    assert client.upstream.status().sessions == 1

    await get.close()
    client.upstream.reap()
    assert client.upstream.status().sessions == 1
    clock.now += upstream_module.SESSION_IDLE + 1.0
    client.upstream.reap()

    assert client.upstream.status().sessions == 0


async def test_a_chatty_server_does_not_keep_a_session_alive(make: Make, clock: Clock):
    client = Client(make())
    await client.initialize()
    reply = await client.call(1, [note(data="open")])
    await reply.close()
    clock.now += upstream_module.SESSION_IDLE + 1.0
    session = client.upstream._sessions["session-1"]
    assert isinstance(session, StdioSession)
    session.receive(Inbound(Kind.NOTIFICATION, b"{}", method="notifications/message"))

    client.upstream.reap()

    assert client.upstream.status().sessions == 0


async def test_reaping_happens_by_itself(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upstream_module, "REAP_EVERY", 0.01)
    client = Client(make())
    await client.initialize()
    clock.now += upstream_module.SESSION_IDLE + 1.0

    await until(lambda: client.upstream.status().processes == 0)


async def test_a_principal_without_a_place_gives_up_its_own_oldest_unused_session(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(spawner_module, "MAX_CHILDREN_PER_PRINCIPAL", 2)
    upstream = make()
    bob, first, second, third = Client(upstream, BOB), Client(upstream), Client(upstream), Client(upstream)
    await bob.initialize()
    await first.initialize()
    clock.now += 1.0
    await second.initialize()
    with pytest.raises(UpstreamUnreachable, match="already runs 2 processes for this caller"):
        await third.initialize()

    clock.now += upstream_module.SPARE_SESSION
    await third.initialize()

    assert (await first.call(1)).status == 404
    assert [(await client.call(1)).status for client in (second, third, bob)] == [200, 200, 200]


async def test_a_session_in_use_is_not_given_up(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spawner_module, "MAX_CHILDREN_PER_PRINCIPAL", 1)
    first = Client(make())
    await first.initialize()
    get = await first.get()
    clock.now += upstream_module.SPARE_SESSION + 1.0

    with pytest.raises(UpstreamUnreachable):
        await Client(first.upstream).initialize()

    await get.close()
    assert (await first.call(1)).status == 200


# --- the end of all --------------------------------------------------------------------------------------


async def test_closing_ends_everything_and_says_so_afterwards(make: Make):
    client = Client(make())
    await client.initialize()
    reply = await client.call(1, [note(data="open")])
    await next_event(reply)

    await client.upstream.aclose()
    await client.upstream.aclose()

    assert events_of(await body_of(reply))[0][1]["error"]["message"] == "upstream files was shut down"
    assert client.upstream.status() == Status(0, 0, 0, failures=0, retry_seconds=0.0)
    with pytest.raises(UpstreamUnreachable, match="shutting down"):
        await client.call(2)


async def test_closing_what_was_never_used_is_nothing(make: Make):
    await make().aclose()


async def test_an_older_client_gets_no_priming_event(make: Make):
    client = Client(make())
    await client.initialize()
    request = UpstreamRequest("GET", ((b"mcp-protocol-version", b"2025-06-18"),), ALICE, session=client.session)

    reply = await client.upstream.send(request)
    await client.post({"jsonrpc": "2.0", "method": "x", "params": {"script": [note(data="first")]}})

    assert json.loads((await anext(reply.chunks)).split(b"data: ")[1]) == note(data="first")["say"]
