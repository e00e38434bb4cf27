"""Users' own connections at a real Keycloak: Chromium at its login page, and the tokens in headers and in a process."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from playwright.async_api import expect

from gateway.authority.brokers.token_checks import read_claims
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import check_all_ended
from tests.e2e.wire import Answer, Caller, call, entries, stateless, until
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, gateway_process
from tests.interaction.authority.test_user_oauth import CHROMIUM, chromium_page, link_of
from tests.machine import is_inhabited, needs_proc
from tests.servers.echo import Recorder
from tests.servers.keycloak import PASSWORD
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.servers.keycloak import Keycloak, Person
    from tests.servers.serving import ServerProcess

# The start of Keycloak counts for the first test.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]


@dataclass
class Place:
    """A gateway whose users log in and connect at Keycloak. `client` is the gateway's client for connections."""

    gateway: GatewayProcess
    keycloak: Keycloak
    person: Person
    client: str

    async def call(self, tool: str, **arguments: Any) -> Answer:
        headers = {"authorization": f"Bearer {self.keycloak.token(self.person)}"}
        caller = Caller(self.gateway, "crm", headers)
        return await asyncio.to_thread(caller.ask, call(tool, stateless, **arguments))

    async def connect(self, answer: Answer) -> None:
        """Open the link of a refusal in Chromium, log in at Keycloak, and agree."""
        async with chromium_page() as page:
            await page.goto(link_of(answer))
            await page.locator("#username").fill(self.person.name)
            await page.locator("#password").fill(PASSWORD)
            await page.locator("#kc-login").click()
            await expect(page.get_by_role("heading", name="Connect crm?")).to_be_visible()
            for word in ("agent", self.person.id, "crm.read", self.keycloak.issuer):
                await expect(page.get_by_text(word).first).to_be_visible()
            await page.get_by_role("button", name="Connect", exact=True).click()
            await expect(page.get_by_role("heading", name="Connected")).to_be_visible()

    def ask_operator(self, do: str, **fields: Any) -> Any:
        with connect_to_gateway(self.gateway.folder / "state/control.sock") as desk:
            return desk.ask(do, **fields)


@asynccontextmanager
async def started(
    keycloak: Keycloak, folder: Path, upstream: dict[str, Any], *audiences: str, **credential: Any
) -> AsyncGenerator[Place]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    login = keycloak.new_login(f"{origin}/oauth/login")
    client = keycloak.new_login(f"{origin}/oauth/callback/corp", *audiences)
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    broker = {"kind": "user_oauth", "issuer": keycloak.issuer, "revoke": "introspect"}
    given = {"kind": "user_oauth", "broker": "corp", "scopes": {"read": ["crm.read"], "write": ["crm.write"]}}
    named = [client if name == "self" else name for name in credential.pop("audiences", ())]
    described = {
        "audience": "https://crm.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {**given, **credential, "audiences": named},
    }
    settings: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": keycloak.issuer, "audience": "gw"}, {"kind": "development"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "connections": {"login": {"issuer": keycloak.issuer, "client_id": login, "client_secret": "${LOGIN_SECRET}"}},
        "brokers": {"corp": {**broker, "client": {"id": client, "auth": {"client_secret": "${OWN_SECRET}"}}}},
        "upstreams": {"crm": {**described, **upstream}},
    }
    environment = {"LOGIN_SECRET": login, "OWN_SECRET": client, "BEARER_NOTES": str(folder / "notes")}
    async with gateway_process(yaml.safe_dump(settings), folder, environment=environment, port=port) as gateway:
        yield Place(gateway, keycloak, keycloak.new_person(), client)


async def test_a_user_connects_at_keycloak_and_the_end_is_proven(
    keycloak: Keycloak, echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    upstream = {"url": echo_server.mcp}
    async with started(keycloak, tmp_path, upstream, "tickets", "self", audiences=["tickets", "self"]) as place:
        refused = await place.call("echo", text="first")
        assert refused.codes == ["credential/connect"]
        await place.connect(refused)

        assert (await place.call("echo", text="at-keycloak")).text == "at-keycloak"
        (found,) = [each for each in recorder.requests() if "at-keycloak" in each["body"]]
        value = dict(found["headers"])["authorization"].removeprefix("Bearer ")
        claims = read_claims(value)
        assert claims is not None
        assert (claims["sub"], claims["azp"], claims["scope"]) == (place.person.id, place.client, "crm.read")
        assert keycloak.is_active(value, "tickets")
        assert place.ask_operator("connections/revoke", user=place.person.id) == {"removed": 1}
        assert (await place.call("echo", text="third")).codes == ["credential/connect"]
        until(lambda: not keycloak.is_active(value, "tickets"))
        until(lambda: "revoked" in [each["event"] for each in entries(tmp_path, "lease")])
        until(lambda: "ended" in [each["event"] for each in entries(tmp_path, "connection")])
    (proven,) = [each for each in entries(tmp_path, "lease") if each["event"] == "revoked"]
    assert (proven["cause"], proven["proof"]["kind"]) == ("connection-removed", "introspection")
    check_all_ended(tmp_path, [value], [refused])


@needs_proc
async def test_a_process_has_the_token_of_the_user_in_a_variable_and_both_end_together(
    keycloak: Keycloak, tmp_path: Path
):
    (tmp_path / "notes").mkdir()
    upstream = {
        "command": [sys.executable, "-m", "tests.servers.bearer"],
        "cwd": str(ROOT),
        "env": {"BEARER_NOTES": "${BEARER_NOTES}"},
        "files": {"write": ["${BEARER_NOTES}"]},
        "network": True,
    }
    more: dict[str, Any] = {"hand_over": {"env": "CRM_TOKEN"}, "audiences": ["tickets", "self"]}
    async with started(keycloak, tmp_path, upstream, "tickets", "self", **more) as place:
        await place.connect(await place.call("whoami"))
        process, user, scope = (await place.call("whoami")).text.split()
        assert (user, scope) == (place.person.id, "crm.read")
        value = (tmp_path / "notes" / process).read_text()
        (tmp_path / "notes" / process).unlink()
        assert (keycloak.is_active(value, "tickets"), is_inhabited(int(process))) == (True, True)

        assert place.ask_operator("leases/revoke", user=place.person.id)["ended"] >= 1
        until(lambda: not keycloak.is_active(value, "tickets") and not is_inhabited(int(process)))
        assert (await place.call("whoami")).text.split()[1] == place.person.id, "the connection outlives its leases"
        for path in (tmp_path / "notes").iterdir():
            path.unlink()
    check_all_ended(tmp_path, [value], [])
