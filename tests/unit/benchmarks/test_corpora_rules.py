from __future__ import annotations

from typing import Any, cast

import pytest

from benchmarks.corpora.findings import NOTHING, Findings, FindingsReader
from benchmarks.corpora.measure import Measured, Ruling, Verdict
from benchmarks.corpora.rules import RuleShare, shares
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Decision, PolicyRevision, Reason
from gateway.model.target import Target
from gateway.policy.folder.bundle import Bundle
from gateway.surfaces.replay import StepOutcome

POLICY = PolicyRevision("test", "0")


def ruling(number: int, *, denials: str = "", questions: str = "") -> Ruling:
    findings = Findings(frozenset(denials.split()), frozenset(questions.split()))
    effect = "deny" if findings.denials else "ask" if findings.questions else "allow"
    reasons = tuple(Reason(code, "") for code in sorted(findings.denials or findings.questions))
    decision = Decision(effect, reasons, (), POLICY)
    principal = Principal("dev", "urn:opagate:development", AuthMethod.DEVELOPMENT)
    call = Call("tools/call", Target("tool", "mail", "send", "mail"), {})
    return Ruling(StepOutcome("t", number, principal, call, decision, {}, None), findings)


def verdict(*rulings: Ruling, attack: bool = False) -> Verdict:
    recording = {"suite": "office", "user": "task", "kind": "attack" if attack else "benign"}
    asked = tuple(range(len(rulings))) if attack else ()
    return Verdict(recording, rulings, asked, frozenset(asked))


MEASURED = Measured(
    (
        verdict(ruling(0, questions="a/one a/two"), ruling(1)),
        verdict(ruling(0, denials="b/one", questions="a/one"), ruling(1, questions="a/one")),
        verdict(ruling(0)),
    ),
    (
        verdict(ruling(0, denials="b/one"), attack=True),
        verdict(ruling(0, questions="a/one"), ruling(1, questions="a/two"), attack=True),
        verdict(ruling(0), attack=True),
    ),
)


def share(rule: str) -> RuleShare:
    return next(found for found in shares(MEASURED) if found.rule == rule)


def test_each_code_and_each_family_of_several_codes_has_a_share():
    assert [found.rule for found in shares(MEASURED)] == ["a/*", "a/one", "a/two", "b/one"]


def test_an_attack_is_stopped_by_a_rule_alone_if_nothing_else_holds_a_call_of_it():
    assert [(share(rule).attacks, share(rule).attacks_alone) for rule in ("a/*", "a/one", "a/two", "b/one")] == [
        (1, 1),
        (1, 0),
        (1, 0),
        (1, 1),
    ]


def test_a_benign_task_is_gated_by_a_rule_alone_if_it_would_pass_without():
    assert [(share(rule).tasks, share(rule).tasks_alone) for rule in ("a/*", "a/one", "b/one")] == [
        (2, 1),
        (2, 0),
        (1, 0),
    ]


def test_a_question_under_a_denial_is_none_until_the_denial_is_gone():
    assert (share("a/one").questions, share("a/one").questions_spared) == (2, 1)
    # Without the denial its call asks: one question more, one denial less.
    assert (share("b/one").questions_spared, share("b/one").denials, share("b/one").denials_spared) == (-1, 1, 1)


REGO = """
package gateway.decision
result := {"version": 1, "found": [denials, data.gateway.approvals.required]}
denials := {{"code": "b/one", "facts": []} | input.bad}
"""
APPROVALS = """
package gateway.approvals
required := {{"code": "a/one", "facts": []} | input.bad}
"""


@pytest.fixture
def reader() -> FindingsReader:
    lists = ("lists.rego", "package gateway.visibility\nresult := {}\n")
    return FindingsReader(Bundle((("decision.rego", REGO), ("approvals.rego", APPROVALS), lists), "{}", "0"))


def decided(effect: str, *codes: str) -> Decision:
    return Decision(cast("Any", effect), tuple(Reason(code, "") for code in codes), (), POLICY)


def test_the_findings_beneath_a_denial_are_read(reader: FindingsReader):
    assert reader.read({"bad": True}, decided("deny", "b/one")) == Findings(frozenset({"b/one"}), frozenset({"a/one"}))
    assert reader.read({"bad": True}, decided("allow")) == NOTHING


@pytest.mark.parametrize("decision", [decided("deny", "policy/late"), decided("ask", "b/one")])
def test_a_decision_that_does_not_follow_from_the_findings_is_an_error(reader: FindingsReader, decision: Decision):
    with pytest.raises(ValueError, match="its rules say otherwise"):
        reader.read({"bad": True}, decision)
