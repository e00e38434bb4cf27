"""The vault of concealed credentials, known to agents by handles only: `cred://<task>/<id>` → the original text. The
vault is in memory alone: never written, logged or shown. Each credential is of one task and one audience, and gone when
the task or the process ends. `<task>` is a random name, so a handle says nothing of the task's own id. A full vault
keeps no more, and an answer in need of more room is withheld. `keep` may be called in the worker thread, for long
answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.model.content import Sighting

PER_TASK: Final = 1_024
"""Handles of one task."""
TASK_BYTES: Final = 2**20
"""Bytes of the texts of one task."""
IN_ALL: Final = 65_536
ALL_BYTES: Final = 64 * 2**20
SHARE: Final = 8
"""The part of all that one caller may have: so many callers would have to fill it for another."""

_TASK_BYTES: Final = 8
_ID_BYTES: Final = 16
"""128 random bits: nobody guesses one."""
_CALLERS: Final = 100_000
"""Callers whose answers are concealed and told apart; beyond it those of all are."""


@dataclass(frozen=True, slots=True)
class ConcealedText:
    """The original text of a handle, or `None` for a text too long to be seen whole, with the `sightings` of its
    credentials."""

    handle: str
    audience: str
    sightings: tuple[Sighting, ...]
    text: str | None = field(repr=False)


@dataclass(slots=True)
class _TaskHandles:
    """The handles of one task."""

    name: str
    owner: str
    size: int = 0
    by_handle: dict[str, ConcealedText] = field(default_factory=dict[str, ConcealedText])
    by_text: dict[tuple[str, str], ConcealedText] = field(default_factory=dict[tuple[str, str], ConcealedText])


class Vault:
    """`new_id` makes so many random bytes into letters, digits, `-` and `_`."""

    def __init__(
        self,
        new_id: Callable[[int], str],
        *,
        per_task: int = PER_TASK,
        task_bytes: int = TASK_BYTES,
        in_all: int = IN_ALL,
        all_bytes: int = ALL_BYTES,
        share: int = SHARE,
    ) -> None:
        self._new_id = new_id
        self._limits = (per_task, task_bytes, in_all, all_bytes)
        self._share = share
        self._held: dict[str, tuple[int, int]] = {}  # caller → handles, bytes
        self._tasks: dict[str, _TaskHandles] = {}
        self._lock = threading.Lock()
        self._concealing: set[tuple[str, str]] = set()
        self._count = 0
        self._size = 0

    def conceal(self, owner: str, upstream: str) -> None:
        """Conceal the credentials of all later answers of this upstream to this caller. A value withheld from one
        answer may come again in another answer, such as a resumed stream or a task's result."""
        if len(self._concealing) < _CALLERS:
            self._concealing.add((owner, upstream))

    def conceals(self, owner: str, upstream: str) -> bool:
        """Return whether answers of the upstream to the owner are concealed."""
        return (owner, upstream) in self._concealing or len(self._concealing) >= _CALLERS

    def __len__(self) -> int:
        return self._count

    def keep(
        self, owner: str, task_id: str, audience: str, sightings: tuple[Sighting, ...], text: str | None
    ) -> str | None:
        """Return the handle of a text from `audience` to a task of a caller: the same for the same text. `None` without
        room for another."""
        with self._lock:
            return self._keep(owner, task_id, audience, sightings, text)

    def _keep(
        self, owner: str, task_id: str, audience: str, sightings: tuple[Sighting, ...], text: str | None
    ) -> str | None:
        kept = self._tasks.get(task_id)
        if kept is not None and text is not None and (known := kept.by_text.get((audience, text))) is not None:
            return known.handle
        size = 0 if text is None else len(text.encode("utf-8", "surrogatepass"))
        if not self._has_room(owner, kept, size):
            return None
        if kept is None:
            kept = self._tasks[task_id] = _TaskHandles(self._new_id(_TASK_BYTES), owner)
        made = ConcealedText(f"cred://{kept.name}/{self._new_id(_ID_BYTES)}", audience, sightings, text)
        kept.by_handle[made.handle] = made
        if text is not None:
            kept.by_text[audience, text] = made
        kept.size += size
        self._add(owner, 1, size)
        return made.handle

    def find(self, task_id: str, handle: str) -> ConcealedText | None:
        """Return the content of a handle of this task, `None` if the task has no such handle."""
        kept = self._tasks.get(task_id)
        return None if kept is None else kept.by_handle.get(handle)

    def drop(self, task_id: str) -> None:
        """Forget all of a task. Safe for a task without handles."""
        with self._lock:
            kept = self._tasks.pop(task_id, None)
            if kept is not None:
                self._add(kept.owner, -len(kept.by_handle), -kept.size)

    def retain(self, is_open: Callable[[str], bool]) -> None:
        """Forget the tasks no longer open. Called now and then."""
        for task_id in [task_id for task_id in tuple(self._tasks) if not is_open(task_id)]:
            self.drop(task_id)

    def _add(self, owner: str, count: int, size: int) -> None:
        self._count += count
        self._size += size
        held = self._held.pop(owner, (0, 0))
        if held[0] + count:
            self._held[owner] = held[0] + count, held[1] + size

    def _has_room(self, owner: str, kept: _TaskHandles | None, size: int) -> bool:
        per_task, task_bytes, in_all, all_bytes = self._limits
        if self._count >= in_all or self._size + size > all_bytes:
            return False
        count, held = self._held.get(owner, (0, 0))
        if count >= in_all // self._share or held + size > all_bytes // self._share:
            return False
        count, held = (0, 0) if kept is None else (len(kept.by_handle), kept.size)
        return count < per_task and held + size <= task_bytes
