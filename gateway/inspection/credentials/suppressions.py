"""Findings that an operator has dismissed until a date. Pure: each call passes the time. A suppression covers only
findings by form or place. A credential that a task has seen stays a credential, whatever its origin."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from gateway.inspection.credentials.finding import Finding
from gateway.model.target import Target


@dataclass(frozen=True, slots=True)
class Suppression:
    """Patterns of an upstream, of a tool, resource or prompt, of a detector, and a place in the arguments; `None` is any.
    `ends` in seconds since the epoch. One with a place says nothing of results."""

    upstream: str
    ends: float
    tool: str | None = None
    detector: str | None = None
    pointer: str | None = None

    def concerns(self, target: Target) -> bool:
        return fnmatchcase(target.upstream, self.upstream) and (
            self.tool is None or fnmatchcase(target.name, self.tool)
        )

    def covers(self, found: Finding) -> bool:
        if self.detector is not None and not fnmatchcase(found.detector, self.detector):
            return False
        return self.pointer is None or f"{found.pointer}/".startswith(f"{self.pointer}/")


class ActiveSuppressions(Struct, frozen=True):
    """The suppressions in force for one call. `used` is called with the number of each applied one."""

    target: Target
    active: tuple[tuple[int, Suppression], ...]
    used: Callable[[int, Target], None]

    def covers(self, found: Finding, seen: Container[str]) -> bool:
        """Return whether a suppression covers this finding. `seen` are the credentials of the task."""
        if found.kind == "seen" or found.handle is not None or found.fingerprint in seen:
            return False
        for number, rule in self.active:
            if rule.covers(found):
                self.used(number, self.target)
                return True
        return False


class Suppressions:
    """All of a configuration, in its order."""

    def __init__(
        self, rules: Sequence[Suppression] = (), used: Callable[[int, Target], None] = lambda _number, _target: None
    ) -> None:
        self.rules: Final = tuple(enumerate(rules))
        """Each suppression with its number. Without any, `of` need not be asked."""
        self._used = used

    def of(self, target: Target, now: float) -> ActiveSuppressions | None:
        """Return the suppressions in force for a call of `target` at `now`, in seconds since the epoch; `None` for none."""
        active = tuple((number, rule) for number, rule in self.rules if now < rule.ends and rule.concerns(target))
        return ActiveSuppressions(target, active, self._used) if active else None


def unknown(detector: str | None, names: Collection[str]) -> str | None:
    """Return why a pattern of detectors covers nothing, if `names` lacks it: a spelling mistake, or a rule that is not
    loaded."""
    if detector is None or any(fnmatchcase(name, detector) for name in names):
        return None
    if detector == "seen":
        return "what a task knows as a credential stays one, so a suppression of 'seen' covers nothing"
    near = difflib.get_close_matches(detector, sorted(names), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no detector is called {detector!r}, so it covers nothing{hint}"
