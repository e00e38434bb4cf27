"""Observe mode of a running gateway, in both eras, before a server over HTTP and one over stdio."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from tests.e2e.running import Opa
from tests.e2e.wire import entries, metric, page, until, verified
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ROOT, ServerProcess

MODES = ("legacy", "2026-07-28")
GRANTS = """
upstreams:
  asking: [{id: asks, agents: ["*"], issuers: ["*"], tools: ["*"], approval: true}]
"""
READ = "{effect: read, egress: false, sensitivity: internal}"


@pytest.fixture(params=["embedded", pytest.param("opa", marks=pytest.mark.opa)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str]:
    """The settings of a policy without a grant for `echo`, `kept` and `local`, decided by either engine."""
    tree = open_policy(tmp_path)
    (tree / "gateway/grants/data.yaml").write_text(GRANTS, "utf-8")
    if request.param == "embedded":
        yield f"path: '{tree}', engine: {{kind: embedded, deadline: 20s}}"
        return
    opa = Opa(request.getfixturevalue("opa_path"), tree, tmp_path)
    opa.start()
    yield f"path: '{tree}', engine: {{kind: opa, url: 'unix://{opa.socket}', deadline: 20s}}"
    opa.kill()


@pytest.fixture
def observing(engine: str, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    """A gateway that enforces policy at `kept` alone."""
    command = json.dumps([sys.executable, "-m", "gateway.surfaces.demo.files", "--stdio"])
    apart = "isolation: {kind: none, accepted_by: tests, until: 2099-01-01}"
    http = f"url: '{echo_server.mcp}', environment: test, tools: {{'*': {READ}}}"
    settings = (
        f"identity: [{{kind: anonymous}}]\nenforce: false\nobserve_until: 2099-01-01T00:00:00Z\npolicy: {{{engine}, reload: 100ms}}\n"
        "upstreams:\n"
        f"  echo: {{{http}, audience: echo}}\n"
        f"  asking: {{{http}, audience: asking}}\n"
        f"  kept: {{{http}, audience: kept, enforce: true}}\n"
        f"  local: {{command: {command}, cwd: '{ROOT}', {apart}, audience: local, environment: test,"
        f" tools: {{'*': {READ}}}}}\n"
    )
    with running_gateway(settings, tmp_path) as gateway:
        yield gateway


async def use(gateway: GatewayProcess, upstream: str, mode: str, tool: str, **arguments: Any) -> tuple[list[str], bool]:
    """List the tools of an upstream and call one. Return the names, and whether the call came back as an error."""
    async with Client(f"{gateway.origin}/mcp/{upstream}", mode=mode) as client:
        names = [each.name for each in (await client.list_tools()).tools]
        result = await client.call_tool(tool, arguments)
    return names, bool(result.is_error)


@requirement("operations/observing")
async def test_calls_pass_that_policy_would_refuse_or_ask_about_and_the_record_says_so(observing: GatewayProcess):
    for mode in MODES:
        for upstream, tool in (("echo", "echo"), ("asking", "echo"), ("local", "list_files")):
            names, failed = await use(observing, upstream, mode, tool, **({"text": "x"} if tool == "echo" else {}))
            assert (tool in names, failed) == (True, False), (mode, upstream)
        names, failed = await use(observing, "kept", mode, "echo", text="x")
        assert (names, failed) == ([], True), mode

    calls = entries(observing.folder, "call")
    kept = [entry for entry in calls if entry["target"]["upstream"] == "kept"]
    passed = [entry for entry in calls if entry["target"]["upstream"] != "kept"]
    told = [(each["target"]["upstream"], each.get("would_refuse"), each.get("would_ask")) for each in passed]
    assert told == [
        ("echo", "tool/not-granted", None),
        ("asking", None, "approval/grant"),
        ("local", "tool/not-granted", None),
    ] * len(MODES)
    assert {entry["effect"] for entry in passed} == {"allow"}
    assert [(entry["effect"], "would_refuse" in entry) for entry in kept] == [("deny", False)] * len(MODES)
    assert entries(observing.folder, "approval") == []
    assert {*json.loads(page(observing, "/readyz")[1])["observing"]} == {"echo", "asking", "local"}
    assert metric(observing, "opagate_observing", upstream="echo") == 1
    verified(observing.folder)


@requirement("operations/observing")
async def test_the_end_of_observe_mode_is_that_of_passing_calls_without_a_restart(observing: GatewayProcess):
    path = observing.folder / "gateway.yaml"
    assert (await use(observing, "echo", MODES[0], "echo", text="x"))[1] is False
    text = path.read_text("utf-8").replace("enforce: false\nobserve_until: 2099-01-01T00:00:00Z\n", "")
    fresh = path.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
    until(lambda: "configuration.loaded" in observing.printed(), within=60)

    for mode in MODES:
        for upstream, tool in (("echo", "echo"), ("local", "list_files")):
            assert await use(observing, upstream, mode, tool) == ([], True), (mode, upstream)
    assert [entry["effect"] for entry in entries(observing.folder, "call")] == ["allow"] + ["deny"] * 4
