"""Refusals because of labels that the operator left out: the reason names each label, and where to set it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from msgspec import structs

from gateway.model.decision import Decision, Reason
from gateway.model.target import Labels, Target

_PROPERTIES: Final = "/resource/properties/"
_SAID: Final = {
    "effect": "counts as `{}`",
    "egress": "counts as one by which data leaves",
    "sensitivity": "counts as `{}`",
}
"""A label → the words for its fail-closed value."""


def name_assumed_labels(decision: Decision, target: Target) -> Decision:
    """Return a refusal whose reasons name each label that the gateway assumed and the reason rests on."""
    if decision.allowed or not target.labels.assumed:
        return decision
    return structs.replace(decision, reasons=tuple(_with_labels(reason, target) for reason in decision.reasons))


def _with_labels(reason: Reason, target: Target) -> Reason:
    assumed = [name for name in _SAID if name in target.labels.assumed and f"{_PROPERTIES}{name}" in reason.facts]
    if not assumed:
        return reason
    said = " and ".join(_say(name, target.labels) for name in assumed)
    labels = " and ".join(f"`{name}`" for name in assumed)
    return replace(
        reason,
        message=f"{reason.message} The tool {said} because it has no label.",
        remedy=f"{reason.remedy} An operator can set its {labels} under upstreams.{target.upstream}.tools.",
    )


def _say(name: str, labels: Labels) -> str:
    return _SAID[name].format(getattr(labels, name))
