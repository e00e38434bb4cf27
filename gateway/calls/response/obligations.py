"""The obligations of a decision for the answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from msgspec import Struct

from gateway.model.decision import Decision
from gateway.model.target import Sensitivity

CONCEAL: Final = "conceal_credentials"


class Bounds(Struct, frozen=True):
    """Bounds of an answer: `seconds` until its end, `size` in bytes."""

    seconds: float | None = None
    size: int | None = None


NO_BOUNDS: Final = Bounds()


class ResponseObligations(Struct, frozen=True):
    """Duties of the gateway for one answer. `label` is the highest confidentiality of the result by policy."""

    label: Sensitivity = Sensitivity.PUBLIC
    bounds: Bounds = NO_BOUNDS
    conceals: bool = False
    """Whether policy requires the credentials of the answer to be concealed."""


NO_OBLIGATIONS: Final = ResponseObligations()


def read_obligations(decision: Decision) -> ResponseObligations:
    """Return the duties of the gateway for the answer by a decision."""
    if not decision.obligations:
        return NO_OBLIGATIONS
    return ResponseObligations(
        read_label(decision), _read_bounds(decision), any(item.id == CONCEAL for item in decision.obligations)
    )


def read_label(decision: Decision) -> Sensitivity:
    """Return the highest confidentiality of the `label` obligations."""
    ranks = list(Sensitivity)
    named = [
        Sensitivity(str(item.properties["confidentiality"])) for item in decision.obligations if item.id == "label"
    ]
    return max(named, key=ranks.index, default=Sensitivity.PUBLIC)


def _read_bounds(decision: Decision) -> Bounds:
    """Return the bounds of the `limit` obligations: the tightest of several."""
    limits = [cast("Mapping[str, int]", item.properties) for item in decision.obligations if item.id == "limit"]
    seconds = [limit["timeout_seconds"] for limit in limits if "timeout_seconds" in limit]
    sizes = [limit["max_bytes"] for limit in limits if "max_bytes" in limit]
    return Bounds(min(seconds, default=None), min(sizes, default=None))
