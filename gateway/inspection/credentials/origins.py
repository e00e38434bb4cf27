"""The credentials that systems have shown to the tasks of a caller, to be found again where no policy looks.

Kept for all tasks of a caller together, for as long as history keeps the tasks. A credential takes up to 7 KB. Where there
are too many, its mark takes 0.4 KB: it is known again as a whole, and not in pieces. Beyond that the credentials of
its system are `lost`, and nothing uncommon is known to be harmless. Pure; bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from gateway.inspection.credentials.calls import CredentialIndex
from gateway.model.shingles import grams_of, mark_named, mark_of, name_of

MAX_OF_CALLER: Final = 4_096
MAX_OF_ALL: Final = 32_768
"""Credentials that are kept: some 150 MB, or 250 MB if all of them are long."""
MAX_MARKS_OF_CALLER: Final = 16_384
MAX_MARKS_OF_ALL: Final = 262_144
"""Credentials of which the marks are kept: some 100 MB."""
FEWEST: Final = 5
"""Shingles below which a credential is looked for as a whole word: fewer than ten letters may be chance."""


@dataclass(slots=True)
class ShownToCaller:
    """The known credentials of one caller's tasks."""

    index: CredentialIndex = field(default_factory=lambda: CredentialIndex({}))
    systems: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Credential → audience that has shown it → tasks."""
    tasks: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Task → credential → audience."""
    lost: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Task → audiences that have shown it credentials which are not kept."""
    marks: int = 0
    """How many of the credentials are known by their marks alone."""

    def may_go_to(self, audience: str, fingerprint: str) -> bool:
        """Return whether nothing says that the credential is another system's: this system has shown it, or none has."""
        systems = self.systems.get(fingerprint)
        return systems is None or audience in systems

    def is_beside(self, task: str) -> bool:
        """Return whether other tasks of the caller have seen credentials unknown to this task."""
        return len(self.systems) > len(self.tasks.get(task, ()))

    def has_lost_beside(self, audience: str) -> bool:
        """Return whether a system besides `audience` has shown credentials that are not kept."""
        return any(systems != {audience} for systems in self.lost.values())

    def name(self, fingerprint: str, shingles: Collection[int]) -> str:
        """Return the name by which a credential is known here: its own, or that of its mark."""
        mark = mark_of(shingles)
        marked = fingerprint if mark is None else name_of(mark)
        return marked if marked in self.systems and fingerprint not in self.systems else fingerprint

    def of_another(self, audience: str, fingerprint: str) -> str | None:
        """Return another system as source of the credential, or `None` if this system has also shown it."""
        systems = self.systems.get(fingerprint, {})
        return None if audience in systems else min(systems, default=None)


@dataclass(frozen=True, slots=True)
class CredentialLimits:
    """The numbers of credentials that are kept whole, and by their marks: of one caller, and of all."""

    of_caller: int = MAX_OF_CALLER
    of_all: int = MAX_OF_ALL
    marks_of_caller: int = MAX_MARKS_OF_CALLER
    marks_of_all: int = MAX_MARKS_OF_ALL


class KnownOrigins:
    """Takes in what history tells (see its `KnownOrigins`), caller by caller. No caller takes more than is left for others."""

    def __init__(self, limits: CredentialLimits | None = None) -> None:
        self._callers: dict[str, ShownToCaller] = {}
        self.of: Final[Callable[[str], ShownToCaller | None]] = self._callers.get
        """Returns what was shown to the tasks of a caller; `None` for nothing, as is usual. Each call asks several times."""
        self._limits = limits or CredentialLimits()
        self._whole = 0
        self._marks = 0

    def __len__(self) -> int:
        return self._whole + self._marks

    def note(self, owner: str, task: str, audience: str, fingerprint: str, shingles: Collection[int]) -> str | None:
        """Keep a credential and the system of its origin for a task. Return its name here, `None` without room."""
        shown = self._callers.setdefault(owner, ShownToCaller())
        of_task = shown.tasks.setdefault(task, {})
        name = self._name(shown, fingerprint, shingles)
        if name is None:
            shown.lost.setdefault(task, set()).add(audience)
            return None
        if name in of_task:
            return name
        if name not in shown.systems:
            shown.systems[name] = {}
            shown.index.add(name, _sample(shingles) if name == fingerprint else ())
            self._count(shown, name, 1)
        of_task[name] = audience
        systems = shown.systems[name]
        systems[audience] = systems.get(audience, 0) + 1
        return name

    def lose(self, owner: str, task: str, audience: str) -> None:
        """Note that `audience` has shown credentials to the task, and that history has lost their values."""
        shown = self._callers.setdefault(owner, ShownToCaller())
        shown.tasks.setdefault(task, {})
        shown.lost.setdefault(task, set()).add(audience)

    def drop(self, owner: str, task: str) -> None:
        """Forget what a task was shown."""
        shown = self._callers.get(owner)
        if shown is None:
            return
        for name, audience in shown.tasks.pop(task, {}).items():
            self._forget(shown, name, audience)
        shown.lost.pop(task, None)
        if not shown.tasks:
            del self._callers[owner]

    def _name(self, shown: ShownToCaller, fingerprint: str, shingles: Collection[int]) -> str | None:
        """Return the name under which a credential is kept, or can be; `None` if there is no room for it."""
        name = shown.name(fingerprint, shingles)
        if name in shown.systems:
            return name
        mark = mark_of(shingles)
        marked = fingerprint if mark is None else name_of(mark)
        limits = self._limits
        whole = len(shown.systems) - shown.marks
        if mark_named(fingerprint) is None and whole < min(limits.of_caller, limits.of_all - self._whole):
            return fingerprint
        room = min(limits.marks_of_caller, limits.marks_of_all - self._marks)
        return marked if mark_named(marked) is not None and shown.marks < room else None

    def _count(self, shown: ShownToCaller, name: str, more: int) -> None:
        if mark_named(name) is None:
            self._whole += more
        else:
            self._marks += more
            shown.marks += more

    def _forget(self, shown: ShownToCaller, name: str, audience: str) -> None:
        systems = shown.systems[name]
        systems[audience] -= 1
        if not systems[audience]:
            del systems[audience]
        if not systems:
            del shown.systems[name]
            shown.index.remove(name)
            self._count(shown, name, -1)


def _sample(shingles: Collection[int]) -> Collection[int]:
    return () if len(grams_of(shingles)) < FEWEST else shingles
