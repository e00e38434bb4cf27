"""A family without an answer refuses the call: it must not take the denials of the others away."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.policy.plan import values
from tests.policy.compiled import compiled, plan_of
from tests.policy.conftest import ROOT, cases

ENTRY = "gateway/decision/result"

_DECISION = (ROOT / "rego/gateway/decision/decision.rego").read_text("utf-8")
CALLED = sorted(re.findall(r"^\tdata\.gateway\.denials\.(\w+\.\w+),", _DECISION, re.MULTILINE))
"""The sets of the families that the decision asks."""
GRANTED = next(case.input for case in cases() if case.name == "allow: the agent reads a file")


@pytest.fixture(params=CALLED)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The shipped policy, in which one set of a family has no value."""
    copied = tmp_path / "rego"
    shutil.copytree(ROOT / "rego", copied, ignore=shutil.ignore_patterns("*_test.rego"))
    name = cast("str", request.param).partition(".")[0]
    (copied / f"gateway/denials/{name}/own.rego").write_text(
        f"package gateway.denials.{name}\n\nlost := set() if input.arguments.nowhere\n", "utf-8"
    )
    decision = _DECISION.replace(f"\tdata.gateway.denials.{request.param},", f"\tdata.gateway.denials.{name}.lost,")
    assert decision != _DECISION
    (copied / "gateway/decision/decision.rego").write_text(decision, "utf-8")
    return copied


def _calls() -> list[dict[str, Any]]:
    refused = copy.deepcopy(GRANTED)
    refused["session"]["calls"] = 2_000_000
    return [GRANTED, refused]


@pytest.mark.opa
def test_a_family_without_an_answer_refuses_every_call(folder: Path, opa_path: Path):
    program = compiled(*plan_of(opa_path, folder, [ENTRY]))
    answers = [cast("dict[str, Any]", program.answer(ENTRY, values.plain(call))) for call in _calls()]

    assert [answer["effect"] for answer in answers] == ["deny", "deny"]
    assert [answer["reasons"][0]["code"] for answer in answers] == ["policy/undefined", "policy/undefined"]


@pytest.mark.opa
def test_a_family_without_an_answer_refuses_every_call_in_opa(folder: Path, opa_path: Path):
    for call in _calls():
        command = [
            opa_path,
            "eval",
            "--bundle",
            folder,
            "--stdin-input",
            "--format",
            "raw",
            "data.gateway.decision.result",
        ]
        done = subprocess.run(command, input=json.dumps(call), capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stderr or done.stdout
        assert json.loads(done.stdout)["reasons"][0]["code"] == "policy/undefined"
