from __future__ import annotations

import pytest

from gateway.catalogue.labels import labels_for
from gateway.config import ToolLabels
from gateway.model.decision import Decision, PolicyRevision, Reason
from gateway.model.target import Effect, Target
from gateway.pipeline.assumed_labels import name_assumed_labels

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

    assert reason.message == f"It is refused. The tool {said} because it has no label."
    assert reason.remedy == f"Ask for a grant. An operator can set its `{fact}` under upstreams.mail.tools."
    assert reason.code == "tool/effect"


def test_a_label_that_the_operator_wrote_is_not_named():
    refused = denial("/resource/properties/effect")

    assert name_assumed_labels(refused, target(effect=Effect.WRITE)) is not refused
    assert name_assumed_labels(refused, target(effect=Effect.WRITE)) == refused


def test_a_reason_that_rests_on_something_else_stays_as_it_is():
    assert name_assumed_labels(denial("/arguments/path"), target()) == denial("/arguments/path")


def test_an_allowed_call_costs_nothing():
    allowed = Decision("allow", (), (), POLICY)

    assert name_assumed_labels(allowed, target()) is allowed
