"""Servers that misbehave, as real processes: the gateway stays well, and says what happened."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Era
from gateway.upstreams.stdio import StdioUpstream
from gateway.upstreams.stdio import child as child_module
from gateway.upstreams.stdio.child import REST, TURN, Throttle
from gateway.upstreams.stdio.stderr import LINES_PER_SECOND, LONGEST_LINE
from gateway.upstreams.stdio.stream import MAX_EVENTS
from tests.machine import find_outside, is_alive, needs_proc
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import BOB, Client, Make, body_of, events_of, json_of, until

HOSTILE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("hostile.py")))


async def client_of(make: Make, mode: str, **settings: Any) -> Client:
    client = Client(make(*HOSTILE, mode, **settings))
    assert (await client.initialize()).status == 200
    return client


async def test_a_flood_on_standard_error_is_thinned_cut_and_escaped(make: Make):
    client = await client_of(make, "floods_stderr", clock=Clock())
    with capture_logs() as logs:
        assert (await json_of(await client.call(1)))["id"] == 1

    lines = [entry["line"] for entry in logs if entry["event"] == "upstream.stderr"]
    assert 0 < len(lines) <= LINES_PER_SECOND
    assert all(len(line) <= LONGEST_LINE + 100 and line.isprintable() for line in lines)


async def test_a_server_that_never_answers_is_a_timeout_and_others_are_served(make: Make):
    client = await client_of(make, "never_answers", first_byte="1s")
    other = Client(client.upstream, BOB)

    with pytest.raises(UpstreamTimeout):
        await client.call(1)

    assert (await other.initialize()).status == 200
    assert client.upstream.status().in_flight == 0


async def test_wrong_ids_answer_nobody(make: Make):
    client = await client_of(make, "wrong_ids")

    assert (await json_of(await client.call(1)))["result"] == {"right": True}


async def test_junk_on_standard_output_is_dropped(make: Make):
    client = await client_of(make, "junk")
    with capture_logs() as logs:
        reply = await client.call(1)

    assert (await json_of(reply))["id"] == 1
    assert {entry["event"] for entry in logs} == {"upstream.junk"}


async def test_a_line_of_ten_megabytes_passes_whole(make: Make):
    client = await client_of(make, "huge_line")

    body = await body_of(await client.call(1))

    assert json.loads(body)["result"]["text"] == "é" * 5_000_000


async def test_a_flood_of_notifications_is_bounded_and_does_not_lose_the_response(make: Make):
    client = await client_of(make, "floods_notifications")
    reply = await client.call(1)
    await until(lambda: client.upstream.status().in_flight == 0)

    messages = [message for _, message in events_of(await body_of(reply))]

    assert messages[-1]["id"] == 1
    assert len(messages) == MAX_EVENTS


async def test_a_server_that_asks_without_end_and_reads_no_answer_is_ended(make: Make):
    client = Client(make(*HOSTILE, "asks_and_never_reads"), era=Era.STATELESS)

    with pytest.raises(UpstreamBroken, match="does not read its standard input"):
        await body_of(await client.call(1))


async def test_servers_that_flood_are_heard_no_faster_together_than_one(make: Make, monkeypatch: pytest.MonkeyPatch):
    """What is not heard costs nothing: the event loop is there for others."""
    upstream = make(*HOSTILE, "floods_without_end")
    for _ in range(4):
        client = Client(upstream)
        await client.initialize()
        await client.call(1)

    rests, heard = noted_rests(monkeypatch), said(upstream)
    await until(lambda: len(rests) == 4 and all(len(asked) >= 25 for asked in rests.values()))

    longest = max(sum(asked) for asked in rests.values())
    # On a busy machine a turn may end by its time, so it has less. All are heard even so.
    assert TURN * 100 / 2 <= said(upstream) - heard <= 1.2 * TURN / REST * longest + 4 * TURN


def noted_rests(monkeypatch: pytest.MonkeyPatch) -> dict[object, list[float]]:
    """Note the seconds of rest that each server is given from now on."""
    noted: dict[object, list[float]] = {}
    loop = asyncio.get_running_loop()
    call_later: Any = loop.call_later

    def later(seconds: float, callback: Any, *given: Any, **more: Any) -> asyncio.TimerHandle:
        if getattr(callback, "__func__", None) is Throttle._end_rest:
            noted.setdefault(given[0].__self__, []).append(seconds)
        return call_later(seconds, callback, *given, **more)

    monkeypatch.setattr(loop, "call_later", later)
    return noted


def said(upstream: StdioUpstream) -> int:
    """Notifications of all sessions of an upstream."""
    return sum(session._standalone._last for session in upstream._sessions.values())


async def test_a_server_that_dies_in_the_middle_of_a_line_fails_the_request(make: Make):
    client = await client_of(make, "dies_in_the_middle")

    with pytest.raises(UpstreamBroken, match="exited with status 3"):
        await client.call(1)


async def test_a_server_that_exits_at_once_is_started_ever_more_rarely(make: Make):
    clock = Clock()
    client = Client(make(*HOSTILE, "exits_at_once", clock=clock))
    for failures, delay in ((1, "0.5"), (2, "1.0"), (3, "2.0")):
        with pytest.raises(UpstreamBroken, match="exited with status 1"):
            await client.initialize()
        assert client.upstream.status().failures == failures
        clock.now += float(delay) / 2
        with pytest.raises(UpstreamUnreachable, match=rf"again in {float(delay) / 2:.1f} s"):
            await client.initialize()
        clock.now += float(delay) / 2


async def test_a_server_that_ignores_end_of_input_and_sigterm_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch):
    client = Client(make(*HOSTILE, "ignores_everything"))
    await client.initialize()
    (child,) = client.upstream._spawner._children
    steps, within, ask_end = list[object](), child_module._within, child._ask_end

    async def give_up(seconds: float, something: Any) -> None:
        """Wait for a moment where two seconds are asked for."""
        is_step = seconds == child_module.SHUTDOWN_STEP
        steps.extend(["a wait"] if is_step else [])
        await within(0.01 if is_step else seconds, something)

    def asked() -> None:
        steps.append("SIGTERM")
        ask_end()

    monkeypatch.setattr(child_module, "_within", give_up)
    monkeypatch.setattr(child, "_ask_end", asked)
    await client.upstream.aclose()

    assert not is_alive(child.pid)
    assert steps == ["a wait", "SIGTERM", "a wait"]


async def test_a_helper_of_a_server_ends_with_its_session(make: Make):
    client = await client_of(make, "forks")
    told = (await json_of(await client.call(1)))["result"]
    helper = find_outside(told["helper"], told["room"])
    assert is_alive(helper)

    await client.delete()

    await until(lambda: not is_alive(helper))


@needs_proc
async def test_many_sessions_leave_no_process_and_no_file_open(make: Make):
    upstream = make(*HOSTILE, "wrong_ids")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - /proc
    for _ in range(5):
        clients = [Client(upstream) for _ in range(8)]
        await asyncio.gather(*(client.initialize() for client in clients))
        await asyncio.gather(*(client.call(1) for client in clients))
        await asyncio.gather(*(client.delete() for client in clients))
        await until(lambda: upstream.status().processes == 0)

    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208 - /proc


GATEWAY = textwrap.dedent("""
    import asyncio, sys, time
    from gateway.config import Limits, Upstream
    from gateway.model.wire import Era
    from gateway.upstreams.stdio import StdioUpstream
    from tests.unit.upstreams.stdio.driving import PUPPET, Client

    async def main():
        settings = Upstream.model_validate({"command": PUPPET, "audience": "files"})
        upstream = StdioUpstream("files", settings, Limits(), clock=time.monotonic, new_id=lambda: "session")
        await Client(upstream).initialize()
        await Client(upstream, era=Era.STATELESS).call(1)
        print(*(child.pid for child in upstream._spawner._children), file=sys.stderr, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
""")


def test_servers_end_when_the_gateway_is_killed():
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with gateway:
        assert gateway.stderr is not None
        children = [int(pid) for pid in gateway.stderr.readline().split()]
        assert len(children) == 2
        assert all(is_alive(pid) for pid in children)
        gateway.send_signal(signal.SIGKILL)

    while any(is_alive(pid) for pid in children):
        time.sleep(0.02)
