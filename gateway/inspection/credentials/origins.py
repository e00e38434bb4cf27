"""Which systems have shown which credentials to a caller's tasks, so that these are found again where no policy looks.

Kept for all tasks of a caller together, for as long as history keeps the tasks. Each credential takes some 5 KB. Pure;
bounded: beyond the limits a caller is `blind`, which means that no credential is known to be harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

from gateway.inspection.credentials.calls import Index

MAX_OF_CALLER: Final = 4_096
MAX_OF_ALL: Final = 65_536
"""Credentials that are kept: some 300 MB."""
SAMPLE: Final = 16
"""Shingles of each, the smallest: as they are keyed, nobody can choose which."""
FEWEST: Final = 3
"""Shingles below which a credential is looked for as a whole word: one run of eight letters may be chance."""


@dataclass(slots=True)
class Shown:
    """What the tasks of one caller were shown."""

    index: Index = field(default_factory=lambda: Index({}))
    systems: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Credential → audience that has shown it → tasks."""
    tasks: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Task → credential → audience."""
    lost: set[str] = field(default_factory=set[str])
    """Tasks that were shown credentials which are not kept."""

    @property
    def blind(self) -> bool:
        return bool(self.lost)

    def may_go_to(self, audience: str, fingerprint: str) -> bool:
        """Whether nothing says that the credential is another system's: that system has shown it itself, or none has."""
        systems = self.systems.get(fingerprint)
        return not self.blind if systems is None else audience in systems

    def beside(self, task: str) -> bool:
        """Whether other tasks of the caller were shown what this one was not."""
        return len(self.systems) > len(self.tasks.get(task, ()))

    def unsure(self, task: str) -> bool:
        """Whether other tasks of the caller were shown what is not kept."""
        return not self.lost <= {task}

    def of_another(self, audience: str, fingerprint: str) -> str | None:
        """A system that has shown the credential, if this one has not."""
        systems = self.systems.get(fingerprint, {})
        return None if audience in systems else min(systems, default=None)


class Origins:
    """What history tells (see its `Origins`), caller by caller."""

    def __init__(self, *, of_caller: int = MAX_OF_CALLER, of_all: int = MAX_OF_ALL) -> None:
        self._callers: dict[str, Shown] = {}
        self._of_caller = of_caller
        self._of_all = of_all
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def of(self, owner: str) -> Shown | None:
        """What was shown to the tasks of a caller; `None` for nothing, as is usual."""
        return self._callers.get(owner)

    def note(self, owner: str, task: str, audience: str, fingerprint: str, shingles: frozenset[int]) -> None:
        shown = self._callers.setdefault(owner, Shown())
        of_task = shown.tasks.setdefault(task, {})
        if fingerprint in of_task:
            return
        systems = shown.systems.get(fingerprint)
        if systems is None:
            if len(shown.systems) >= self._of_caller or self._size >= self._of_all:
                shown.lost.add(task)
                return
            systems = shown.systems[fingerprint] = {}
            shown.index.add(fingerprint, _sample(shingles))
            self._size += 1
        of_task[fingerprint] = audience
        systems[audience] = systems.get(audience, 0) + 1

    def lose(self, owner: str, task: str) -> None:
        shown = self._callers.setdefault(owner, Shown())
        shown.tasks.setdefault(task, {})
        shown.lost.add(task)

    def drop(self, owner: str, task: str) -> None:
        shown = self._callers.get(owner)
        if shown is None:
            return
        for fingerprint, audience in shown.tasks.pop(task, {}).items():
            self._forget(shown, fingerprint, audience)
        shown.lost.discard(task)
        if not shown.tasks:
            del self._callers[owner]

    def _forget(self, shown: Shown, fingerprint: str, audience: str) -> None:
        systems = shown.systems[fingerprint]
        systems[audience] -= 1
        if not systems[audience]:
            del systems[audience]
        if not systems:
            del shown.systems[fingerprint]
            shown.index.remove(fingerprint)
            self._size -= 1


def _sample(shingles: frozenset[int]) -> frozenset[int]:
    return frozenset() if len(shingles) < FEWEST else frozenset(nsmallest(SAMPLE, shingles))
