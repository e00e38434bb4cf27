"""Two gateways at once on one PostgreSQL: what one of them lends, the other one ends, also after kill -9."""

from __future__ import annotations

import base64
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import yaml

from tests.e2e.left_behind import open_leases
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import carried, configured
from tests.e2e.test_postgresql import MARGIN, STORE, TAKEOVER, ask_tasks, share_keys
from tests.e2e.wire import call, caller, entries, stateless, token, until, verified
from tests.gateway_process import GatewayProcess
from tests.servers.serving import ServerProcess
from tests.unit.base.store.postgresql_server import running_postgresql

SECRET = "the-secret-of-the-echo-server-for-questions"
AT_ONCE = 1.0
"""Seconds after which the end of a task counts at each gateway, on a quiet machine."""
LEASES = 20


class Pair(NamedTuple):
    """Two gateways, and the folder of each."""

    first: GatewayProcess
    second: GatewayProcess
    one: Path
    two: Path


@pytest.fixture
def pair(echo_server: ServerProcess, tmp_path: Path) -> Generator[Pair]:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    asks = {
        "introspection": {
            "clients": [
                {
                    "id": "echo",
                    "secret": "${ECHO_SECRET}",
                    "audiences": ["https://task.example", "https://call.example"],
                }
            ]
        }
    }
    config = configured(one, echo_server.mcp) + STORE + yaml.safe_dump({"authority": asks})
    configured(two, echo_server.mcp)
    with running_postgresql() as database:
        environment = {"STORE_URL": database.url, "ECHO_SECRET": SECRET}
        with mortal_gateway(config, one, environment=environment) as first:
            share_keys(one, two)
            with mortal_gateway(config, two, environment=environment) as second:
                yield Pair(first, second, one, two)


def is_active(gateway: GatewayProcess, value: str) -> bool:
    """Return what a gateway tells the echo server about a token."""
    basic = base64.b64encode(f"echo:{SECRET}".encode()).decode()
    answer = httpx2.post(
        f"{gateway.origin}/oauth/introspect", data={"token": value}, headers={"authorization": f"Basic {basic}"}
    )
    return bool(answer.json()["active"])


def lend(pair: Pair, echo: ServerProcess, agent: str) -> str:
    """Have an agent make a call through the first gateway, and return the credential that it carried."""
    assert caller(pair.first, agent, "task").call("echo", text=f"lent-to-{agent}").text == f"lent-to-{agent}"
    return carried(echo, f"lent-to-{agent}")


def test_a_task_that_ends_at_one_gateway_ends_the_lease_of_the_other_at_once(pair: Pair, echo_server: ServerProcess):
    opened = ask_tasks(pair.first, "/tasks", b'{"goal": "read", "expires_in": 600}')
    sent = call("echo", stateless, text="in-a-shared-task")
    caller(pair.first, "ann", "task").ask(sent, headers={"opagate-task": str(opened["token"])})
    value = carried(echo_server, "in-a-shared-task")
    assert is_active(pair.first, value)
    assert is_active(pair.second, value)

    headers = {"authorization": f"Bearer {token(pair.second, 'ann')}"}
    began = time.monotonic()
    httpx2.post(f"{pair.second.origin}/tasks/{opened['id']}/complete", headers=headers).raise_for_status()
    until(lambda: not is_active(pair.first, value) and not is_active(pair.second, value))
    assert time.monotonic() - began < AT_ONCE + MARGIN

    def told(folder: Path) -> list[str]:
        return [entry["event"] for entry in entries(folder, "lease") if entry["task"] == opened["id"]]

    until(lambda: told(pair.one) == ["requested", "issued", "ending", "revoked"])
    assert told(pair.two) == [], "the gateway that lent it has ended it"


def test_the_leases_of_a_killed_gateway_are_ended_once_by_the_other(pair: Pair, echo_server: ServerProcess):
    values = [lend(pair, echo_server, f"agent-{number}") for number in range(LEASES)]
    assert all(is_active(pair.second, value) for value in values)

    pair.first.process.kill()
    killed = time.monotonic()
    pair.first.process.wait(30)
    left = set(open_leases(pair.one))
    assert len(left) >= LEASES
    until(lambda: not any(is_active(pair.second, value) for value in values))
    assert time.monotonic() - killed < TAKEOVER + MARGIN

    def ended() -> list[str]:
        return sorted(entry["id"] for entry in entries(pair.two, "lease") if entry["event"] == "revoked")

    until(lambda: set(ended()) >= left)
    assert ended() == sorted(left)
    assert verified(pair.two).ok
