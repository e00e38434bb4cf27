"""A user's connection at npm `oidc-provider`: through a real gateway, with a browser that keeps cookies. Acceptance tests 22 to 25."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml
from playwright.async_api import Page, async_playwright, expect

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import Answer, Caller, call, entries, until, verified
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, gateway_process
from tests.servers.echo import Recorder
from tests.unit.authority.brokers.asking import values_shown

CHROMIUM = shutil.which("chromium")

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

    public: str = ""

    async def call(self, text: str, agent: str = "agent-1") -> Answer:
        now = int(time.time())
        audience = f"{self.public or self.gateway.origin}/mcp"
        claims = {"iss": self.provider.issuer, "sub": "alice", "client_id": agent, "aud": audience}
        token = await self.provider.sign({**claims, "iat": now, "exp": now + 600, "jti": f"{agent}-{text}"})
        caller = Caller(self.gateway, "echo", {"authorization": f"Bearer {token}"})
        return await asyncio.to_thread(caller.ask, call("echo", text=text))

    def carried(self, text: str) -> str:
        """Return the credential of the latest request with this text: tests share the server."""
        *_, found = [record for record in Recorder(self.echo.origin).requests() if f'"{text}"' in record["body"]]
        (value,) = [value for name, value in found["headers"] if name == "authorization"]
        return value.removeprefix("Bearer ")

    def events(self, kind: str = "connection") -> list[str]:
        return [entry["event"] for entry in entries(self.gateway.folder, kind)]


def link_of(answer: Answer) -> str:
    """Return the link of a refusal."""
    (url,) = set(re.findall(r"https?://[\w.:]+/connect/[\w-]+", answer.text))
    return url


class PublicAddress(httpx2.AsyncHTTPTransport):
    """The way of a browser to `https://gateway.test`, as by a proxy that ends TLS in front of a gateway."""

    def __init__(self, origin: str) -> None:
        super().__init__(trust_env=False)
        self._origin = httpx2.URL(origin)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host != "gateway.test":
            return await super().handle_async_request(request)
        url = request.url.copy_with(scheme="http", host=self._origin.host, port=self._origin.port)
        parts: dict[str, Any] = {"headers": request.headers, "stream": request.stream}
        inner = httpx2.Request(request.method, url, extensions=request.extensions, **parts)
        return await super().handle_async_request(inner)


async def connect(answer: Answer, transport: httpx2.AsyncHTTPTransport | None = None) -> httpx2.Response:
    """Open the link of a refusal in a browser of its own, log in, agree, and go on at the server."""
    url = link_of(answer)
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True, timeout=300, transport=transport) as browser:
        page = await browser.get(url)
        if "<form" not in page.text:
            return page
        (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        form = {"csrf": csrf, "answer": "allow"}
        onward = await browser.post(page.url, data=form, headers={"origin": origin})
        (target,) = re.findall(r'<a href="([^"]+)"', onward.text)
        return await browser.get(target.replace("&amp;", "&"))


@asynccontextmanager
async def started(
    provider: OAuthServer, echo: ServerProcess, folder: Path, *, resource: str = "opaque", public: str = ""
) -> AsyncGenerator[Place]:
    """Give a gateway. With the address `public` its client at the server is a document, else it registers itself."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    client_id, secret = await provider.register(f"{public or origin}/oauth/login")
    await provider.read_documents_at(origin)
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    client = {"cimd": True} if public else {"dcr": True}
    upstream = {
        "url": echo.mcp,
        "audience": "https://echo.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {
            "kind": "user_oauth",
            "broker": "crm",
            "resource": f"https://echo.example/{resource}",
            "scopes": {"read": ["mcp:call"], "write": ["mcp:list"]},
        },
    }
    login = {"issuer": provider.issuer, "client_id": client_id, "client_secret": "${LOGIN_SECRET}"}
    broker = {"kind": "user_oauth", "issuer": provider.issuer, "client": client, "scopes": ["offline_access"]}
    settings: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": provider.issuer}, {"kind": "development", "from": "private"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "connections": {"login": login},
        "brokers": {"crm": broker},
        "upstreams": {"echo": upstream},
        **({"public_url": public} if public else {}),
    }
    environment = {"LOGIN_SECRET": secret}
    async with gateway_process(yaml.safe_dump(settings), folder, environment=environment, port=port) as gateway:
        yield Place(gateway, provider, echo, public)
    assert verified(folder).ok


@pytest.fixture
async def place(
    provider: OAuthServer, echo_server: ServerProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Place]:
    resource = getattr(request, "param", "opaque")
    async with started(provider, echo_server, tmp_path, resource=resource) as running:
        yield running


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


@asynccontextmanager
async def chromium_page() -> AsyncGenerator[Page]:
    """Give a page of Chromium, which fails the test if the page breaks its own security policy."""
    async with async_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = await browser.new_page()
        page.set_default_timeout(60_000)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield page
        assert [one for one in complaints if "status of 4" not in one] == []
        await browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
async def test_chromium_goes_from_the_link_to_the_connection(place: Place):
    url = link_of(await place.call("first"))
    async with chromium_page() as page:
        await page.goto(url)
        await expect(page.get_by_role("heading", name="Connect echo?")).to_be_visible()
        for word in ("agent-1", "alice", "mcp:call"):
            await expect(page.get_by_text(word).first).to_be_visible()
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect(page.get_by_role("heading", name="Connected")).to_be_visible()
        await page.go_back()
        await page.reload()

    assert (await place.call("second")).text == "second"
    assert place.events() == ["asked", "agreed", "made"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
async def test_chromium_shows_another_person_nothing_to_press(place: Place):
    url = link_of(await place.call("first"))
    await place.provider.seat("mallory")
    async with chromium_page() as page:
        await page.goto(url)
        await expect(page.get_by_text("connection/person")).to_be_visible()
        assert await page.get_by_role("button").count() == 0


async def test_rotated_refresh_tokens_serve_one_task_after_another(place: Place):
    await connect(await place.call("first"))

    for number in range(3):
        assert (await place.call(f"call-{number}")).text == f"call-{number}"
        with connect_to_gateway(place.gateway.folder / "state/control.sock") as desk:
            assert desk.ask("leases/revoke", all=True)["ended"] == 1
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
    with connect_to_gateway(place.gateway.folder / "state/control.sock") as desk:
        (listed,) = desk.ask("connections/list")
        assert (listed["user"], listed["agent"], listed["state"]) == ("alice", "agent-1", "active")
        assert desk.ask("connections/revoke", user="alice") == {"removed": 1}

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
    with connect_to_gateway(place.gateway.folder / "state/control.sock") as desk:
        desk.ask("connections/revoke", all=True)
    with connect_to_gateway(place.gateway.folder / "state/control.sock") as desk:
        until(lambda: any(lease.get("problem") for lease in desk.ask("leases/list")))
        (lease,) = desk.ask("leases/list")

    assert (lease["state"], lease["cause"]) == ("ending", "connection-removed")
    assert "no proof is to be had" in lease["problem"]


async def test_a_server_reads_the_document_of_the_client(
    provider: OAuthServer, echo_server: ServerProcess, tmp_path: Path
):
    async with started(provider, echo_server, tmp_path, public="https://gateway.test") as place:
        refused = await place.call("first")
        told = await connect(refused, PublicAddress(place.gateway.origin))

        assert "Connected" in told.text, told.text
        assert (await place.call("second")).text == "second"
        address = f"{place.gateway.origin}/.well-known/oauth-client/crm"
        async with httpx2.AsyncClient(trust_env=False) as client:
            document = (await client.get(address)).json()
        assert document["client_id"] == "https://gateway.test/.well-known/oauth-client/crm"
