"""Pruning by age beside a running gateway (`journal.keep`): once an hour, in a process of its own.

Verification reads each line of the journal. It takes a processor for minutes, at the lowest priority.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from msgspec import Struct

from gateway.base.concurrency.background import Job
from gateway.model.errors import JournalError
from gateway.record.journal import retention
from gateway.record.journal.chain import timestamp

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing
    from gateway.config import JournalSettings

log = structlog.get_logger("gateway.journal")

_PAUSE: Final = 3600.0
_AHEAD: Final = 3600.0
"""Seconds by which the clock may have been set forward since the start. Beyond it, the age of segments is not believed."""
_CODE: Final = str(Path(__file__).resolve().parents[3])


def since_boot() -> float:
    """Return seconds that no setting of the clock changes. On Linux the time of a suspended machine counts."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Order(Struct, frozen=True):
    """The journal to prune. `before` and `time` are as `chain.timestamp` gives them."""

    folder: str
    keys: tuple[bytes, ...]
    before: str
    time: str
    archive: str | None


class Report(Struct, frozen=True):
    """The number of segments that are gone and their bytes, or the problem and its remedy."""

    segments: int = 0
    bytes: int = 0
    problem: str | None = None
    remedy: str | None = None


def carry_out(order: Order) -> Report:
    """Prune the journal. Return the number of removed segments, or the problem."""
    archive = None if order.archive is None else Path(order.archive)
    try:
        done = retention.prune(
            Path(order.folder), key=order.keys, before=order.before, time=order.time, archive=archive
        )
    except JournalError as error:
        return Report(problem=error.message, remedy=error.remedy)
    return Report(done.segments, done.bytes)


class AgePruning:
    """A job that removes old segments, or moves the segments to a configured archive.

    While the clock is far ahead of the time since the start, all segments stay.
    """

    def __init__(
        self,
        settings: JournalSettings,
        keep: timedelta,
        keys: KeyRing[bytes],
        clock: Callable[[], float],
        elapsed: Callable[[], float] = since_boot,
    ) -> None:
        self._settings = settings
        self._keep = keep.total_seconds()
        self._keys = keys
        self._clock = clock
        self._elapsed = elapsed
        self._begun = clock() - elapsed()
        self._job: Job | None = None

    def start(self) -> AgePruning:
        """Start the job. It prunes at once for the first time."""
        self._job = Job.begin_repeating(self._look, "journal.keep")
        return self

    async def stop(self) -> None:
        """Stop the job and its process. A later run continues where this one stopped."""
        if self._job is not None:
            await self._job.stop()

    async def _look(self) -> None:
        await self.prune_once()
        await asyncio.sleep(_PAUSE)

    async def prune_once(self) -> Report:
        """Prune the journal once, and log the removed segments."""
        now = self._clock()
        ahead = now - self._elapsed() - self._begun
        if ahead > _AHEAD:
            return _log_unpruned(
                Report(
                    problem=f"the clock was set forward by {ahead:.0f} s since the start of the gateway",
                    remedy="set it right; if it is right now, restart the gateway",
                )
            )
        order = Order(
            folder=str(self._settings.path.absolute()),
            keys=self._keys.keys,
            before=timestamp(now - self._keep),
            time=timestamp(now),
            archive=None if self._settings.archive is None else str(self._settings.archive.absolute()),
        )
        report = await _ask(order)
        if report.problem is not None:
            return _log_unpruned(report)
        if report.segments:
            log.info("journal.pruned", segments=report.segments, bytes=report.bytes, archive=order.archive)
        return report


def _log_unpruned(report: Report) -> Report:
    log.error("journal.unpruned", problem=report.problem, remedy=report.remedy)
    return report


async def _ask(order: Order) -> Report:
    """Return the report of a process. Its environment holds no secret of the gateway; the keys come on standard input."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.record.journal.age_pruning"),
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": _CODE},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        return Report(problem=f"no process could be started: {error.strerror}", remedy="allow the gateway one more")
    try:
        written, _ = await process.communicate(msgspec.json.encode(order))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return Report(
            problem=f"the process ended with status {process.returncode}", remedy="run `opagate journal prune` by hand"
        )
    return msgspec.json.decode(written, type=Report)


if __name__ == "__main__":
    os.nice(19)
    sys.stdout.buffer.write(msgspec.json.encode(carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=Order))))
