"""No effect happens twice, whichever client tries again, in the ledger of an upstream whose answers are lost in many ways.

`OPAGATE_EFFECT_ORDERS`, `OPAGATE_EFFECT_TRIES` and `OPAGATE_EFFECT_SEED` make a longer run.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.running import mortal_gateway
from tests.e2e.wire import call, caller, entries, legacy, stateless, token, until
from tests.gateway_process import GatewayProcess, free_port
from tests.servers import serving

ORDERS = int(os.environ.get("OPAGATE_EFFECT_ORDERS", "40"))
"""Payments that clients want to make. Each is tried several times."""
TRIES = int(os.environ.get("OPAGATE_EFFECT_TRIES", "4"))
GRANTS = """
upstreams:
  ledger:
    - {id: pay, agents: ["*"], issuers: ["*"], tools: [pay], effects: [write]}
"""
CONFIG = """
identity: [{kind: development}]
policy: {grants: grants.yaml, engine: {kind: embedded, deadline: 20s}}
limits: {first_byte: 1s, connect: 5s, in_flight_per_caller: 1000}
upstreams:
  ledger:
    url: URL
    audience: ledger
    environment: test
    trust: trusted
    tools:
      pay: {effect: write, egress: false, sensitivity: internal, effect_key: [/order, /amount]}
state: state
"""


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def try_raw(gateway: GatewayProcess, order: str, number: int) -> str:
    """Pay once over raw HTTP, with another agent and in another era each time. Return what the client was told."""
    era = (legacy, stateless)[number % 2]
    amount = (10, 10.0)[number % 2]
    client = caller(gateway, f"agent-{number % 3}", "ledger", user=f"user-{order}")
    try:
        answer = client.ask(call("pay", era, order=order, amount=amount))
        document = answer.json
    except (OSError, http.client.HTTPException, ValueError):
        return "lost"
    result = document.get("result")
    if result is None or result.get("isError"):
        with suppress(KeyError):
            return answer.codes[0]
        return "error"
    return "paid"


async def try_with_sdk(gateway: GatewayProcess, order: str) -> str:
    """Pay once with the SDK's client and a session of its own, as a program that gives up after a second does."""
    headers = {"authorization": f"Bearer {token(gateway, 'sdk', user=f'user-{order}')}"}
    try:
        async with (
            asyncio.timeout(4),
            httpx2.AsyncClient(headers=headers, timeout=4) as client,
            streamable_http_client(gateway.mcp("ledger"), http_client=client) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            result = await session.call_tool("pay", {"order": order, "amount": 10})
            return "sdk-error" if result.is_error else "sdk-paid"
    except (BaseExceptionGroup, MCPError, OSError, httpx2.HTTPError):
        return "sdk-lost"


def _await_gateway(gateway: GatewayProcess) -> None:
    """Wait until something listens: a killed gateway is no fault of an answer."""
    host, _, port = gateway.origin.partition("://")[2].partition(":")

    def listens() -> bool:
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        return False

    until(listens)


def pay(gateway: list[GatewayProcess], order: str) -> list[str]:
    """Try to pay until the tries are used up, as clients do that never saw an answer."""
    random = Random(order)
    told: list[str] = []
    for number in range(TRIES):
        _await_gateway(gateway[0])
        if random.random() < 0.15:
            told.append(asyncio.run(try_with_sdk(gateway[0], order)))
        else:
            told.append(try_raw(gateway[0], order, number))
    return told


def _have_ended(futures: list[Future[list[str]]], share: int) -> bool:
    return sum(future.done() for future in futures) >= share


@pytest.mark.parametrize("seed", [int(os.environ.get("OPAGATE_EFFECT_SEED", "7"))])
def test_no_effect_happens_twice_in_the_ledger_of_the_upstream(tmp_path: Path, seed: int):
    (tmp_path / "grants.yaml").write_text(GRANTS, "utf-8")
    ledger, port = tmp_path / "ledger.jsonl", free_port()
    arguments = ("--ledger", str(ledger), "--seed", str(seed))
    orders = [f"order-{number}" for number in range(ORDERS)]
    kills = max(2, ORDERS // 100)
    with serving.running("tests.servers.ledger", tmp_path / "ledger.log", arguments) as server:
        config = CONFIG.replace("URL", server.mcp)
        running: list[GatewayProcess] = []
        futures: list[Future[list[str]]] = []
        with ThreadPoolExecutor(12) as threads:
            for number in range(kills):
                with mortal_gateway(config, tmp_path, port=port) as gateway:
                    running[:] = [gateway]
                    if number == 0:
                        futures = [threads.submit(pay, running, order) for order in orders]
                    share = len(orders) * (number + 1) // kills
                    until(partial(_have_ended, futures, share), within=3600)
                    gateway.process.send_signal(signal.SIGKILL)
            with mortal_gateway(config, tmp_path, port=port) as gateway:
                running[:] = [gateway]
                told = [future.result() for future in futures]
                # All clients try once more when nothing is under way.
                late = [try_raw(gateway, order, 0) for order in orders]

    lines = read_ledger(ledger)
    acted = Counter(line["order"] for line in lines if line["acts"])
    faults = Counter(line["fault"] for line in lines)
    print(f"orders={len(orders)} tries={sum(map(len, told)) + len(late)} kills={kills} faults={dict(faults)}")  # noqa: T201
    print(f"told={dict(Counter(word for words in told for word in words))} late={dict(Counter(late))}")  # noqa: T201
    assert {order: count for order, count in acted.items() if count > 1} == {}
    assert sum(faults[name] for name in faults if name not in {"none", "error"}) >= len(orders) // 3
    assert len(acted) >= len(orders) // 2
    outcomes = Counter(entry["outcome"] for entry in entries(tmp_path, "settled"))
    assert outcomes["unknown"] > 0
