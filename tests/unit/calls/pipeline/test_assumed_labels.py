from __future__ import annotations

import pytest

from gateway.calls.pipeline.decide import name_assumed_labels
from gateway.config import ToolLabels
from gateway.model.decision import Decision, PolicyRevision, Reason
from gateway.model.target import Effect, Target
from gateway.upstreams.catalogue.labels import labels_for

POLICY = PolicyRevision("opagate", "1")


def denial(*facts: str) -> Decision:
    return Decision("deny", (Reason("tool/effect", "It is refused.", "Ask for a grant.", facts=facts),), (), POLICY)


def target(**labels: object) -> Target:
    return Target(
        "tool", "mail", "send", "mail", labels=labels_for("send", {"send": ToolLabels.model_validate(labels)})
    )


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("effect", "counts as `write`"),
        ("sensitivity", "counts as `internal`"),
        ("egress", "counts as one by which data leaves"),
    ],
)
def test_a_reason_that_rests_on_an_assumed_label_names_it_and_where_to_set_it(fact: str, said: str):
    (reason,) = name_assumed_labels(denial(f"/resource/properties/{fact}"), target()).reasons

    assert reason.message == f"The tool mail/send has no label `{fact}`, so it {said}. It is refused."
    assert (
        reason.remedy
        == f"An operator can set its `{fact}` under upstreams.mail.tools: `opagate catalogue label mail`. Ask for a grant."
    )
    assert reason.code == "tool/effect"


def test_a_label_that_the_operator_wrote_is_not_named():
    refused = denial("/resource/properties/effect")

    assert name_assumed_labels(refused, target(effect=Effect.WRITE)) is not refused
    assert name_assumed_labels(refused, target(effect=Effect.WRITE)) == refused


def test_a_reason_that_rests_on_something_else_stays_as_it_is():
    assert name_assumed_labels(denial("/arguments/path"), target()) == denial("/arguments/path")


def test_a_reason_that_rests_on_an_assumed_label_comes_first():
    plain = Reason("approval/grant", "It asks.", "Ask.", facts=("/subject/id",))
    rests = Reason("tool/effect", "It writes.", "Ask.", facts=("/resource/properties/effect",))
    other = Reason("toxic-flow/x", "It flows.", "Ask.", facts=("/arguments/to",))

    found = name_assumed_labels(Decision("ask", (plain, rests, other), (), POLICY), target())

    assert [reason.code for reason in found.reasons] == ["tool/effect", "approval/grant", "toxic-flow/x"]


def test_earlier_calls_without_a_label_are_named():
    writes = Reason("fan-out/writes", "Too many.", "Ask.", facts=("/session/write_audiences",))
    question = Decision("ask", (writes,), (), POLICY)
    labelled = target(effect=Effect.WRITE, egress=False, sensitivity="public")

    (reason,) = name_assumed_labels(question, labelled, {"mail", "crm", "chat"}).reasons

    assert reason.message == "Earlier calls had no label `effect`, so chat, crm count as written to. Too many."
    assert reason.remedy == "An operator can set `effect` for the tools of chat, crm. Ask."
    assert name_assumed_labels(question, labelled) == question
    (many,) = name_assumed_labels(question, labelled, {f"s{number}" for number in range(7)}).reasons
    assert "s0, s1, s2, s3, s4 and 2 more count as written to" in many.message


def test_an_allowed_call_costs_nothing():
    allowed = Decision("allow", (), (), POLICY)

    assert name_assumed_labels(allowed, target()) is allowed
