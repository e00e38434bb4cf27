"""Revocations that fail between a gateway and a real Keycloak: busy, cut off, or swallowed while the token stays active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import check_all_ended
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, call, entries, stateless, until
from tests.gateway_process import GatewayProcess, free_port
from tests.interaction.authority.test_keycloak import configured
from tests.interaction.authority.test_keycloak_killed import carried
from tests.servers.holding import Holding, holding
from tests.servers.keycloak import SECRETS, Keycloak

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.holding import Fault
    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.timeout(300)
STUCK_AFTER = 1
PROBLEMS: dict[Fault, str] = {"busy": "503", "reset": "", "swallowed": "still calls the token active"}


@pytest.fixture
def relay(keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch) -> Generator[Holding]:
    monkeypatch.setenv("GATEWAY_SECRET", SECRETS["gw"])
    monkeypatch.setenv("INTROSPECT_SECRET", SECRETS["gw-introspect"])
    with holding(keycloak.origin) as found:
        yield found


class Place:
    """A gateway behind a relay, and an agent."""

    def __init__(self, gateway: GatewayProcess, token: str) -> None:
        self.gateway = gateway
        self.headers = {"authorization": f"Bearer {token}"}
        self.answers: list[Answer] = []

    def open(self) -> dict[str, Any]:
        asked = {"goal": "read", "expires_in": 600}
        return httpx2.post(f"{self.gateway.origin}/tasks", json=asked, headers=self.headers).json()

    def call(self, task: dict[str, Any], text: str) -> Answer:
        caller = Caller(self.gateway, "tickets", self.headers)
        sent = call("echo", stateless, text=text)
        self.answers.append(caller.ask(sent, headers={"opagate-task": task["token"]}))
        return self.answers[-1]

    def complete(self, task: dict[str, Any]) -> None:
        httpx2.post(f"{self.gateway.origin}/tasks/{task['id']}/complete", headers=self.headers).raise_for_status()

    def lease(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return the open lease of a task, as an operator sees it."""
        with connect_to_gateway(self.gateway.folder / "state/control.sock") as operator:
            (found,) = [lease for lease in operator.ask("leases/list") if lease["task"] == task["id"]]
        return found


def entries_of(folder: Path, task: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in entries(folder, "lease") if entry["task"] == task["id"]]


def test_a_revocation_that_fails_is_stuck_blocks_its_broker_and_ends_when_keycloak_heals(
    keycloak: Keycloak, relay: Holding, echo_server: ServerProcess, tmp_path: Path
):
    issuer, port = Keycloak(relay.url), free_port()
    leases: dict[str, Any] = {"stuck_after": f"{STUCK_AFTER}s", "leases": {"keep": "sealed"}}
    config = yaml.safe_load(configured(issuer, echo_server, tmp_path)) | {"authority": leases}
    token = issuer.token(keycloak.new_person())
    values: list[str] = []
    with mortal_gateway(yaml.safe_dump(config), tmp_path, port=port) as gateway:
        place = Place(gateway, token)
        for fault, problem in PROBLEMS.items():
            values.append(end_under_fault(place, relay, echo_server, fault, problem))
            if fault != "swallowed":
                del relay.faults["/revoke"]
                until(lambda: not issuer.is_active(values[-1]))
        gateway.process.kill()
        gateway.process.wait(30)
    with mortal_gateway(yaml.safe_dump(config), tmp_path, port=port) as gateway:
        assert issuer.is_active(values[-1])
        again = Place(gateway, token)
        task = again.open()
        assert again.call(task, "after-the-restart").codes == ["credential/stuck"]
        del relay.faults["/revoke"]
        until(lambda: not issuer.is_active(values[-1]))
        until(lambda: "isError" not in again.call(task, "healed-after-the-restart").json["result"])
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    values += [value.removeprefix("Bearer ") for value in carried(echo_server, "healed-after-the-restart")]
    check_all_ended(tmp_path, [token, *values, *SECRETS.values()], [*place.answers, *again.answers])


def end_under_fault(place: Place, relay: Holding, echo: ServerProcess, fault: Fault, problem: str) -> str:
    """End a task under a fault of the issuer, until its lease is stuck. Return the token of the lease."""
    folder, text = place.gateway.folder, f"under-{fault}-{len(place.answers)}"
    task = place.open()
    until(lambda: "isError" not in place.call(task, text).json["result"])
    (value,) = carried(echo, text)
    relay.faults["/revoke"] = fault
    place.complete(task)

    until(lambda: place.lease(task)["state"] == "stuck")
    assert problem in place.lease(task)["problem"]
    assert place.gateway.printed().count('"lease.stuck"') >= 1
    until(lambda: [entry["event"] for entry in entries_of(folder, task)][2:] == ["ending", "stuck"])
    assert place.call(place.open(), text).codes == ["credential/stuck"]
    return value.removeprefix("Bearer ")
