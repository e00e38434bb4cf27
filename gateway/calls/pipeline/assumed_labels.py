"""Refusals and questions because of missing labels. Such a reason first names the label, the value in its place, and the setting
for the label. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.model.decision import Decision, Reason
from gateway.model.target import ASSUMABLE, Labels, Target

if TYPE_CHECKING:
    from collections.abc import Collection

_PROPERTIES: Final = "/resource/properties/"
_WRITTEN: Final = "/session/write_audiences"
_SAID: Final = {
    "effect": "counts as `{}`",
    "egress": "counts as one by which data leaves",
    "sensitivity": "counts as `{}`",
}
"""A label → the words for its fail-closed value."""
_NAMED: Final = 5
"""Systems that a reason names."""


def name_assumed_labels(decision: Decision, target: Target, assumed_writes: Collection[str] = ()) -> Decision:
    """Return a decision whose reasons name each label that the gateway assumed and the reason rests on, these reasons first.

    `assumed_writes` are the systems that only calls without a label for their effect have written to.
    """
    if decision.allowed or not (target.labels.assumed or assumed_writes):
        return decision
    named = [_name_labels(reason, target, sorted(assumed_writes)) for reason in decision.reasons]
    # Sorting is stable, so that all else stays in the order of the policy.
    named.sort(key=lambda pair: not pair[1])
    return structs.replace(decision, reasons=tuple(reason for reason, _ in named))


def _name_labels(reason: Reason, target: Target, assumed_writes: list[str]) -> tuple[Reason, bool]:
    """Return a reason with its missing labels, and whether it rests on any."""
    labels = [name for name in ASSUMABLE if name in target.labels.assumed and f"{_PROPERTIES}{name}" in reason.facts]
    others = [name for name in assumed_writes if name != target.audience] if _WRITTEN in reason.facts else []
    if not labels and not others:
        return reason, False
    causes = ([_tell_call(target, labels)] if labels else []) + ([_tell_history(others)] if others else [])
    message = " ".join([*(cause for cause, _ in causes), reason.message])
    remedy = " ".join([*(advice for _, advice in causes), reason.remedy])
    return replace(reason, message=message, remedy=remedy), True


def _tell_call(target: Target, labels: list[str]) -> tuple[str, str]:
    said = " and ".join(_say(name, target.labels) for name in labels)
    named = " and ".join(f"`{name}`" for name in labels)
    return (
        f"The tool {target.id} has no label {named}, so it {said}.",
        f"An operator can set its {named} under upstreams.{target.upstream}.tools.",
    )


def _tell_history(systems: list[str]) -> tuple[str, str]:
    more = f" and {len(systems) - _NAMED} more" if len(systems) > _NAMED else ""
    shown = f"{', '.join(systems[:_NAMED])}{more}"
    return (
        f"Earlier calls had no label `effect`, so {shown} count as written to.",
        f"An operator can set `effect` for the tools of {shown}.",
    )


def _say(name: str, labels: Labels) -> str:
    return _SAID[name].format(getattr(labels, name))
