"""A user's connection at npm `oidc-provider`: through a real gateway, with a browser that keeps cookies. Acceptance tests 22 to 25."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway.cli.desk_client import connected
from tests.e2e.wire import Answer, Caller, call, entries, until, verified
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, gateway_process
from tests.servers.echo import Recorder
from tests.unit.authority.brokers.asking import values_shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interaction.identity.server import OAuthServer
    from tests.servers.serving import ServerProcess


@dataclass
class Place:
    """A gateway between an agent of alice and the echo server. Connections are made at `provider`."""

    gateway: GatewayProcess
    provider: OAuthServer
    echo: ServerProcess

    async def call(self, text: str, agent: str = "agent-1") -> Answer:
        now = int(time.time())
        claims = {"iss": self.provider.issuer, "sub": "alice", "client_id": agent, "aud": f"{self.gateway.origin}/mcp"}
        token = await self.provider.sign({**claims, "iat": now, "exp": now + 600, "jti": f"{agent}-{text}"})
        caller = Caller(self.gateway, "echo", {"authorization": f"Bearer {token}"})
        return await asyncio.to_thread(caller.ask, call("echo", text=text))

    def carried(self, text: str) -> str:
        """Return the credential of the request with this text."""
        (found,) = [record for record in Recorder(self.echo.origin).requests() if text in record["body"]]
        (value,) = [value for name, value in found["headers"] if name == "authorization"]
        return value.removeprefix("Bearer ")

    def events(self, kind: str = "connection") -> list[str]:
        return [entry["event"] for entry in entries(self.gateway.folder, kind)]


async def connect(answer: Answer, **changes: str) -> httpx2.Response:
    """Open the link of a refusal in a browser of its own, log in, agree, and go on at the server. `changes` are of the form."""
    (url,) = set(re.findall(r"http://[\d.:]+/connect/[\w-]+", answer.text))
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True, timeout=60) as browser:
        page = await browser.get(url)
        if "<form" not in page.text:
            return page
        (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        form = {"csrf": csrf, "answer": "allow", **changes}
        onward = await browser.post(page.url, data=form, headers={"origin": origin})
        (target,) = re.findall(r'<a href="([^"]+)"', onward.text)
        return await browser.get(target.replace("&amp;", "&"))


@pytest.fixture
async def place(
    provider: OAuthServer, echo_server: ServerProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Place]:
    port = free_port()
    client_id, secret = await provider.register(f"http://127.0.0.1:{port}/oauth/login")
    (tmp_path / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    resource = f"https://echo.example/{getattr(request, 'param', 'opaque')}"
    upstream = {
        "url": echo_server.mcp,
        "audience": "https://echo.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {
            "kind": "user_oauth",
            "broker": "crm",
            "resource": resource,
            "scopes": {"read": ["mcp:call"], "write": ["mcp:list"]},
        },
    }
    settings: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": provider.issuer}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "connections": {
            "login": {
                "issuer": provider.issuer,
                "client_id": client_id,
                "client_secret": "${LOGIN_SECRET}",
            }
        },
        "brokers": {
            "crm": {
                "kind": "user_oauth",
                "issuer": provider.issuer,
                "client": {"dcr": True},
                "scopes": ["offline_access"],
            }
        },
        "upstreams": {"echo": upstream},
    }
    environment = {"LOGIN_SECRET": secret}
    async with gateway_process(yaml.safe_dump(settings), tmp_path, environment=environment, port=port) as gateway:
        yield Place(gateway, provider, echo_server)
    assert verified(tmp_path).ok


async def test_a_user_connects_and_the_same_call_carries_a_token_of_the_user(place: Place):
    refused = await place.call("first")
    assert refused.codes == ["credential/connect"]
    told = await connect(refused)
    assert "Connected" in told.text, told.text

    assert (await place.call("second")).text == "second"
    value = place.carried("second")
    assert place.events() == ["asked", "agreed", "made"]
    (issued,) = [entry for entry in entries(place.gateway.folder, "lease") if entry["event"] == "issued"]
    assert issued["scope"] == ["mcp:call"]
    files = [path for path in place.gateway.folder.rglob("*") if path.is_file()]
    assert values_shown([value], *(path.read_bytes().decode("latin-1") for path in files)) == []


async def test_rotated_refresh_tokens_serve_one_task_after_another(place: Place):
    await connect(await place.call("first"))

    for number in range(3):
        assert (await place.call(f"call-{number}")).text == f"call-{number}"
        with connected(place.gateway.folder / "state/leases.sock", None, []) as desk:
            assert desk.ask("revoke", chosen={"all": True})["ended"] == 1
    assert len({place.carried(f"call-{number}") for number in range(3)}) == 3
    assert place.events() == ["asked", "agreed", "made"]


async def test_another_person_at_the_browser_connects_nothing(place: Place):
    refused = await place.call("first")
    await place.provider.seat("mallory")
    page = await connect(refused)

    assert (page.status_code, "connection/person" in page.text) == (403, True)
    assert (await place.call("second")).codes == ["credential/connect"]
    assert place.events() == ["asked", "refused"]


async def test_a_revoked_connection_is_out_of_use_at_once_and_ends_at_the_server(place: Place):
    await connect(await place.call("first"))
    await place.call("second")
    with connected(place.gateway.folder / "state/connections.sock", None, []) as desk:
        (listed,) = desk.ask("list")
        assert (listed["user"], listed["agent"], listed["state"]) == ("alice", "agent-1", "active")
        assert desk.ask("revoke", chosen={"user": "alice"}) == {"removed": 1}

    assert (await place.call("third")).codes == ["credential/connect"]
    until(lambda: "ended" in place.events())
    (ended,) = [entry for entry in entries(place.gateway.folder, "connection") if entry["event"] == "ended"]
    assert "problem" not in ended
    until(lambda: "revoked" in place.events("lease"))
    (revoked,) = [entry for entry in entries(place.gateway.folder, "lease") if entry["event"] == "revoked"]
    assert revoked["proof"]["kind"] == "introspection"


@pytest.mark.parametrize("place", ["jwt"], indirect=True)
async def test_a_token_that_the_server_cannot_revoke_waits_for_its_time(place: Place):
    await connect(await place.call("first"))
    assert (await place.call("second")).text == "second"
    with connected(place.gateway.folder / "state/connections.sock", None, []) as desk:
        desk.ask("revoke", chosen={"all": True})
    with connected(place.gateway.folder / "state/leases.sock", None, []) as desk:
        until(lambda: any(lease.get("problem") for lease in desk.ask("list")))
        (lease,) = desk.ask("list")

    assert (lease["state"], lease["cause"]) == ("ending", "connection-removed")
    assert "no proof is to be had" in lease["problem"]
