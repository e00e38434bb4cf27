"""An overlay that declares facts: what the check finds, and what both engines decide by a fact."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import PolicySettings
from gateway.model.errors import PolicyBroken
from gateway.policy import authoring
from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.opa.program import find_program
from gateway.policy.policy import Policy
from tests.policy.conftest import cases
from tests.unit.harness import bench
from tests.unit.harness import call as harness_call

FACTS = """
facts:
  reads:
    count: calls
    of: {tool: files/read_file}
    by: [task]
"""
RULE = """# METADATA
# scope: package
# title: Denials about reads
# schemas:
#   - input: schema.input
package overlay.reads

# METADATA
# title: At most two reads
# custom:
#   code: acme-reads/many
#   message: The task has read enough.
#   remedy: Work with what was read.
#   controls: [ASI02]
denials contains {"code": "acme-reads/many", "facts": ["/facts/reads"]} if {CONDITION}
"""
pytestmark = pytest.mark.opa


def overlay(folder: Path, condition: str, facts: str = FACTS) -> PolicyFolders:
    (folder / "reads").mkdir(parents=True, exist_ok=True)
    (folder / "reads/reads.rego").write_text(RULE.replace("CONDITION", f" {condition} "), "utf-8")
    (folder / "facts.yaml").write_text(facts, "utf-8")
    return PolicyFolders(folders.find_shipped(), overlay=folder)


MISREAD = {
    "input.facts.raeds > 2": "`input.facts` has no field `raeds`; did you mean `reads`?",
    "input.facts_before.raeds > 2": "`input.facts_before` has no field `raeds`; did you mean `reads`?",
    'some name, number in input.facts; number > 2; name != ""': "`input.facts` is read by a computed name",
    "input.facts[input.action.name] > 2": "`input.facts` is read by a computed name",
    'object.get(input.facts, "raeds", 0) > 2': "`input.facts` is read by a computed name",
    "count(input.facts) > 2": "`input.facts` is read by a computed name",
}


def test_a_fact_is_read_by_its_declared_name_alone(tmp_path: Path):
    right = "input.facts.reads > 2; input.facts_before.reads > 1"
    place = overlay(tmp_path / "own", right)
    written = RULE.replace("CONDITION", f" {right} ")
    for condition in MISREAD:
        written += f'\ndenials contains {{"code": "acme-reads/many", "facts": []}} if {{ {condition} }}\n'
    (tmp_path / "own/reads/reads.rego").write_text(written, "utf-8")
    policy, opa = folders.read_policy(place), find_program()
    assert opa is not None

    used = authoring.find_input_use(policy, bytes(authoring.compile_rules(policy, opa).plan))

    first = RULE.count("\n") + 2
    assert [each.partition(": ")[0] for each in used.misuses] == [
        f"overlay/reads/reads.rego:{first + 2 * number}" for number in range(len(MISREAD))
    ]
    for each, said in zip(used.misuses, MISREAD.values(), strict=True):
        assert said in each
    assert "reads" in used.facts


def test_a_file_of_facts_at_another_place_is_refused(tmp_path: Path):
    place = overlay(tmp_path / "own", "input.facts.reads > 2")
    (tmp_path / "own/facts.yaml").rename(tmp_path / "own/reads/facts.yaml")

    with pytest.raises(PolicyBroken, match="is not read there"):
        folders.read_policy(place)


async def test_the_policy_in_force_has_its_facts_and_decides_by_them(tmp_path: Path):
    place = overlay(tmp_path / "own", "input.facts.reads > 2")
    policy = Policy.build(
        PolicySettings(overlay=place.overlay), supported=frozenset(SUPPORTED_OBLIGATIONS), clock=lambda: 0.0
    )
    await policy.start()
    call = next(case.input for case in cases() if case.name == "allow: the agent reads a file")

    try:
        assert "reads" in policy.facts.by_name
        for number, effect in ((2, "allow"), (3, "deny")):
            decision = await policy.decide({**call, "facts": {"reads": number}, "facts_before": {}})
            assert decision.effect == effect
        incomplete = await policy.decide({**call, "facts": {}, "facts_before": {}, "facts_incomplete": ["reads"]})
        assert [reason.code for reason in incomplete.reasons] == ["fact/incomplete"]
    finally:
        await policy.stop()


async def test_facts_that_go_away_under_a_rule_keep_the_change_out(tmp_path: Path):
    """The rules are the same, so nothing but the data tells that a rule reads what nobody declares."""
    place = overlay(tmp_path / "own", "input.facts.reads > 2")
    settings = PolicySettings(overlay=place.overlay)
    first = Policy.build(settings, supported=frozenset(), clock=lambda: 0.0)
    await first.start()
    await first.stop()
    (tmp_path / "own/facts.yaml").write_text(FACTS.replace("reads:", "writes:"), "utf-8")

    with pytest.raises(PolicyBroken, match=r"`input\.facts` has no field `reads`"):
        await Policy.build(settings, supported=frozenset(), clock=lambda: 0.0).start()


def test_conditions_on_arguments_are_those_of_grants(tmp_path: Path):
    """By the command, so that facts, engine and replay are those of a user."""
    facts = FACTS.replace("tool: files/read_file", "tool: files/read_file, arguments: {/arguments/path: {under: /srv}}")
    overlay(tmp_path / "own", "input.facts.reads > 1", facts)
    paths = ["/srv/a", "/home/a", "/srv/../home/a", "/srv/b"]
    steps = [{"upstream": "files", "tool": "read_file", "arguments": {"path": path}} for path in paths]
    tools = {"read_file": {"effect": "read", "egress": False}}
    trace = {"id": "t", "upstreams": {"files": {"audience": "files", "tools": tools}}, "steps": steps}
    (tmp_path / "trace.jsonl").write_text(json.dumps(trace) + "\n", "utf-8")
    (tmp_path / "grants.yaml").write_text("upstreams: {files: reads}\n", "utf-8")
    policy = "policy: {overlay: own, grants: grants.yaml, require_tests: false}"
    (tmp_path / "gateway.yaml").write_text(f"identity: [{{kind: development}}]\n{policy}\nupstreams: {{}}\n", "utf-8")
    command = [sys.executable, "-m", "gateway", "policy", "replay", "trace.jsonl", "--json", "--config", "gateway.yaml"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=_environment())

    effects = [json.loads(line)["effect"] for line in done.stdout.splitlines()]
    assert effects == ["allow", "allow", "allow", "deny"], done.stdout + done.stderr


def _environment() -> dict[str, str]:
    opa = find_program()
    assert opa is not None
    return {**os.environ, "PATH": f"{opa.parent}:{os.environ['PATH']}"}


async def test_a_shadow_policy_decides_by_facts_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither the policy in force nor the record of a decision has its facts."""
    monkeypatch.setenv("PATH", _environment()["PATH"])
    overlay(tmp_path / "next", "input.facts.party_reads > 1", FACTS.replace("reads:", "party_reads:"))
    async with bench(tmp_path, policy="shadow: next,") as there:
        shadow = there.gateway.shadow
        assert shadow is not None
        while not shadow.status().revision:
            await asyncio.sleep(0.05)
        for _ in range(3):
            assert (await there.ask(harness_call("read_file", path="a"))).status == 200
        while sum(shadow.status().counts.values()) < 3:
            await asyncio.sleep(0.05)
        assert shadow.status().counts == {"agreed": 1, "differed": 2, "failed": 0, "dropped": 0}
        first, *_ = there.entries("call")
    differed = there.entries("shadow")

    assert [entry["shadow"]["codes"] for entry in differed] == [["acme-reads/many"]] * 2
    assert "party_reads" not in str(first["declared"])


def test_the_list_names_the_rules_that_read_a_fact(tmp_path: Path):
    overlay(tmp_path / "own", "input.facts.reads > 2")
    command = [sys.executable, "-m", "gateway", "policy", "facts", "--json", "--overlay", "own"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=_environment())

    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found["reads"]["read_by"] == ["overlay/reads/reads.rego"], done.stderr
    assert (found["reads"]["by"], found["reads"]["within"], found["reads"]["file"]) == (
        ["task"],
        None,
        "overlay/facts.yaml",
    )
    assert found["party_calls"]["read_by"] == ["gateway/denials/limit/limit.rego"]
