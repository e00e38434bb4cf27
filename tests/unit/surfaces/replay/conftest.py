"""Traces made in a test, and a policy that is a function."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import PolicySettings
from gateway.model.decision import Decision, Obligation, PolicyRevision, Reason
from gateway.model.wire import JsonObject
from gateway.policy.policy import Policy
from gateway.surfaces.replay.trace import Step, Trace, head, step

READ = {"effect": "read", "egress": False}
GRANTS = """
upstreams:
  "*":
    - {id: all, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write, destructive, mint, exec],
       sensitivity: restricted}
"""
POLICY = PolicyRevision("test", "1")


def call(where: str, arguments: dict[str, Any] | None = None, result: Any = "", **more: Any) -> dict[str, Any]:
    upstream, tool = where.split("/")
    return {"upstream": upstream, "tool": tool, "arguments": arguments or {}, "result": result, **more}


def trace(*steps: dict[str, Any], name: str = "t", **members: Any) -> Trace:
    made: list[Step] = []
    for number, item in enumerate(steps):
        made.append(step(item, number, name, made[-1].at if made else None))
    return head({"id": name, **members}, made)


def decision(effect: str, *codes: str, obligations: tuple[Obligation, ...] = ()) -> Decision:
    reasons = tuple(Reason(code, code) for code in codes)
    return Decision(cast("Any", effect), reasons, obligations, POLICY)


def deciding(rule: Callable[[dict[str, Any]], Decision]) -> Callable[[JsonObject], Awaitable[Decision]]:
    async def decide(document: JsonObject) -> Decision:
        return rule(cast("dict[str, Any]", document))

    return decide


def allow(_: object) -> Decision:
    return decision("allow")


@pytest.fixture
async def shipped_policy(tmp_path: Path) -> AsyncIterator[Policy]:
    grants = tmp_path / "grants.yaml"
    grants.write_text(GRANTS, encoding="utf-8")
    settings = PolicySettings.model_validate({"grants": str(grants), "engine": {"kind": "embedded", "deadline": "10s"}})
    policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time, is_for_calls=False)
    await policy.start()
    yield policy
    await policy.stop()
