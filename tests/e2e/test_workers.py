"""`opagate up --workers`: several gateways under one parent, on one port, over one database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.test_postgresql import STORE, ask_tasks
from tests.e2e.wire import caller, page, until
from tests.gateway_process import GatewayProcess, free_port, started_gateway, with_operator
from tests.servers.serving import ServerProcess
from tests.unit.base.store.postgresql_server import PostgresServer, running_postgresql

COUNT = 2
DEVELOPMENT = "{kind: development}"
GRANTS = 'upstreams: {echo: [{id: a, agents: ["*"], issuers: ["*"], tools: ["*"]}]}'


@pytest.fixture
def database() -> Generator[PostgresServer]:
    with running_postgresql() as server:
        yield server


@contextmanager
def workers(folder: Path, echo: ServerProcess, database: PostgresServer, more: str = "") -> Generator[GatewayProcess]:
    """A parent with workers, which end with it."""
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    port, path, log = free_port(), folder / "gateway.yaml", folder / "gateway.log"
    config = (
        f"identity: [{DEVELOPMENT}]\napprovals: null\n"
        "policy: {grants: grants.yaml, engine: {kind: embedded, deadline: 20s}}\n"
        f"upstreams: {{echo: {{url: '{echo.mcp}', audience: echo, tools: {{'*': {{effect: read}}}}}}}}\n{STORE}{more}"
    )
    path.write_text(f"listen: 127.0.0.1:{port}\n{with_operator(config)}", "utf-8")
    with log.open("ab") as output:
        process = started_gateway(
            path, output, {"STORE_URL": database.url}, by_command=True, options=("--workers", str(COUNT))
        )
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", folder, log, process)
    children: list[psutil.Process] = []
    try:
        until(lambda: process.poll() is not None or '"workers.ready"' in gateway.printed())
        assert process.poll() is None, gateway.printed()
        children = list_workers(gateway)
        yield gateway
    finally:
        process.kill()
        process.wait()
        for child in children:
            if child.is_running():
                child.kill()


def command(folder: Path, database: PostgresServer, *words: str) -> str:
    """Run a command on the configuration, and return what it printed."""
    line = [sys.executable, "-m", "gateway", *words, "--config", str(folder / "gateway.yaml")]
    environment = os.environ | {"STORE_URL": database.url}
    return subprocess.run(line, check=True, capture_output=True, text=True, env=environment).stdout


def list_workers(gateway: GatewayProcess) -> list[psutil.Process]:
    return psutil.Process(gateway.process.pid).children()


def calls(folder: Path, number: int) -> list[dict[str, Any]]:
    """The allowed calls in the journal of a worker."""
    files = sorted((folder / f"state/journal/worker-{number}").glob("*.jsonl"))
    found = [
        json.loads(line) for path in files for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
    ]
    return [entry for entry in found if entry["kind"] == "call" and entry["effect"] == "allow"]


def test_workers_share_one_port_and_one_history(echo_server: ServerProcess, database: PostgresServer, tmp_path: Path):
    with workers(tmp_path, echo_server, database) as gateway:
        ann = caller(gateway, "ann", "echo")
        opened = ask_tasks(gateway, "/tasks", b'{"goal": "read", "expires_in": 600}')
        for number in range(40):
            assert ann.call("echo", text=str(number)).text == str(number)
            # Each request is a connection of its own, so both workers answer.
            assert ask_tasks(gateway, f"/tasks/{opened['id']}")["status"] == "open"
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    found = [calls(tmp_path, number) for number in (1, 2)]
    assert all(found)
    numbers = sorted(entry["history"]["number"] for each in found for entry in each)
    assert numbers == list(range(1, 41)), "the two workers count the calls of one task together"
    told = json.loads(command(tmp_path, database, "journal", "verify", "--json"))
    assert told["ok"]
    assert [journal["ok"] for journal in told["journals"]] == [True, True]
    for each in found:
        explained = json.loads(command(tmp_path, database, "journal", "explain", each[-1]["id"], "--json"))
        assert explained["decision"]["id"] == each[-1]["id"]


def test_a_killed_worker_starts_again_and_a_stop_ends_all(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    with workers(tmp_path, echo_server, database) as gateway:
        before = list_workers(gateway)
        before[0].kill()
        until(lambda: gateway.printed().count('"workers.started"') == COUNT + 1)
        until(lambda: len(list_workers(gateway)) == COUNT)
        until(lambda: gateway.printed().count('"listening"') == COUNT + 1)
        assert page(gateway, "/readyz")[0] == 200
        for number in range(8):
            assert caller(gateway, "bob", "echo").call("echo", text=str(number)).text == str(number)
        children = list_workers(gateway)
        assert before[1] in children
        gateway.process.send_signal(signal.SIGHUP)
        assert page(gateway, "/readyz")[0] == 200

        os.kill(gateway.process.pid, signal.SIGTERM)
        assert gateway.process.wait(60) == 0
        assert not any(child.is_running() for child in children)


def test_workers_end_with_a_killed_parent(echo_server: ServerProcess, database: PostgresServer, tmp_path: Path):
    with workers(tmp_path, echo_server, database) as gateway:
        children = list_workers(gateway)
        gateway.process.kill()
        until(lambda: not any(child.is_running() for child in children))


def test_a_worker_that_cannot_start_ends_the_parent_with_its_problem(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    (tmp_path / "catalogue.lock").write_text("no lock", "utf-8")
    with pytest.raises(AssertionError, match="catalogue lock"), workers(tmp_path, echo_server, database):
        pytest.fail("it started")


def test_a_configuration_that_workers_cannot_share_is_refused(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    with (
        pytest.raises(AssertionError, match=r"keys\.chain names one key"),
        workers(tmp_path, echo_server, database, "keys: {chain: state/key}\n"),
    ):
        pytest.fail("it started")
