"""Each key of a gateway is replaced under load. No call is refused, and the record has all of them."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from gateway.config import load
from gateway.config.keys import ROTATED, read_chain
from gateway.record.journal import reader
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import configured
from tests.e2e.wire import caller
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

AGENTS = 4
ROUNDS = 2


def call_until(over: Event, gateway: GatewayProcess, number: int) -> tuple[int, list[object]]:
    agent = caller(gateway, f"agent-{number}", "task" if number % 2 else "call")
    done, failed = 0, list[object]()
    while not over.is_set():
        text = f"call {done} of agent {number}"
        answer = agent.call("echo", text=text)
        done += 1
        if answer.status != 200 or text.encode() not in answer.body:
            failed.append((answer.status, answer.body))
    return done, failed


@requirement("operations/rotation")
def test_no_call_is_refused_while_each_key_is_replaced(echo_server: ServerProcess, tmp_path: Path):
    with mortal_gateway(configured(tmp_path, echo_server.mcp), tmp_path) as gateway, ThreadPoolExecutor() as threads:
        over = Event()
        agents = [threads.submit(call_until, over, gateway, number) for number in range(AGENTS)]
        try:
            with connect_to_gateway(tmp_path / "state/control.sock") as operator:
                for _ in range(ROUNDS):
                    for name in ROTATED:
                        operator.ask("keys/rotate", key=name)
            jwks = json.loads(urllib.request.urlopen(f"{gateway.origin}/.well-known/jwks.json").read())
        finally:
            over.set()
        results = [agent.result() for agent in agents]
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    assert [failed for _, failed in results] == [[]] * AGENTS
    assert all(done for done, _ in results)
    assert len(jwks["keys"]) == ROUNDS + 1
    written = list(reader.entries(tmp_path / "state/journal"))
    rotations = [entry["key"] for entry in written if entry["kind"] == "key"]
    assert rotations == [*ROTATED] * ROUNDS
    found = reader.verify(tmp_path / "state/journal", key=read_chain(load(tmp_path / "gateway.yaml")))
    assert (found.ok, found.segments) == (True, ROUNDS + 1)
    calls = [entry for entry in written if entry["kind"] == "call" and entry["effect"] == "allow"]
    assert len(calls) == sum(done for done, _ in results)
