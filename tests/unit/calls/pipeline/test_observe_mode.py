"""Observe mode, through the whole pipeline: calls pass that policy would refuse, and the record says so."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.credentials.examples import example
from gateway.model.target import Pin, Target
from gateway.policy.observing import ObservedUpstream, ObserveMode
from tests.unit.clock import Clock
from tests.unit.exchanges import new_exchange
from tests.unit.harness import READING, Bench, answering, bench, call, listed, message, modern, result, retarget
from tests.unit.recurring import bearer

VALUE = example("ghp_{w:30}{crc62}", Random(1))
WITH_VAULT = (
    f"{READING}\n  vault:\n    url: http://127.0.0.1:9/mcp\n    audience: vault\n    environment: test\n"
    "    enforce: true\n    additional_arguments: pass\n    tools:\n"
    "      '*': {effect: read, egress: false, sensitivity: confidential}"
)
NOTHING = "upstreams: {}\n"
VAULT = "upstreams:\n  vault: [{id: v, agents: ['*'], issuers: ['*'], tools: ['*'], sensitivity: restricted}]\n"
WRITING = "{effect: write, egress: true, sensitivity: internal}"


@pytest.fixture
async def observed(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A gateway without grants that only observes."""
    async with bench(tmp_path, more="enforce: false\n", grants=NOTHING) as there:
        yield there


@pytest.fixture
async def beside_vault(tmp_path: Path) -> AsyncGenerator[Bench]:
    """A gateway that observes `files` beside an enforced `vault`, which alone is granted."""
    labels = WITH_VAULT.replace(READING, WRITING)
    async with bench(
        tmp_path, more="enforce: false\n", labels=labels, grants=VAULT, identity="{kind: development}"
    ) as there:
        yield there


@pytest.mark.parametrize("stateless", [True, False])
async def test_an_ungranted_call_passes_and_the_record_names_the_refusal(observed: Bench, *, stateless: bool):
    body, *headers = modern("tools/call", name="read_file", arguments={"path": "a"})
    answer = await (observed.ask(body, *headers) if stateless else observed.ask(call(path="a")))
    (entry,) = observed.entries("call")

    assert answer.json["result"]["content"] == []
    assert (entry["effect"], entry["would_refuse"]) == ("allow", "tool/not-granted")
    assert [reason["code"] for reason in entry["reasons"]] == ["tool/not-granted"]
    assert len(observed.entries("settled")) == 1
    assert b'effect="would-deny",upstream="files"' in observed.gateway.metrics.exposition()


async def test_a_question_is_recorded_and_asked_of_nobody(tmp_path: Path):
    async with bench(tmp_path, more="enforce: false\n") as there:
        await there.ask(call("ask_first"))
        (entry,) = there.entries("call")

    assert (entry["effect"], entry["would_ask"]) == ("allow", "approval/grant")
    assert len(there.upstream.sent) == 1


async def test_an_observed_call_is_in_history_as_done(observed: Bench):
    for _ in range(2):
        await observed.ask(call())
    first, second = observed.entries("call")
    task = observed.gateway.history.tasks.open_implicit(observed.upstream.sent[0].principal, first["history"]["at"])
    facts = observed.gateway.history.ledger.facts(task, second["history"]["at"])

    assert (facts.calls, facts.denials, facts.audiences) == (2, 0, {"files"})


async def test_a_changed_definition_is_refused_and_hidden(observed: Bench, monkeypatch: pytest.MonkeyPatch):
    target = observed.gateway.catalogue.target("files", "tool", "read_file")

    def changed(_upstream: str, _type: str, _name: str) -> Target:
        return replace(target, pin=Pin.CHANGED)

    retarget(monkeypatch, observed.gateway.catalogue, changed)
    answer = await observed.ask(call())
    (entry,) = observed.entries("call")

    assert answer.codes[0] == "catalogue/changed"
    assert (entry["effect"], "would_refuse" in entry) == ("deny", False)
    assert observed.upstream.sent == []


async def test_lists_show_every_usable_definition(observed: Bench):
    observed.upstream.script = lambda request: result(
        request, {"tools": [listed(name) for name in ("read_file", "hidden")]}
    )
    shown = (await observed.ask(message("tools/list"))).json["result"]["tools"]

    assert [tool["name"] for tool in shown] == ["read_file", "hidden"]


@pytest.mark.parametrize(
    "asked",
    [
        message("resources/read", uri="file:///a"),
        message("prompts/get", name="hidden"),
        message(
            "completion/complete", ref={"type": "ref/prompt", "name": "hidden"}, argument={"name": "a", "value": ""}
        ),
    ],
)
async def test_resources_prompts_and_completions_pass_too(observed: Bench, asked: bytes):
    await observed.ask(asked)
    (entry,) = observed.entries("call")

    assert (entry["effect"], "would_refuse" in entry, len(observed.upstream.sent)) == ("allow", True, 1)


async def test_a_malformed_message_is_refused(observed: Bench):
    answer = await observed.ask(
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a", "name": "b"}}'
    )

    assert answer.status == 400
    assert observed.upstream.sent == []


async def test_a_credential_of_an_enforced_system_does_not_reach_an_observed_one(beside_vault: Bench):
    there = beside_vault
    answering(there, {"content": [{"type": "text", "text": f"token: {VALUE}"}]})
    caller = bearer(there)
    await there.ask(call(), caller, upstream="vault", url="http://127.0.0.1:8080/mcp/vault")
    answer = await there.ask(call(path=VALUE), caller)

    assert answer.codes[0] == "credential-chain/presentation"
    assert len(there.upstream.sent) == 1


async def test_an_enforced_upstream_beside_it_refuses(tmp_path: Path):
    async with bench(tmp_path, more="enforce: false\n", labels=WITH_VAULT, grants=NOTHING) as there:
        answer = await there.ask(call(), upstream="vault", url="http://127.0.0.1:8080/mcp/vault")

        assert "tool/not-granted" in answer.codes
        assert (await there.ask(call())).json["result"]["content"] == []


async def test_enforcement_begins_without_a_restart(observed: Bench):
    clock = Clock(now=1000.0)
    mode = ObserveMode({"files": ObservedUpstream("files", 2000.0)}, frozenset(), clock)
    there = replace(observed, gateway=replace(observed.gateway, observing=mode))
    answers: list[Any] = []
    for clock.now in (1999.9, 2000.0):
        answers.append(await there.ask(call()))

    assert "content" in answers[0].json["result"]
    assert answers[1].codes == ["tool/not-granted"]
    assert json.dumps(there.entries("call")).count("would_refuse") == 1


async def test_a_date_that_is_over_enforces(tmp_path: Path):
    more = "enforce: false\nobserve_until: 2026-01-01T00:00:00Z\n"
    async with bench(tmp_path, more=more, grants=NOTHING) as there:
        assert (await there.ask(call())).codes == ["tool/not-granted"]
        assert there.entries("enforcement") == []


async def test_confidential_data_of_an_enforced_system_does_not_leave_through_an_observed_one(beside_vault: Bench):
    there, caller = beside_vault, bearer(beside_vault)
    answering(there, {"content": [{"type": "text", "text": "The salary is 12345."}]})
    read = await there.ask(call(), caller, upstream="vault", url="http://127.0.0.1:8080/mcp/vault")
    answer = await there.ask(call(path="The salary is 12345."), caller)
    entries = there.entries("call")

    assert "content" in read.json["result"]
    assert "toxic-flow/exfiltration" in [reason["code"] for reason in entries[1]["reasons"]]
    assert entries[1]["effect"] == "deny"
    assert answer.codes[0] == "toxic-flow/exfiltration"


async def test_the_one_endpoint_shows_an_observed_upstream(observed: Bench):
    """A request there names no upstream."""
    await observed.ask(call())
    pipeline, request = observed.gateway.pipeline, observed.upstream.sent[0]

    async def read() -> bytes:
        return b""

    exchange = new_exchange(headers=(), method="POST", upstream="", url="http://127.0.0.1:8080/mcp", body=read)
    context = pipeline.open_context(exchange, "POST /mcp")

    assert await pipeline.visibility.shows_upstream(context, request, "files")
    enforced = replace(observed.gateway, observing=ObserveMode({}, frozenset({"files"}), Clock()))
    assert not await enforced.pipeline.visibility.shows_upstream(context, request, "files")
