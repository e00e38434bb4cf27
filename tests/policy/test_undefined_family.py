"""A family without an answer refuses the call: it must not take the denials of the others away."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.policy.compiled import Both, compiled, plan_of, serving
from tests.policy.conftest import ROOT, cases

ENTRY = "gateway/decision/result"

_DECISION = (ROOT / "rego/gateway/decision/decision.rego").read_text("utf-8")
CALLED = sorted(re.findall(r"^\tdata\.gateway\.denials\.(\w+\.\w+),", _DECISION, re.MULTILINE))
"""The sets of the families that the decision asks."""
KEPT = (
    'kept_{set} := data.gateway.denials.{family}.{set} if object.get(input.arguments, "lost", "") != "{family}.{set}"\n'
)
_BY_NAME = {case.name: case.input for case in cases()}
_ASKED = copy.deepcopy(_BY_NAME["allow: the agent reads a file"])
_ASKED["session"]["calls"] = 2_000_000
CALLS = (_BY_NAME["allow: the agent reads a file"], _ASKED, _BY_NAME["history: more calls than hard"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, opa_path: Path) -> Iterator[Both]:
    """The shipped policy, in which the set that a call names in its arguments has no value."""
    folder = tmp_path_factory.mktemp("undefined") / "rego"
    shutil.copytree(ROOT / "rego", folder, ignore=shutil.ignore_patterns("*_test.rego"))
    decision = _DECISION
    for called in CALLED:
        family, name = called.split(".")
        with (folder / f"gateway/denials/{family}/own_{name}.rego").open("w") as rules:
            rules.write(f"package gateway.denials.{family}\n\n{KEPT.format(family=family, set=name)}")
        line = f"\tdata.gateway.denials.{called},"
        assert line in decision
        decision = decision.replace(line, f"\tdata.gateway.denials.{family}.kept_{name},")
    (folder / "gateway/decision/decision.rego").write_text(decision, "utf-8")
    with serving(opa_path, folder, compiled(*plan_of(opa_path, folder, [ENTRY]))) as found:
        yield found


def _calls(lost: str) -> list[dict[str, Any]]:
    """Return calls that are granted, asked about and refused. A set of a family has no value for them."""
    return [{**call, "arguments": {**call["arguments"], "lost": lost}} for call in CALLS]


def _outcome(answer: Any) -> tuple[str, str]:
    return answer["effect"], next((reason["code"] for reason in answer["reasons"]), "")


@pytest.mark.opa
def test_with_all_answers_the_calls_are_decided_as_shipped(both: Both):
    for ask in (both.plan, both.opa):
        outcomes = [_outcome(ask(ENTRY, call)) for call in _calls("none")]

        assert outcomes == [("allow", ""), ("ask", "budget/calls"), ("deny", "budget/calls")]


@pytest.mark.opa
@pytest.mark.parametrize("called", CALLED)
def test_a_family_without_an_answer_refuses_every_call(both: Both, called: str):
    undefined = ("deny", "policy/undefined")
    refused = undefined if called.endswith(".denials") else ("deny", "budget/calls")
    for ask in (both.plan, both.opa):
        outcomes = [_outcome(ask(ENTRY, call)) for call in _calls(called)]

        assert outcomes == [undefined, undefined, refused]
