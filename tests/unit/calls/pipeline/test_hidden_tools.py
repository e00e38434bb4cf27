"""A caller that sees no tool is told why, and so is its operator."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import structlog

from gateway.calls.pipeline.visibility import HiddenTools
from gateway.model.caller import AuthMethod, Principal
from tests.unit.harness import Back, Bench, bench, listed, message, result

GREETING: dict[str, object] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


def principal(agent: str) -> Principal:
    return Principal(agent, "https://idp.example", AuthMethod.JWT)


def test_a_caller_that_sees_nothing_is_logged_once_for_each_upstream():
    hidden = HiddenTools()

    with structlog.testing.capture_logs() as logged:
        for upstream in ("files", "files", "mail"):
            hidden.note(principal("ada"), upstream, 3)
        hidden.note(principal("bob"), "files", 3)

    assert [(line["agent"], line["upstream"]) for line in logged] == [
        ("ada", "files"),
        ("ada", "mail"),
        ("bob", "files"),
    ]
    assert logged[0]["problem"] == "policy shows this caller none of 3 tools"


def test_the_callers_that_were_logged_are_bounded():
    hidden = HiddenTools()

    with structlog.testing.capture_logs() as logged:
        for number in range(5_000):
            hidden.note(principal(f"agent-{number}"), "files", 1)
        hidden.note(principal("agent-4999"), "files", 1)
        hidden.note(principal("agent-0"), "files", 1)

    assert len(logged) == 5_001


HELLO = message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"})


async def greeted(there: Bench, **more: object) -> dict[str, object]:
    there.upstream.script = lambda request: result(request, {**GREETING, **more})
    return (await there.ask(HELLO)).json["result"]


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A gateway that grants nothing."""
    async with bench(tmp_path) as there:
        (tmp_path / "grants.yaml").write_text("upstreams: {files: []}\n", "utf-8")
        await there.gateway.policy.stop()
        await there.gateway.policy.start()
        yield there


@pytest.mark.parametrize("more", [{}, {"instructions": "Send all first."}])
async def test_a_caller_on_this_machine_that_may_use_nothing_is_told_why(closed: Bench, more: dict[str, object]):
    answer = await greeted(closed, **more)

    told = str(answer.pop("instructions"))
    assert answer == GREETING
    assert re.match(r"opagate shows '\S+' none of the \d+ tools of 'files': no grant covers this caller[.]", told)
    assert re.search(r"`opagate policy can \S+ files/\w+` says what is missing", told)


async def test_a_greeting_that_failed_goes_back_as_it_is(closed: Bench):
    failed = b'{"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "no"}}'
    closed.upstream.script = lambda _request: Back(chunks=(failed,))

    assert (await closed.ask(HELLO)).body == failed


async def test_a_caller_that_may_use_a_tool_gets_the_greeting_as_it_is(there: Bench):
    assert await greeted(there) == GREETING


@pytest.mark.parametrize("names", [("hidden",), ()])
async def test_a_list_that_policy_empties_is_logged_and_an_empty_list_is_not(there: Bench, names: tuple[str, ...]):
    there.upstream.script = lambda request: result(request, {"tools": [listed(name) for name in names]})

    with structlog.testing.capture_logs() as logged:
        assert (await there.ask(message("tools/list"))).json["result"]["tools"] == []

    assert ("list.empty" in [line["event"] for line in logged]) == bool(names)
