"""Gateways that are told to stop while requests arrive: no request is lost, and readiness says so first."""

from __future__ import annotations

import http.client
import select
import signal
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from gateway.wire.http.server_connection import QUIET
from tests.e2e.conftest import policy
from tests.e2e.faults import config, problems
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import JSON, Caller, call, entries, page, until, verified
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

CLIENTS = 12


class Pace:
    """The seconds from one request of a connection to the next, or from the start of a connection to its first request."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = time.monotonic()

    def note_request(self) -> None:
        now = time.monotonic()
        self.seconds, self._last = now - self._last, now


class Clients:
    """Clients that call again and again on connections that they keep, until nobody listens any more."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._host = gateway.origin.removeprefix("http://")
        self.answered = Counter[int]()
        self.lost: list[str] = []

    def press(self, seed: int) -> None:
        """Call until the gateway refuses a new connection. Any other end of a call is a loss, unless this machine held up the
        request for longer than the gateway expects one.
        """
        chance = Random(seed)
        while True:
            pace, connection = Pace(), http.client.HTTPConnection(self._host, timeout=300)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            try:
                self._use(connection, chance, pace)
            except (OSError, http.client.HTTPException) as error:
                if pace.seconds < QUIET:
                    self.lost.append(repr(error))
            finally:
                connection.close()

    def _use(self, connection: http.client.HTTPConnection, chance: Random, pace: Pace) -> None:
        """Call on one connection until an answer closes it."""
        sent = call("echo", text="pressed")
        while connection.sock is not None:
            try:
                connection.request("POST", "/mcp/echo", sent.body, {**JSON, **sent.headers})
            finally:
                pace.note_request()
            answer = connection.getresponse()
            body = answer.read()
            self.answered[answer.status] += b"pressed" in body
            if connection.sock is not None and select.select([connection.sock], [], [], chance.random() * 0.02)[0]:
                return  # closed between two calls


@contextmanager
def pressed(gateway: GatewayProcess) -> Generator[Clients]:
    clients = Clients(gateway)
    with ThreadPoolExecutor(CLIENTS) as threads:
        for seed in range(CLIENTS):
            threads.submit(clients.press, seed)
        yield clients


@requirement("fault/drain")
@pytest.mark.parametrize("delay", ["0s", "300ms"])
def test_no_request_is_lost_that_arrives_while_the_gateway_stops(
    echo_server: ServerProcess, tmp_path: Path, delay: str
):
    setup = config(echo_server, policy(tmp_path), f"limits: {{drain_delay: {delay}}}\n")
    for _ in range(2):
        with mortal_gateway(setup, tmp_path, by_command=True) as gateway, pressed(gateway) as clients:
            until(lambda: sum(clients.answered.values()) > 100)
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(60) == 0
        assert clients.lost == []
        assert clients.answered.keys() == {200}


@requirement("fault/drain", "operations/readiness")
def test_it_says_for_a_while_that_it_is_stopping_and_serves_on(echo_server: ServerProcess, tmp_path: Path):
    setup = config(echo_server, policy(tmp_path), "limits: {drain_delay: 1h}\n")
    with mortal_gateway(setup, tmp_path, by_command=True) as gateway:
        assert problems(gateway) == {}
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: problems(gateway) == {"gateway": "it is stopping"})
        gateway.process.send_signal(signal.SIGTERM)
        answer = Caller(gateway).call("echo", text="still")
        assert (answer.text, answer.headers["connection"]) == ("still", "close")
        assert page(gateway, "/healthz")[0] == 200
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(30) == 0
    assert verified(tmp_path).stopped
    assert [entry["outcome"] for entry in entries(tmp_path, "settled")] == ["completed"]


@requirement("fault/drain", "fault/crash")
def test_one_that_is_killed_while_it_stops_leaves_a_journal_that_holds(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    setup = config(echo_server, policy(tmp_path), "limits: {drain_delay: 1h}\n")
    with mortal_gateway(setup, tmp_path, by_command=True) as gateway, ThreadPoolExecutor(1) as thread:
        held = thread.submit(Caller(gateway).call, "hold", key="killed-in-drain")
        recorder.wait("request", "killed-in-drain")
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: '"draining"' in gateway.printed())
        assert Caller(gateway).call("echo", text="still").text == "still"
        gateway.process.kill()
        gateway.process.wait()
        assert held.exception(30) is not None
    recorder.release("killed-in-drain")
    with mortal_gateway(setup.replace("1h", "0s"), tmp_path, by_command=True) as again:
        assert Caller(again).call("echo", text="again").text == "again"
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(30) == 0
    allowed, settled, abandoned = (
        {entry["id"] for entry in entries(tmp_path, kind)} for kind in ("call", "settled", "abandoned")
    )
    assert abandoned == allowed - settled
    assert abandoned
    found = verified(tmp_path)
    assert found.ok, found.problems
