"""Two gateways behind a balancer are restarted one after the other, under load: no call fails, and no stream breaks."""

from __future__ import annotations

import http.client
import signal
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e.balancing import running_haproxy
from tests.e2e.conftest import policy
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import JSON, Caller, Sent, call, stateless, until, verified
from tests.gateway_process import GatewayProcess, free_port, open_config
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

LISTEN = stateless("subscriptions/listen", notifications={})


class Load:
    """Clients that keep their connections, and call, stream or listen until they are told to end. The streams of those
    that listen are ended by gateways that stop."""

    def __init__(self, origin: str) -> None:
        self._host = origin.removeprefix("http://")
        self._over = threading.Event()
        self.done = Counter[str]()
        self.failed: list[str] = []

    def end(self) -> None:
        self._over.set()

    def repeat(self, name: str, upstream: str, sent: Sent, expected: bytes) -> None:
        """Send again and again; each answer is to be whole, and to have something in it."""
        connection = http.client.HTTPConnection(self._host, timeout=300)
        while not self._over.is_set():
            try:
                connection.request("POST", f"/mcp/{upstream}", sent.body, {**JSON, **sent.headers})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{name}: {error!r}")
                connection.close()
                continue
            if answer.status == 200 and expected in body:
                self.done[name] += 1
            else:
                self.failed.append(f"{name}: {answer.status} {body[:200]!r}")
        connection.close()


@contextmanager
def load(origin: str) -> Generator[Load]:
    found = Load(origin)
    with ThreadPoolExecutor(8) as threads:
        try:
            for _ in range(4):
                threads.submit(found.repeat, "call", "echo", call("echo", text="called"), b"called")
            for _ in range(2):
                threads.submit(found.repeat, "stream", "echo", call("stream", events=20), b"streamed")
            for _ in range(2):
                threads.submit(found.repeat, "listen", "handles", LISTEN, b"acknowledged")
            yield found
        finally:
            found.end()


class Pair:
    """Two gateways, and what restarts one."""

    def __init__(self, stack: ExitStack, setup: str, folder: Path) -> None:
        self._setup = setup
        self._folder = folder
        self.ports = {"one": free_port(), "two": free_port()}
        self._running: dict[str, ExitStack] = {}
        self.gateways: dict[str, GatewayProcess] = {}
        for name in self.ports:
            stack.callback(self._ended, name)
            (folder / name).mkdir()
            self.start(name)

    def start(self, name: str) -> None:
        self._running[name] = ExitStack()
        gateway = mortal_gateway(self._setup, self._folder / name, port=self.ports[name])
        self.gateways[name] = self._running[name].enter_context(gateway)

    def tell_to_stop(self, name: str) -> GatewayProcess:
        self.gateways[name].process.send_signal(signal.SIGTERM)
        return self.gateways[name]

    def _ended(self, name: str) -> None:
        self._running[name].close()


def _ups(folder: Path, name: str) -> int:
    """Return the number of times that the balancer has found a stopped gateway ready again."""
    return (folder / "haproxy.log").read_text("utf-8").count(f"Server gateways/{name} is UP")


@requirement("fault/rolling-restart")
def test_gateways_that_are_restarted_in_turn_lose_nothing(
    haproxy_path: Path,
    echo_server: ServerProcess,
    handles_server: ServerProcess,
    recorder: Recorder,
    tmp_path: Path,
):
    front = free_port()
    upstreams = {"echo": echo_server.mcp, "handles": handles_server.mcp}
    setup = (
        open_config(policy(tmp_path), upstreams)
        + f"public_url: http://127.0.0.1:{front}\nlimits: {{drain_delay: 2s, in_flight_per_caller: 1000}}\n"
    )
    with ExitStack() as stack:
        pair = Pair(stack, setup, tmp_path)
        origin = stack.enter_context(running_haproxy(haproxy_path, tmp_path, front, pair.ports))
        pressing = stack.enter_context(load(origin))
        for turn, name in enumerate(("one", "two") * 2):
            before = pressing.done.copy()
            held = holding(stack, origin, recorder, turn)
            stopping = pair.tell_to_stop(name)
            until(lambda stopping=stopping, times=turn // 2 + 1: stopping.printed().count('"closed"') == times)
            for key in held:
                recorder.release(key)
            assert [answer.result(60) for answer in held.values()] == ["released"] * len(held)
            assert stopping.process.wait(60) == 0
            assert verified(tmp_path / name).stopped
            pair.start(name)
            # Whoever restarts gateways in turn waits until the balancer counts on the one before.
            until(lambda name=name, times=turn // 2 + 1: _ups(tmp_path, name) == times)
            until(lambda before=before: all(pressing.done[kind] > before[kind] + 5 for kind in ("call", "stream")))
        pressing.end()
        for name in pair.ports:
            assert pair.tell_to_stop(name).process.wait(60) == 0

    assert pressing.failed == []
    assert pressing.done["listen"] >= 4


def holding(stack: ExitStack, origin: str, recorder: Recorder, turn: int) -> dict[str, Future[str]]:
    """Calls that are under way at both gateways, and end when the test lets them: key → text of the answer."""
    threads = stack.enter_context(ThreadPoolExecutor(4))
    keys = [f"rolling-{turn}-{number}" for number in range(4)]
    held = {key: threads.submit(hold, origin, key) for key in keys}
    for key in keys:
        recorder.wait("request", key)
    return held


def hold(origin: str, key: str) -> str:
    balanced = GatewayProcess(origin, Path(), Path(), None)  # type: ignore[arg-type]
    return Caller(balanced).call("hold", key=key).text
