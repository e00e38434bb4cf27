"""Demo servers that accept only requests of the gateway: a real SDK server in a real process, and tokens minted here."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import pytest_asyncio

from gateway.surfaces.demo.processes import GatewayKeys, run_servers
from tests.minted import ISSUER, Minter, message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

READ = message(params={"name": "read_ticket", "arguments": {"ticket": "T-1041"}})
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}
OPENING = message(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
)


@pytest.fixture(scope="module")
def minter() -> Minter:
    return Minter(issuer=ISSUER, audience="tickets.example.com")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verified(minter: Minter, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("verified")
    (folder / "jwks.json").write_text(json.dumps(minter.mint.jwks()), "utf-8")
    async with run_servers(folder, GatewayKeys(ISSUER, folder / "jwks.json")) as urls:
        yield urls


@pytest_asyncio.fixture(loop_scope="module")
async def session(verified: dict[str, str], minter: Minter) -> AsyncGenerator[httpx2.AsyncClient]:
    """A session that was opened with a token which permits no calls."""
    minter.now = time.time()
    async with httpx2.AsyncClient(
        base_url=verified["tickets"].removesuffix("/mcp"), headers=HEADERS, timeout=300
    ) as client:
        opened = await post(client, minter.task(may_call=False), OPENING)
        assert opened.status_code == 200, opened.text
        client.headers["mcp-session-id"] = opened.headers["mcp-session-id"]
        yield client


async def post(client: httpx2.AsyncClient, token: str | None, body: bytes) -> httpx2.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return await client.post("/mcp", content=body, headers=headers)


def result_of(answer: httpx2.Response) -> dict[str, Any]:
    """Return the result in an event stream."""
    (data,) = (line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {"))
    return json.loads(data)["result"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_call_with_its_token_is_carried_out_once(session: httpx2.AsyncClient, minter: Minter):
    token = minter.call(READ)

    first, second = [await post(session, token, READ) for _ in range(2)]

    assert "Checkout hangs" in result_of(first)["content"][0]["text"]
    assert (second.status_code, second.json()["code"]) == (401, "token/used")


async def test_a_call_past_the_gateway_is_refused(session: httpx2.AsyncClient, minter: Minter):
    other = message(params={"name": "read_ticket", "arguments": {"ticket": "T-1042"}})
    mail = Minter(key=minter.key, audience="mail.example.com", now=minter.now)

    answers = [
        await post(session, token, READ)
        for token in (None, minter.call(other), minter.task(), mail.call(READ), "eyJ.eyJ.x")
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (401, "token/missing"),
        (401, "call/other"),
        (401, "call/unbound"),
        (401, "token/audience"),
        (401, "token/malformed"),
    ]


async def test_lists_need_a_token_of_a_task(session: httpx2.AsyncClient, minter: Minter):
    listing = message("tools/list", {})

    listed = await post(session, minter.task(may_call=False), listing)

    assert {tool["name"] for tool in result_of(listed)["tools"]} >= {"read_ticket", "close_ticket"}
    assert (await post(session, None, listing)).status_code == 401


async def test_anybody_may_ask_whether_the_server_is_there(session: httpx2.AsyncClient):
    answer = await session.get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok")
