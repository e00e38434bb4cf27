"""The gateway is killed while it exchanges or revokes a token at a real Keycloak: the lease is not forgotten, and no value is left."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import places_of
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, entries, stateless, until, verified
from tests.gateway_process import GatewayProcess, free_port
from tests.interaction.authority.test_keycloak import configured
from tests.servers.echo import Recorder
from tests.servers.holding import Holding, holding
from tests.servers.keycloak import SECRETS, Keycloak

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.holding import When
    from tests.servers.keycloak import Person
    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def relay(keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch) -> Generator[Holding]:
    """A relay that is the issuer for the gateway: Keycloak takes its name from the request."""
    monkeypatch.setenv("GATEWAY_SECRET", SECRETS["gw"])
    monkeypatch.setenv("INTROSPECT_SECRET", SECRETS["gw-introspect"])
    with holding(keycloak.origin) as found:
        yield found


@pytest.fixture
def person(keycloak: Keycloak) -> Person:
    return keycloak.new_person()


class Agent:
    """An agent with a task of its own."""

    def __init__(self, gateway: GatewayProcess, token: str) -> None:
        self.headers = {"authorization": f"Bearer {token}"}
        self.tasks = f"{gateway.origin}/tasks"
        self.opened = httpx2.post(self.tasks, json={"goal": "read", "expires_in": 600}, headers=self.headers).json()
        self._caller = Caller(gateway, "tickets", self.headers)

    def call(self, text: str) -> None:
        """Call a tool, though the gateway may be killed meanwhile."""
        with suppress(OSError, ValueError):
            self._caller.ask(call("echo", stateless, text=text), headers={"opagate-task": self.opened["token"]})

    def complete(self) -> None:
        with suppress(httpx2.TransportError):
            httpx2.post(f"{self.tasks}/{self.opened['id']}/complete", headers=self.headers)

    def leases(self, folder: Path) -> list[dict[str, Any]]:
        return [entry for entry in entries(folder, "lease") if entry["task"] == self.opened["id"]]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(("before", "/token", "requested", "restart"), id="before the exchange"),
        pytest.param(("after", "/token", "requested", "restart"), id="with a token that nobody noted"),
        pytest.param(("before", "/revoke", "ending", "task-completed"), id="before the revocation"),
        pytest.param(("after", "/revoke", "ending", "task-completed"), id="before the proof"),
    ],
)
def test_a_gateway_that_is_killed_forgets_no_token(
    relay: Holding, person: Person, echo_server: ServerProcess, tmp_path: Path, case: tuple[When, str, str, str]
):
    when, path, event, cause = case
    text, port, issuer = f"kill-{when}{path.replace('/', '-')}", free_port(), Keycloak(relay.url)
    config = configured(issuer, echo_server, tmp_path)
    token = issuer.token(person)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        agent = Agent(gateway, token)
        if event == "ending":
            agent.call(text)
            relay.hold(when, path)
            agent.complete()
        else:
            relay.hold(when, path)
            threading.Thread(target=agent.call, args=(text,), daemon=True).start()
        assert relay.reached.wait(60)
        until(lambda: agent.leases(tmp_path)[-1]["event"] == event)
        gateway.process.kill()
        gateway.process.wait(30)
    relay.pass_on()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        with connect_to_gateway(tmp_path / "state/control.sock") as operator:
            identifier = agent.leases(tmp_path)[0]["id"]
            until(lambda: operator.ask("leases/show", id=identifier).get("problem"))
            lease = operator.ask("leases/show", id=identifier)
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0, "an end that only time brings is no failure"

    assert (lease["state"], lease["cause"]) == ("ending", cause)
    assert [entry["event"] for entry in agent.leases(tmp_path)].count("requested") == 1
    values = [value.removeprefix("Bearer ") for value in carried(echo_server, text)]
    assert places_of([token, *values, *SECRETS.values()], tmp_path) == []
    assert verified(tmp_path).ok
    assert [issuer.is_active(value) for value in values] == [when == "before"] * len(values)


def carried(echo: ServerProcess, text: str) -> set[str]:
    return {
        value
        for record in Recorder(echo.origin).requests()
        if text in record["body"]
        for name, value in record["headers"]
        if name == "authorization"
    }
