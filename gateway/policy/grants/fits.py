"""The grants beside a call, as the policy judges them in `data.gateway.explanation.result`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

MISSING: Any = []
"""The value of `found` for an argument that the call lacks. A value that is there is in a list of one."""


class GrantPart(Struct, frozen=True):
    """A part of a grant that fails, or a condition without its argument.

    `field` names the part. It is empty for an unreadable grant, and `problem` gives the cause. `wanted` is the value in the
    grant; for a condition, the failed tests. `found` is the value in the call. `pointer` names the argument of a condition.
    """

    field: str
    wanted: Any = None
    found: Any = None
    pointer: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """Such as `users`, or `when /path`."""
        return f"{self.field} {self.pointer}".rstrip() or "grant"


class Fit(Struct, frozen=True):
    """One grant of `upstream` (`*` for all), at `index` of its list."""

    upstream: str
    index: int
    id: str
    approval: Any = False
    failed: tuple[GrantPart, ...] = ()
    open: tuple[GrantPart, ...] = ()

    @property
    def asks(self) -> bool:
        """Return whether each call by the grant needs an approval."""
        return self.approval is True or isinstance(self.approval, dict)

    @property
    def holds(self) -> bool:
        return not self.failed and not self.open

    @property
    def names_target(self) -> bool:
        """Return whether the grant names the tool, resource or prompt."""
        return not self._lacks("tools", "resources", "prompts")

    @property
    def is_for_agent(self) -> bool:
        """Return whether the grant is for the agent of the call."""
        return not self._lacks("agents", "issuers")

    def _lacks(self, *fields: str) -> bool:
        return any(part.field in fields for part in self.failed)


class _FitAnswer(Struct):
    version: int
    grants: tuple[Fit, ...]


def read_fits(answer: object) -> tuple[Fit, ...] | None:
    """Return the fits in an engine's answer; `None` for another answer, such as that of a policy without the rule."""
    try:
        found = msgspec.convert(answer, _FitAnswer)
    except msgspec.ValidationError:
        return None
    return found.grants if found.version == 1 else None


def nearest(fits: Iterable[Fit], most: int = 3) -> tuple[Fit, ...]:
    """Return the grants that come closest to holding, the closest first.

    A grant for the target comes first, then a grant for the agent. Conditions on arguments weigh least.
    """
    ranked = sorted(fits, key=_distance)
    named = [fit for fit in ranked if fit.names_target]
    return tuple((named or ranked)[:most])


def _distance(fit: Fit) -> tuple[bool, bool, int, int, bool]:
    conditions = sum(part.field in {"when", "arguments"} for part in fit.failed)
    other = len(fit.failed) - conditions
    return not fit.names_target, not fit.is_for_agent, other, conditions + len(fit.open), fit.upstream == "*"
