"""The link of a refusal leads people with a login to its decision, and tells others nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.wire.protocol.replies import DECISION_META
from tests.unit.approving import QUICK
from tests.unit.harness import JSON, Answer, call, modern
from tests.unit.surfaces.console.visiting import Browser, person, visited
from tests.unit.surfaces.pages.asking import ask_page

OWN = "http://127.0.0.1:8080"


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path, QUICK) as browser:
        yield browser


async def send(browser: Browser, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return await ask_page(browser.there, "POST", path, *headers, body=body, edge=browser.edge, is_json=False)


def link_of(answer: Answer) -> str:
    """Return the path of the link, which the data and the text of a refusal both have."""
    found = json.loads(answer.body)
    if "result" in found:
        data, text = found["result"]["_meta"], found["result"]["content"][0]["text"]
    else:
        data, text = found["error"]["data"], found["error"]["message"]
    link: str = data[DECISION_META]["link"]
    assert link in text
    assert link.startswith(f"{OWN}/console/decisions/")
    return link.removeprefix(OWN)


@pytest.mark.parametrize(
    ("path", "sent", "shown"),
    [
        ("/mcp/files", (call("hidden", path="a"),), "hidden"),
        ("/mcp/files", (call("ask_first", path="a"),), "ask_first"),
        ("/mcp/files", modern("tools/call", name="hidden", arguments={"path": "a"}), "hidden"),
        ("/mcp/files", modern("resources/read", uri="file:///hidden"), "request/header"),
        ("/mcp", modern("tools/call", name="files__hidden", arguments={"path": "a"}), "hidden"),
        ("/mcp", (call("files__hidden"),), "session/missing"),
        ("/mcp/files", (b"{",), "request/json"),
    ],
)
async def test_the_link_of_a_refusal_shows_its_decision_to_viewers_alone(
    stranger: Browser, path: str, sent: tuple[bytes, *tuple[tuple[bytes, bytes], ...]], shown: str
):
    body, *headers = sent
    link = link_of(await send(stranger, path, body, *JSON, *headers))

    page = await stranger.visit(person("vera", "viewer")).get(link)
    assert page.status == 200
    assert shown.encode() in page.body
    assert shown.encode() not in (await stranger.get(link)).body
    assert (await stranger.visit(person("carol", "approver")).get(link)).status == 403


async def test_a_caller_that_nobody_knows_hears_of_no_console(stranger: Browser):
    refused = await send(stranger, "/mcp/files", call(), *JSON, (b"authorization", b"Bearer nobody"))

    assert refused.status == 401
    assert b"console" not in refused.body
    assert b"console" not in (await send(stranger, "/nowhere", b"{}", *JSON)).body
