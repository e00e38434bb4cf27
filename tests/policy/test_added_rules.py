"""A rule that an author adds beside the shipped rules runs for every call, whoever evaluates the policy."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.policy.compiled import compiled, plan_of, serving
from tests.policy.conftest import ROOT, cases

FAMILIES = sorted(path.name for path in (ROOT / "rego/gateway/denials").iterdir())
ASKING = [
    name for name in FAMILIES if "\nasks contains" in (ROOT / f"rego/gateway/denials/{name}/{name}.rego").read_text()
]
_FINDING = (
    'contains {{"code": "own/{name}", "facts": ["/resource/id"]}} if input.resource.properties.tool == "{tool}"\n'
)
TOOLS = ("read_file", "list_files")
GRANTED = next(case.input for case in cases() if case.name == "allow: the agent reads a file")
CONFIGURATION = """
identity: [{kind: development}]
policy: {path: rego}
upstreams:
  files:
    url: "http://127.0.0.1:9/mcp"
    audience: files
    environment: demo
    tools: {"*": {effect: read, egress: false, sensitivity: internal}}
"""

Codes = Callable[[str], set[str]]
"""The codes of the refusal, or of the question, for a call of a tool."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy with one more rule in each family: `read_file` is denied, and `list_files` asks a person."""
    copied = tmp_path_factory.mktemp("added") / "rego"
    shutil.copytree(ROOT / "rego", copied, ignore=shutil.ignore_patterns("*_test.rego"))
    for name in FAMILIES:
        rules = f"package gateway.denials.{name}\n\ndenials {_FINDING.format(name=name, tool='read_file')}"
        if name in ASKING:
            rules += f"\nasks {_FINDING.format(name=name, tool='list_files')}"
        (copied / f"gateway/denials/{name}/own.rego").write_text(rules, "utf-8")
    rules = f"package gateway.approvals\n\nquestions {_FINDING.format(name='approvals', tool='list_files')}"
    (copied / "gateway/approvals/own.rego").write_text(rules, "utf-8")
    (copied.parent / "gateway.yaml").write_text(CONFIGURATION, "utf-8")
    return copied


@pytest.fixture(scope="module")
def evaluators(folder: Path, opa_path: Path) -> Iterator[dict[str, Codes]]:
    replayed = functools.cache(lambda: _ask_replay(folder.parent))
    program = compiled(*plan_of(opa_path, folder, ["gateway/decision/result"]))
    with serving(opa_path, folder, program) as both:
        yield {
            "plan": lambda tool: _codes(both.plan("gateway/decision/result", _call(tool))),
            "opa": lambda tool: _codes(both.opa("gateway/decision/result", _call(tool))),
            "can": lambda tool: _ask_can(folder.parent, tool),
            "replay": lambda tool: replayed()[tool],
        }


def _call(tool: str) -> dict[str, Any]:
    call = copy.deepcopy(GRANTED)
    call["resource"]["id"] = f"files/{tool}"
    call["resource"]["properties"]["tool"] = tool
    return call


def _codes(answer: Any) -> set[str]:
    return {reason["code"] for reason in answer["reasons"]}


def _ask_can(folder: Path, tool: str) -> set[str]:
    return _codes(json.loads(_run(folder, "policy", "can", "dev", f"files/{tool}", '{"path": "a"}', "--json")))


def _ask_replay(folder: Path) -> dict[str, set[str]]:
    """Return the codes for a call of each tool, from one replay of two tasks."""
    read = {"effect": "read", "egress": False, "sensitivity": "internal"}
    upstreams = {"files": {"environment": "demo", "tools": dict.fromkeys(TOOLS, read)}}
    steps = [{"upstream": "files", "tool": tool, "arguments": {"path": "a"}, "result": "text"} for tool in TOOLS]
    tasks = [{"id": step["tool"], "upstreams": upstreams, "steps": [step]} for step in steps]
    (folder / "trace.jsonl").write_text("\n".join(map(json.dumps, tasks)), "utf-8")
    lines = _run(folder, "policy", "replay", "trace.jsonl", "--path", "rego", "--json").splitlines()
    return {tool: set(json.loads(line)["codes"]) for tool, line in zip(TOOLS, lines, strict=False)}


def _run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120).stdout


@pytest.mark.opa
@pytest.mark.parametrize("evaluator", ["plan", "opa", "can", "replay"])
def test_a_denial_that_is_added_to_a_family_refuses_the_call(evaluators: dict[str, Codes], evaluator: str):
    found = evaluators[evaluator]("read_file")

    assert found == {f"own/{name}" for name in FAMILIES}


@pytest.mark.opa
@pytest.mark.parametrize("evaluator", ["plan", "opa", "can", "replay"])
def test_a_question_that_is_added_to_a_family_is_asked(evaluators: dict[str, Codes], evaluator: str):
    found = evaluators[evaluator]("list_files")

    assert found == {f"own/{name}" for name in (*ASKING, "approvals")}
