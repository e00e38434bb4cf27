"""OpenBao and its database fail, and the gateway is killed, at each step of a lease. No login outlives it, and none is forgotten."""

from __future__ import annotations

import base64
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx2
import pytest
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import check_all_ended, open_leases
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, call, caller, entries, stateless, token, until
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port
from tests.servers.echo import Recorder
from tests.servers.holding import holding
from tests.servers.openbao import PATH, OpenBao, running_openbao

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.holding import When
    from tests.servers.serving import ServerProcess


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Generator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def token_of_gateway(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> str:
    found = bao.gateway_token()
    monkeypatch.setenv("BAO_TOKEN", found)
    return found


def configured(folder: Path, url: str, echo: ServerProcess) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "url": echo.mcp,
        "audience": "https://reports.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {"kind": "openbao", "broker": "bao", "path": PATH, "scopes": {"read": ["ro"]}},
    }
    broker = {"kind": "openbao", "url": url, "auth": {"token": "${BAO_TOKEN}"}, "policies": ["tasks"]}
    return yaml.safe_dump(
        {
            "identity": [{"kind": "development"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "authority": {"stuck_after": "1s"},
            "brokers": {"bao": broker},
            "upstreams": {"reports": upstream},
        }
    )


class Task:
    """A task of an agent at a gateway."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
        asked = {"goal": "read", "expires_in": 600}
        self._url = f"{gateway.origin}/tasks"
        self._opened = httpx2.post(self._url, json=asked, headers=self._headers).json()
        self._agent = Caller(gateway, "reports", self._headers)

    @property
    def id(self) -> str:
        return self._opened["id"]

    def call(self, text: str) -> Answer:
        return self._agent.ask(call("echo", stateless, text=text), headers={"opagate-task": self._opened["token"]})

    def try_call(self, text: str) -> None:
        """Call, though the gateway may be killed meanwhile."""
        with suppress(OSError, ValueError):
            self.call(text)

    def complete(self) -> None:
        with suppress(httpx2.TransportError):
            httpx2.post(f"{self._url}/{self.id}/complete", headers=self._headers)

    def events(self, folder: Path) -> list[str]:
        return [entry["event"] for entry in entries(folder, "lease") if entry["task"] == self.id]


def logins(echo: ServerProcess, text: str) -> list[str]:
    """Return the secrets that came with the requests with this text: the header's value, user name and password."""
    found: list[str] = []
    for record in Recorder(echo.origin).requests():
        if text in record["body"]:
            (value,) = [value for name, value in record["headers"] if name == "authorization"]
            pair = value.removeprefix("Basic ")
            found += [pair, *base64.b64decode(pair).decode().split(":", 1)]
    return found


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(("before", "auth/token/create", "requested"), id="before the broker is asked"),
        pytest.param(("after", "auth/token/create", "requested"), id="with a child token that nobody noted"),
        pytest.param(("before", PATH, "requested"), id="before the secret exists"),
        pytest.param(("after", PATH, "requested"), id="with a secret that nobody noted"),
        pytest.param(("before", "revoke-accessor", "ending"), id="before the end is carried out"),
        pytest.param(("after", "revoke-accessor", "ending"), id="before the end is proven"),
    ],
)
def test_a_gateway_that_is_killed_leaves_no_login(
    bao: OpenBao,
    echo_server: ServerProcess,
    tmp_path: Path,
    token_of_gateway: str,
    step: tuple[When, str, str],
):
    when, path, event = step
    text, port, asking = f"{when}-{path.replace('/', '-')}", free_port(), None
    with holding(bao.url) as relay:
        config = configured(tmp_path, relay.url, echo_server)
        with mortal_gateway(config, tmp_path, port=port) as gateway:
            task = Task(gateway)
            if event == "ending":
                task.call(text)
                relay.hold(when, path)
                task.complete()
            else:
                relay.hold(when, path)
                asking = threading.Thread(target=task.try_call, args=(text,))
                asking.start()
            assert relay.reached.wait(60)
            until(lambda: task.events(tmp_path)[-1:] == [event])
            gateway.process.kill()
            gateway.process.wait(30)
        if asking is not None:
            asking.join(30)
        if step != ("after", "revoke-accessor", "ending"):  # OpenBao is at it
            # The other secret is that of the gateway's own listing.
            assert bao.postgres.roles() == 1 + (event == "ending" or (when, path) == ("after", PATH))
        relay.pass_on()
        with mortal_gateway(config, tmp_path, port=port) as gateway:
            until(lambda: task.id not in _tasks_of(open_leases(tmp_path), tmp_path))
            gateway.process.terminate()
            assert gateway.process.wait(60) == 0
        assert bao.postgres.roles() == 0

    ended = next(entry for entry in reversed(entries(tmp_path, "lease")) if entry["task"] == task.id)
    assert ended["proof"]["kind"] in {"lookup", "absent"}
    check_all_ended(tmp_path, [*logins(echo_server, text), token_of_gateway])


def _tasks_of(leases: dict[str, str], folder: Path) -> set[str]:
    return {entry["task"] for entry in entries(folder, "lease") if entry["id"] in leases}


def test_an_end_that_cannot_be_proven_blocks_its_broker_until_it_is(
    bao: OpenBao, echo_server: ServerProcess, tmp_path: Path, token_of_gateway: str
):
    """The database is down. A stop in between says so, and the next gateway goes on."""
    config, port = configured(tmp_path, bao.url, echo_server), free_port()
    answers: list[Answer] = []
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        task = Task(gateway)
        answers.append(task.call("before-the-outage"))
        bao.postgres.stop()
        try:
            task.complete()
            until(lambda: "stuck" in task.events(tmp_path))
            assert '"lease.stuck"' in gateway.printed()
            answers.append(Task(gateway).call("while-stuck"))
            assert answers[-1].codes == ["credential/stuck"]
            with connect_to_gateway(tmp_path / "state/control.sock") as operator:
                assert [lease["state"] for lease in operator.ask("leases/list", stuck=True)] == ["stuck"]
            gateway.process.terminate()
            assert gateway.process.wait(60) == 1
            assert "not proven to have ended (brokers: bao)" in gateway.printed()
            assert '"lease.open-at-stop"' in gateway.printed()
            with mortal_gateway(config, tmp_path, port=port) as later:
                answers.append(Task(later).call("after-the-restart"))
                assert answers[-1].codes == ["credential/stuck"]
                later.process.kill()
                later.process.wait(30)
        finally:
            bao.postgres.start()
    with mortal_gateway(config, tmp_path, port=port) as last:
        until(lambda: "revoked" in task.events(tmp_path))
        agent = caller(last, "ann", "reports")

        def is_healed() -> bool:
            answers.append(agent.call("echo", text="openbao-healed"))
            return answers[-1].text == "openbao-healed"

        until(is_healed)
        last.process.terminate()
        assert last.process.wait(60) == 0
    assert bao.postgres.roles() == 0

    values = [*logins(echo_server, "before-the-outage"), *logins(echo_server, "openbao-healed")]
    assert values
    assert Recorder(echo_server.origin).requests()
    check_all_ended(tmp_path, [*values, token_of_gateway], answers)
