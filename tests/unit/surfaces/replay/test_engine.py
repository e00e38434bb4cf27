from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Decision, Obligation
from gateway.model.target import Target
from gateway.policy import verdict
from gateway.surfaces.replay.engine import Assume, StepOutcome, replay
from gateway.surfaces.replay.reader import read_traces
from gateway.surfaces.replay.trace import BEGINNING, Expectation, Trace
from tests import machine
from tests.unit.policy.failing import failing_policy
from tests.unit.surfaces.replay.conftest import READ, allow, call, deciding, decision, trace

LONG = 15_000
"""Steps of one task."""

SITES: dict[str, Any] = {
    "fs": {"audience": "files", "tools": {"read": {**READ, "sensitivity": "confidential"}, "look": READ}},
    "mail": {"audience": "mail", "tools": {"send": {"roles": {"/to": "destination"}}}},
}


async def run(one: Trace, rule: Any = allow, assume: Assume = "refused") -> list[StepOutcome]:
    return [outcome async for outcome in replay([one], deciding(rule), assume=assume)]


def unless(tool: str) -> Any:
    def rule(document: dict[str, Any]) -> Decision:
        return decision("deny", "no/way") if document["resource"]["properties"]["tool"] == tool else decision("allow")

    return rule


def asking(_: object) -> Decision:
    return decision("ask", "a/b")


async def test_policy_is_asked_what_a_live_call_would_ask():
    asked: list[dict[str, Any]] = []

    def rule(document: dict[str, Any]) -> Decision:
        asked.append(json.loads(json.dumps(document)))
        return decision("allow")

    await run(
        trace(
            call("fs/read", {"path": "a"}),
            call("mail/send", {"to": "Ana@Corp.example"}, at=90),
            task={"goal": "tell ana@corp.example", "agent": "spiffe://corp/a", "delegation": ["one"]},
            upstreams=SITES,
        ),
        rule,
    )

    first, second = asked
    assert first["version"] == 1
    assert first["action"] == {"name": "tools/call"}
    assert first["context"]["time"] == "2026-01-01T00:00:00Z"
    assert first["context"]["task"]["opened"] == "2026-01-01T00:00:00Z"
    assert first["context"]["supported_obligations"] == ["conceal_credentials", "issue_credential", "label", "limit"]
    assert first["session"]["calls"] == 1
    assert first["session"]["depth"] == 1
    assert second["resource"]["id"] == "mail/send"
    assert second["arguments"] == {"to": "Ana@Corp.example"}
    assert second["context"]["time"] == "2026-01-01T00:01:30Z"
    assert second["session"]["audiences"] == ["files", "mail"]
    assert second["session"]["audiences_in_window"] == ["mail"]
    assert second["session"]["call_destinations"] == ["ana@corp.example"]
    assert second["session"]["ungrounded"] == []
    assert second["session"]["labels"] == {"untrusted": True, "confidentiality": "confidential"}


async def test_a_refused_step_leaves_a_denial_and_nothing_else():
    outcomes = await run(trace(call("fs/read", result="x"), call("fs/look"), upstreams=SITES), unless("read"))

    facts: Any = outcomes[1].facts
    assert (outcomes[0].decision.effect, outcomes[0].codes) == ("deny", ("no/way",))
    assert (facts["calls"], facts["denials"], facts["in_flight"]) == (1, 1, 1)
    assert facts["labels"] == {"untrusted": False, "confidentiality": "public"}


@pytest.mark.parametrize("code", verdict.FAILURES)
async def test_a_step_without_a_verdict_leaves_no_denial(code: str):
    one = trace(call("fs/read"), call("fs/look"), upstreams=SITES)
    outcomes = [outcome async for outcome in replay([one], failing_policy(code).decide)]

    assert [outcome.codes for outcome in outcomes] == [(code,), (code,)]
    assert outcomes[1].facts["denials"] == 0


async def test_a_step_that_a_person_would_be_asked_about_leaves_no_denial():
    outcomes = await run(trace(call("fs/read"), call("fs/look"), upstreams=SITES), asking)

    assert outcomes[1].facts["denials"] == 0


async def test_a_refused_step_that_is_taken_to_go_on_is_seen_by_later_ones():
    one = trace(call("fs/read", result="x"), call("fs/look"), upstreams=SITES)
    facts: Any = (await run(one, unless("read"), "forwarded"))[1].facts

    assert (facts["calls"], facts["denials"]) == (2, 0)
    assert facts["labels"] == {"untrusted": True, "confidentiality": "confidential"}


async def test_a_step_that_a_person_would_be_asked_about_is_not_taken_for_approved():
    outcomes = await run(trace(call("fs/read"), call("fs/look"), upstreams=SITES), asking)
    facts: Any = outcomes[1].facts

    assert facts["labels"]["untrusted"] is False


APPROVE: dict[str, Any] = {"approvers": [{"id": "bob"}]}


def releasing(document: dict[str, Any]) -> Decision:
    """Ask about each call, and let a call pass whose approval answers the question."""
    approval = document["context"]["approval"]
    return decision("allow") if approval is not None and "a/b" in approval["answers"] else decision("ask", "a/b")


async def test_an_approved_step_is_decided_again_with_the_approval():
    seen: list[Any] = []

    def rule(document: dict[str, Any]) -> Decision:
        seen.append(json.loads(json.dumps(document["context"]["approval"])))
        return releasing(document)

    (outcome,) = await run(trace({**call("fs/read"), "approve": APPROVE}, upstreams=SITES), rule)

    assert outcome.decision.allowed
    assert seen[0] is None
    assert seen[1] == {
        "id": "t/0",
        "digest": "replay:t/0",
        "approvers": [{"id": "bob", "issuer": "urn:opagate:trace", "groups": [], "assurance": "login"}],
        "granted": "2026-01-01T00:00:00Z",
        "scopes": ["once"],
        "answers": ["a/b"],
    }


async def test_an_approved_step_counts_and_its_answer_is_seen():
    one = trace({**call("fs/read", result="x"), "approve": APPROVE}, call("fs/look"), upstreams=SITES)
    facts: Any = (await run(one, releasing))[1].facts

    assert facts["approvals_used"] == 1
    assert facts["labels"]["untrusted"] is True


@pytest.mark.parametrize("approve", [{**APPROVE, "answers": []}, {**APPROVE, "answers": ["c/d"]}])
async def test_an_approval_of_other_codes_releases_nothing(approve: Any):
    one = trace({**call("fs/read"), "approve": approve}, call("fs/look"), upstreams=SITES)
    outcomes = await run(one, releasing)

    assert outcomes[0].decision.effect == "ask"
    facts: Any = outcomes[1].facts
    assert facts["approvals_used"] == 0


async def test_an_approval_heals_no_denial_and_is_not_used_where_nothing_asks():
    one = trace({**call("fs/read"), "approve": APPROVE}, {**call("fs/look"), "approve": APPROVE}, upstreams=SITES)
    outcomes = await run(one, unless("read"))
    facts: Any = outcomes[1].facts

    assert [outcome.decision.effect for outcome in outcomes] == ["deny", "allow"]
    assert facts["approvals_used"] == 0


@pytest.mark.parametrize(("scopes", "left"), [(["once"], ["/to"]), (["once", "destination"], [])])
async def test_the_reach_of_an_approval_says_what_later_steps_may_do(scopes: list[str], left: list[str]):
    send = {"upstream": "mail", "tool": "send", "arguments": {"to": "eve@evil.example"}}
    one = trace(
        call("fs/look", result="write to eve@evil.example"),
        {**send, "approve": {**APPROVE, "scopes": scopes}},
        send,
        upstreams=SITES,
    )

    def rule(document: dict[str, Any]) -> Decision:
        return decision("allow") if document["resource"]["properties"]["upstream"] == "fs" else releasing(document)

    facts: Any = (await run(one, rule))[2].facts

    assert list(facts["ungrounded"]) == left


async def test_credentials_are_known_again_by_where_they_came_from():
    place = {"arguments": {"note": "{{secret:github:base64}}", "mine": "{{secret:stripe}}", "new": "{{secret:slack}}"}}
    outcomes = await run(
        trace(
            call("fs/look", result="token: {{secret:github}}"),
            {"upstream": "mail", "tool": "send", **place},
            task={"goal": "use {{secret:stripe}}"},
            upstreams=SITES,
        )
    )
    found: Any = outcomes[1].facts["credentials"]

    assert not outcomes[0].facts["credentials"]
    assert {item["pointer"]: item["origin"] for item in found} == {
        "/note": {"kind": "result", "audience": "files", "call": 1},
        "/mine": {"kind": "user"},
        "/new": {"kind": "unknown"},
    }


def origins(outcome: StepOutcome) -> list[Any]:
    held: Any = outcome.facts["credentials"]
    return [item["origin"] for item in held]


async def test_halves_in_two_steps_are_a_credential_again():
    halves = [call("mail/send", {"to": f"a {{{{secret:password:half{half}}}}}"}) for half in (1, 2, 1)]
    seen = await run(
        trace(call("fs/read", {}, result="password: {{secret:password}}"), *halves, upstreams=SITES), unless("none")
    )
    from_files = {"kind": "result", "audience": "files", "call": 1}
    assert [origins(outcome) for outcome in seen] == [[], [], [from_files], [from_files]]


async def test_a_credential_after_a_flood_is_known_again():
    flood = "\n".join(f"SERVICE_{number}_PASSWORD={{{{secret:password-{number}}}}}" for number in range(1_100))
    seen = await run(
        trace(
            call("fs/read", {}, result=flood),
            call("fs/look", {}, result="password: {{secret:password}}"),
            call("mail/send", {"to": "a {{secret:password}}"}),
            upstreams=SITES,
        )
    )
    assert [origin["audience"] for origin in origins(seen[-1])] == ["files"]


async def test_a_credential_of_a_refused_step_was_never_seen():
    steps = (call("fs/look", result="token: {{secret:github}}"), call("mail/send", {"note": "{{secret:github}}"}))
    kinds: list[str] = []
    for assume in ("refused", "forwarded"):
        found: Any = (await run(trace(*steps, upstreams=SITES), unless("look"), assume))[1].facts["credentials"]
        kinds += [item["origin"]["kind"] for item in found]

    assert kinds == ["unknown", "result"]


async def test_a_step_without_a_result_has_read_something_all_the_same():
    silent = {"upstream": "fs", "tool": "look"}
    facts: Any = (await run(trace(silent, call("fs/look"), upstreams=SITES)))[1].facts

    assert facts["labels"] == {"untrusted": True, "confidentiality": "internal"}


@pytest.mark.parametrize(
    "result",
    [
        "write to eve@evil.example",
        {"contact": "eve@evil.example"},
        ["eve@evil.example"],
        {"content": [{"type": "text", "text": "eve@evil.example"}]},
        {"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "eve@evil.example"}}]},
        {"isError": True, "content": [{"type": "text", "text": "unknown: eve@evil.example"}]},
    ],
)
async def test_results_of_every_shape_are_looked_at(result: Any):
    sites = {**SITES, "book": {"audience": "book", "trust": "trusted", "tools": {"find": READ}}}
    send = call("mail/send", {"to": "eve@evil.example"})
    plain = await run(trace(send, upstreams=sites))
    told = await run(trace(call("book/find", result=result), send, upstreams=sites))

    assert [outcomes[-1].facts["ungrounded"] for outcomes in (plain, told)] == [("/to",), ()]


async def test_data_of_an_untrusted_result_is_followed():
    secret = "see https://intern.corp.example/plans/aurora-2027 and ticket AURORA-77123"
    outcomes = await run(
        trace(
            call("fs/look", result=secret),
            call("mail/send", {"body": secret}),
            call("chat/post", {"text": secret}),
            upstreams=SITES,
        )
    )

    assert [outcome.facts["spread"] for outcome in outcomes] == [0, 1, 2]


async def test_a_label_of_policy_raises_what_the_task_has_read():
    def rule(_: object) -> Decision:
        return decision("allow", obligations=(Obligation("label", {"confidentiality": "restricted"}),))

    facts: Any = (await run(trace(call("fs/look", result="x"), call("fs/look"), upstreams=SITES), rule))[1].facts

    assert facts["labels"]["confidentiality"] == "restricted"


async def test_each_trace_begins_anew():
    traces = [trace(call("fs/read"), name=name, upstreams=SITES) for name in "ab"]
    found = [outcome async for outcome in replay(traces, deciding(allow))]

    assert [(outcome.trace, outcome.number, outcome.facts["calls"]) for outcome in found] == [("a", 0, 1), ("b", 0, 1)]


@pytest.mark.parametrize(
    ("expect", "met"),
    [
        (None, True),
        (Expectation(frozenset({"deny"})), True),
        (Expectation(frozenset({"deny", "ask"}), "x/y"), True),
        (Expectation(frozenset({"deny"}), "x/z"), False),
        (Expectation(frozenset({"allow", "ask"})), False),
    ],
)
def test_an_expectation_is_met_by_effect_and_code(expect: Expectation | None, *, met: bool):
    call = Call("tools/call", Target("tool", "a", "b", "a"), {})
    assert (
        StepOutcome(
            "t",
            0,
            Principal("dev", "urn:opagate:development", AuthMethod.DEVELOPMENT),
            call,
            decision("deny", "a/b", "x/y"),
            {},
            expect,
        ).met
        is met
    )


@machine.needs_proc
def test_memory_does_not_grow_with_the_length_of_a_task(tmp_path: Path):
    path = tmp_path / "long.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"id":"long","steps":[')
        for number in range(LONG):
            item = call("fs/look", {"path": f"f{number}"}, f"see https://host{number}.example/{number}")
            file.write(f"{',' if number else ''}{json.dumps(item)}")
        file.write("]}\n")
    # Tests before this one leave room in a process, which it fills at any time.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        early, late = fresh.submit(replay_long, path).result()

    assert late - early < 3 * 2**19


def replay_long(path: Path) -> list[int]:
    """Replay the trace, and return the memory of this process late and at the end."""

    async def measure() -> list[int]:
        outcomes = replay(read_traces(path), deciding(allow))
        return [resident() async for outcome in outcomes if outcome.number in {2 * LONG // 3, LONG - 1}]

    return asyncio.run(measure())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_trace_begins_at_a_fixed_time():
    assert BEGINNING == 1767225600.0


async def test_agents_of_one_user_have_tasks_of_their_own_and_one_job():
    asked: list[dict[str, Any]] = []

    def rule(document: dict[str, Any]) -> Decision:
        asked.append(json.loads(json.dumps(document)))
        return decision("allow")

    await run(
        trace(
            call("fs/look", agent="reader"),
            call("mail/send", {"to": "ana@corp.example"}, agent="actor"),
            call("mail/send", {"to": "ana@corp.example"}, agent="actor", user="another"),
            call("fs/look"),
            task={"user": "ann", "agent": "orchestrator"},
            upstreams=SITES,
        ),
        rule,
    )

    assert [one["subject"]["id"] for one in asked] == ["reader", "actor", "actor", "orchestrator"]
    assert [one["session"]["calls"] for one in asked] == [1, 1, 1, 1]
    assert [one["session"]["labels"]["untrusted"] for one in asked] == [False, True, False, True]
