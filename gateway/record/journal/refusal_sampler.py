"""Bounded records of refused unknown callers. Pure: no I/O, no randomness; the clock is an argument. Anyone who reaches
the port can cause refusals, each an entry and a log line. To protect the disk, a minute has a number of single records;
the rest is counted by reason. Memory is bounded by the number of reason codes, which the gateway chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.record.journal.chain import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import JsonObject

WINDOW: Final = 60.0


class RefusalSampler:
    """`limit` refusals are admitted each minute. `clock` gives seconds since the epoch."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._began = 0.0
        self._admitted = 0
        self._rest: dict[str, int] = {}

    def admits(self, code: str) -> bool:
        """Return whether to record a refusal for this reason by itself; otherwise count it. Ask for `rest` before."""
        if self._over():
            self._began, self._admitted = self._clock(), 0
        if self._admitted < self._limit:
            self._admitted += 1
            return True
        self._rest[code] = self._rest.get(code, 0) + 1
        return False

    def rest(self, *, last: bool = False) -> JsonObject | None:
        """Fields of a `flood`, once the minute of what was only counted is over, or with `last` at once."""
        if not self._rest or not (last or self._over()):
            return None
        codes, self._rest = self._rest, {}
        return {"since": timestamp(self._began), "count": sum(codes.values()), "codes": dict(sorted(codes.items()))}

    def _over(self) -> bool:
        return not 0 <= self._clock() - self._began < WINDOW
