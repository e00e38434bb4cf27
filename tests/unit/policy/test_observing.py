"""Observe mode: which refusals pass, which stand, and when policy is enforced again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.base.steady_clock import SteadyClock
from gateway.model.decision import BesideDenial, Decision, Obligation, PolicyRevision, Reason
from gateway.model.facts import SystemFact
from gateway.model.reasons import policy_codes
from gateway.policy.observing import ObservedUpstream, ObserveMode, describe_ends, let_pass
from gateway.policy.verdict import FAILURES, refuse

ROOT = Path(__file__).parents[3]
POLICY = PolicyRevision("test", "1")
LABEL = Obligation("label", {"confidentiality": "restricted"})
SUPPORTED = ("label", "issue_credential")


def denial(*codes: str, asks: tuple[str, ...] = (), obligations: tuple[Obligation, ...] = (LABEL,)) -> Decision:
    beside = BesideDenial(tuple(Reason(code, "") for code in asks), obligations)
    return Decision("deny", tuple(Reason(code, "") for code in codes), (), POLICY, unenforced=beside)


def question(*codes: str, obligations: tuple[Obligation, ...] = (LABEL,)) -> Decision:
    return Decision("ask", tuple(Reason(code, "") for code in codes), obligations, POLICY)


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def passed(decision: Decision, *, is_guarded: bool = False) -> Decision:
    return let_pass(decision, SUPPORTED, is_guarded=is_guarded)


def test_a_refused_call_passes_with_all_reasons_and_the_obligations_of_an_allowed_one():
    found = passed(denial("tool/not-granted", "tool/effect", asks=("approval/effect", "tool/effect")))

    assert (found.effect, found.would) == ("allow", "deny")
    assert codes(found) == ["tool/not-granted", "tool/effect", "approval/effect"]
    assert found.obligations == (LABEL,)
    assert not found.is_denial


def test_a_question_passes_without_being_put_to_a_person():
    found = passed(question("approval/effect", obligations=(Obligation("require_approvers", {"count": 1}), LABEL)))

    assert (found.effect, found.would, found.obligations) == ("allow", "ask", (LABEL,))


@pytest.mark.parametrize("code", sorted(policy_codes.ALWAYS_ENFORCED))
def test_a_refusal_that_is_always_enforced_stands_and_is_told_first(code: str):
    hidden = passed(denial("tool/not-granted", asks=(code,)))
    plain = passed(denial("tool/not-granted", code))

    assert [codes(hidden)[0], codes(plain)[0]] == [code, code]
    assert {hidden.effect, plain.effect} == {"deny"}
    assert hidden.would is plain.would is None
    assert passed(question("approval/effect", code)).effect == "ask"


def test_a_rule_of_the_operator_passes():
    assert passed(denial("acme/opening-hours")).would == "deny"


def test_confidential_data_of_an_enforced_system_does_not_leave():
    leaving = question(policy_codes.EXFILTRATION)

    assert passed(leaving, is_guarded=True).effect == "ask"
    assert passed(leaving).would == "ask"
    assert passed(question("toxic-flow/ungrounded"), is_guarded=True).would == "ask"


def test_a_denial_that_does_not_say_what_it_hides_stands():
    """A policy of an older contract could hide a question about a credential behind `tool/not-granted`."""
    silent = Decision("deny", (Reason("tool/not-granted", ""),), (), POLICY)

    assert passed(silent) is silent


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_a_call_without_a_verdict_does_not_pass(code: str):
    failed = refuse(code, "the policy gave no answer", "mend it")

    assert passed(failed) is failed


def test_an_obligation_that_cannot_be_carried_out_keeps_the_refusal():
    redact = Obligation("redact", {"pointers": ["/a"]})

    assert passed(denial("tool/not-granted", obligations=(redact,))).effect == "deny"
    assert passed(question("approval/effect", obligations=(redact,))).effect == "ask"


def test_each_code_of_the_policy_is_enforced_or_named_as_one_that_passes():
    """A new rule needs a thought: may its refusal pass while an operator only observes?"""
    known = set(json.loads((ROOT / "rego/gateway/reasons/data.json").read_text("utf-8")))
    page = (ROOT / "docs/policy/observing.md").read_text("utf-8")
    stands, passes = page.split("## What passes")[0], page.split("## What passes")[1].split("\n## ")[0]

    assert set(re.findall(r"`([a-z-]+/[a-z-]+)`", stands)) == policy_codes.ALWAYS_ENFORCED
    assert set(re.findall(r"`([a-z-]+/[a-z-]+)`", passes)) == known - policy_codes.ALWAYS_ENFORCED


class Hands:
    """Two clocks that a test sets."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.elapsed = 0.0

    def mode(self, **ends: float) -> ObserveMode:
        observed = {name: ObservedUpstream(f"{name}.example", until) for name, until in ends.items()}
        return ObserveMode(
            observed, frozenset({"vault.example"}), SteadyClock(lambda: self.wall, lambda: self.elapsed).now
        )


def test_an_upstream_is_enforced_from_its_end_on():
    hands = Hands(wall=100.0)
    mode = hands.mode(files=200.0, mail=float("inf"))
    before = mode.find_open()
    hands.wall = 200.0

    assert before == {"files": 200.0, "mail": float("inf")}
    assert [mode.is_on(name) for name in ("files", "mail", "other")] == [False, True, False]
    assert describe_ends(before) == {"files": "1970-01-01T00:03:20Z", "mail": None}


def test_a_clock_that_is_set_back_prolongs_nothing():
    hands = Hands(wall=199.0)
    mode = hands.mode(files=200.0)
    assert mode.is_on("files")
    hands.wall, hands.elapsed = 100.0, 1.0

    assert not mode.is_on("files")


def test_the_data_of_an_upstream_that_is_enforced_again_are_guarded():
    hands = Hands(wall=100.0)
    mode = hands.mode(files=200.0)
    found = [mode.is_guarded([SystemFact(name)]) for name in ("files.example", "vault.example")]
    hands.wall = 200.0

    assert found == [False, True]
    assert mode.is_guarded([SystemFact("files.example")])


def test_the_data_of_a_system_that_the_configuration_has_no_more_are_guarded():
    """A reload removes an enforced upstream, or renames its system. The task has read it all the same."""
    mode = Hands(wall=100.0).mode(files=200.0)

    assert mode.is_guarded([SystemFact("gone.example"), SystemFact("files.example")])
    assert not mode.is_guarded([])


def test_the_systems_behind_an_observed_upstream_are_observed_unless_one_is_enforced_itself():
    hub = ObservedUpstream("hub.example", 200.0, ("crm.example", "vault.example"))
    mode = ObserveMode({"hub": hub}, frozenset({"vault.example"}), lambda: 100.0)

    assert not mode.is_guarded([SystemFact("hub.example"), SystemFact("crm.example")])
    assert mode.is_guarded([SystemFact("vault.example")])
