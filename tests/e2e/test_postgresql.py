"""Gateways with their records in one PostgreSQL: a takeover after kill -9, a stopped database, and a restart of it."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from gateway.config import keys
from tests.e2e.left_behind import open_leases
from tests.e2e.running import mortal_gateway
from tests.e2e.test_leases import carried, configured
from tests.e2e.test_stops import run, stop
from tests.e2e.wire import caller, entries, page, stateless, token, until, verified
from tests.gateway_process import GatewayProcess
from tests.servers.serving import ServerProcess
from tests.unit.base.store.postgresql_server import PostgresServer, running_postgresql

STORE = "store: {kind: postgresql, url: '${STORE_URL}', deadline: 1s}\n"
TAKEOVER = 15.0
"""Seconds that the page for operators promises."""
MARGIN = 45.0
"""Seconds more for the start of a gateway on a busy machine."""


@pytest.fixture
def database() -> Generator[PostgresServer]:
    with running_postgresql() as server:
        yield server


def share_keys(source: Path, target: Path) -> None:
    """Give a second machine all keys but that of the journal."""
    (target / "state").mkdir(mode=0o700, parents=True)
    for name, file in keys.FILES.items():
        if name != "chain":
            key = target / "state" / file
            key.write_bytes((source / "state" / file).read_bytes())
            key.chmod(0o600)


def problems(gateway: GatewayProcess) -> dict[str, str]:
    return json.loads(page(gateway, "/readyz")[1])["problems"]


def ask_tasks(gateway: GatewayProcess, path: str, body: bytes | None = None) -> dict[str, object]:
    """Open a task of ann, or show it."""
    headers = {"authorization": f"Bearer {token(gateway, 'ann')}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(gateway.origin + path, body, headers), timeout=300) as answer:
        return json.loads(answer.read())


def test_another_machine_takes_over_after_kill_9(echo_server: ServerProcess, database: PostgresServer, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    environment = {"STORE_URL": database.url}
    config = configured(first, echo_server.mcp) + STORE
    configured(second, echo_server.mcp)
    with mortal_gateway(config, first, environment=environment) as gateway:
        assert caller(gateway, "ann", "task").call("echo", text="at-the-first-machine").text == "at-the-first-machine"
        stop(gateway, "--agent", "bob")
        opened = ask_tasks(gateway, "/tasks", b'{"goal": "read", "expires_in": 600}')
        gateway.process.kill()
        killed = time.monotonic()
        gateway.process.wait(30)
    assert open_leases(first)
    share_keys(first, second)

    with mortal_gateway(config, second, environment=environment) as gateway:
        assert caller(gateway, "bob", "task").call("echo", text="stopped").codes == ["stop/in-force"]
        known = ask_tasks(gateway, f"/tasks/{opened['id']}")
        assert (known["status"], known["goal"]) == ("open", "read")
        assert caller(gateway, "ann", "task").call("echo", text="at-the-second").text == "at-the-second"
        calls = [entry for entry in entries(second, "call") if entry["effect"] == "allow"]
        # The implicit task of the first machine goes on: its call there was the first one.
        assert calls[-1]["history"]["number"] == 2
        until(lambda: "restart" in {entry.get("cause") for entry in entries(second, "lease")})
        taken = time.monotonic() - killed
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0
    assert taken < TAKEOVER + MARGIN
    ended = {entry["id"] for entry in entries(second, "lease") if entry.get("cause") == "restart"}
    assert ended == set(open_leases(first))
    assert verified(second).ok
    assert carried(echo_server, "at-the-first-machine") != carried(echo_server, "at-the-second")


def test_a_gateway_refuses_what_needs_a_record_while_the_database_is_stopped_and_then_all(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    config, environment = configured(tmp_path, echo_server.mcp) + STORE, {"STORE_URL": database.url}
    with mortal_gateway(config, tmp_path, environment=environment) as gateway:
        ann = caller(gateway, "ann", "task")
        database.signal(signal.SIGSTOP)
        assert ann.call("echo", text="unlent").codes == ["history/unavailable"]
        until(lambda: "store" in problems(gateway))
        assert page(gateway, "/readyz")[0] == 503
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 10)
        assert ann.ask(stateless("server/discover")).codes == ["records/unavailable"]
        database.signal(signal.SIGCONT)
        until(lambda: page(gateway, "/readyz")[0] == 200)

        assert ann.call("echo", text="lent").text == "lent"
        assert "another gateway" not in gateway.printed()


def test_a_gateway_goes_on_after_a_crash_and_a_restart_of_the_database(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    config, environment = configured(tmp_path, echo_server.mcp) + STORE, {"STORE_URL": database.url}
    with mortal_gateway(config, tmp_path, environment=environment) as gateway:
        ann, bob = caller(gateway, "ann", "task"), caller(gateway, "bob", "task")
        assert ann.call("echo", text="before").text == "before"
        stop(gateway, "--agent", "bob")
        database.kill()
        until(lambda: page(gateway, "/readyz")[0] == 503)
        assert bob.call("echo", text="stopped").codes == ["stop/in-force"]
        database.start()
        until(lambda: page(gateway, "/readyz")[0] == 200)

        assert caller(gateway, "eve", "task").call("echo", text="after").text == "after"
        assert len(run(gateway, "stop", "list")) == 1
        run(gateway, "stop", "resume", "--agent", "bob", "--reason", "mended")
        assert bob.call("echo", text="again").text == "again"


def test_a_gateway_that_was_frozen_while_another_took_over_serves_nothing_and_ends_with_a_failure(
    echo_server: ServerProcess, database: PostgresServer, tmp_path: Path
):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    environment = {"STORE_URL": database.url}
    config = configured(first, echo_server.mcp) + STORE
    configured(second, echo_server.mcp)
    with mortal_gateway(config, first, environment=environment) as frozen:
        ann = caller(frozen, "ann", "task")
        assert ann.call("echo", text="before").text == "before"
        frozen.process.send_signal(signal.SIGSTOP)
        share_keys(first, second)
        with mortal_gateway(config, second, environment=environment) as gateway:
            stop(gateway, "--agent", "ann")
            until(lambda: "restart" in {entry.get("cause") for entry in entries(second, "lease")})
            frozen.process.send_signal(signal.SIGCONT)
            assert frozen.process.wait(120) not in {0, -signal.SIGKILL}
            assert caller(gateway, "bob", "task").call("echo", text="at-the-second").text == "at-the-second"
    said = frozen.printed()
    assert said.count('"store.lost"') == 1
    assert "another gateway took over PostgreSQL" in said.splitlines()[-1] + said.splitlines()[-2]
