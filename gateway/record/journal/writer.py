"""The journal that the gateway writes.

    journal = Journal.open(settings.journal, key=keys.chain, fingerprints=keys.fingerprints, clock=time.time)
    await journal.append("call", entry.call_entry(...))
    await journal.close()

Entries are written in the order of their appends, those of one turn of the event loop with one write. With
`fsync: always` they are on disk when `append` returns: a worker thread waits for the disk, and entries that come meanwhile
share the next wait. With `interval` they are on disk a second later, with `never` when the system likes: these survive a
crash of the gateway, not of the machine.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog

from gateway.base.keys.key_ring import key_id, subkey
from gateway.model.errors import JournalError
from gateway.record.journal.chain import RESERVED, Chain, ChainKeys, second_text, timestamp
from gateway.record.journal.entry import CLOSING
from gateway.record.journal.recovery import take_up
from gateway.record.journal.redaction import plain
from gateway.record.journal.segment import LONGEST_FIELDS, Appender, Pending
from gateway.record.journal.storage import Disk, compress_closed, lock, prepare_folder
from gateway.record.journal.write_outage import WriteOutage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import JournalSettings
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.journal")

_INTERVAL: Final = 1.0
_RETRY: Final = 1.0
"""Seconds after which a journal that could not be written is tried again, also if nobody calls: who asks `/readyz` before
sending calls would never send one."""
_MAX_OPEN: Final = 8192
"""Calls without an outcome: each segment names them all in its first line, which has to stay readable."""


class QueuedEntry(Pending):
    """An entry that waits for the write of its turn. `lost` hears of its failure, for a caller that does not wait."""

    lost: Callable[[JournalError], object] | None = None
    waiter: asyncio.Future[None] | None = None
    is_ended: bool = False
    error: JournalError | None = None

    def end(self, error: JournalError | None = None) -> None:
        """Note the durable entry, or the error of its write, and wake the waiting caller."""
        if self.is_ended:
            return
        self.is_ended, self.error = True, error
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if error is not None and self.lost is not None:
            self.lost(error)

    async def wait(self) -> None:
        """Return when the entry is as durable as configured. Raises `JournalError` for an unwritten entry. A cancelled
        caller does not take its entry back."""
        if not self.is_ended:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        if self.error is not None:
            raise JournalError(self.error.message, self.error.remedy)

    async def outlast(self) -> asyncio.CancelledError | None:
        """Wait as `wait` does, also if the caller is cancelled meanwhile. Return the cancellation: the caller has to raise
        it. A task of its own for the wait would cost more than the write."""
        cancelled: asyncio.CancelledError | None = None
        while not self.is_ended:
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            except asyncio.CancelledError as error:
                cancelled = error
        if self.error is not None:
            raise JournalError(self.error.message, self.error.remedy)
        return cancelled


class Journal:
    """The single writer of a journal, for use from one event loop."""

    def __init__(
        self,
        settings: JournalSettings,
        appender: Appender,
        disk: Disk,
        lock_fd: int,
        *,
        taken_up: int,
        keys: ChainKeys,
        fingerprint_key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._fsync = settings.fsync
        self._appender = appender
        self._disk = disk
        self._lock = lock_fd
        self.keys = keys
        """The keys of the chain. `change_key` takes over a new one of the ring."""
        self.taken_up = taken_up
        """The number of the last entry that was there when the journal was opened; 0 for a new one."""
        self._clock = clock
        self._encode = msgspec.json.Encoder(enc_hook=plain).encode
        self._queue: list[QueuedEntry] = []
        self._is_scheduled = False
        self._syncing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._worker = ThreadPoolExecutor(1, "journal")
        self._folder = settings.path
        self._compresses = settings.compress
        self._compressor = ThreadPoolExecutor(1, "compressed journal")
        self._compressed_before = 0
        self._closed = False
        self._problem: JournalError | None = None
        self._outage: WriteOutage | None = None
        self._is_end_told = False
        self._retrying: asyncio.TimerHandle | None = None
        self.fingerprint_key = fingerprint_key

    @classmethod
    def open(
        cls,
        settings: JournalSettings,
        *,
        key: ChainKeys,
        fingerprints: bytes,
        clock: Callable[[], float],
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        disk: Disk | None = None,
    ) -> Journal:
        """Lock the journal and go on after its last whole line, or begin one. Raises `JournalError`.

        `key` has those of the chain; `fingerprints` is that of all digests in the entries, and a journal has one.

        What a crash left is moved aside and noted (`recovered`), and calls without an outcome are given one
        (`abandoned`), before anything else is written.
        """
        disk = disk or Disk()
        prepare_folder(settings.path, disk)
        lock_fd = lock(settings.path)
        durable = settings.fsync != "never"
        named = key_id(fingerprints)
        appender = Appender(
            settings.path, Chain.of(key), disk, limit=settings.segment, durable=durable, fingerprints=named
        )
        try:
            end = take_up(appender, settings.path, Chain.of(key), disk, named, new_id=new_id, time=timestamp(clock()))
            fingerprint_key = subkey(fingerprints, "fingerprints")
            return cls(
                settings, appender, disk, lock_fd, taken_up=end, keys=key, fingerprint_key=fingerprint_key, clock=clock
            )
        except BaseException:
            appender.close()
            os.close(lock_fd)
            raise

    @property
    def head(self) -> str:
        """Return the link of the last line. A copy of the link elsewhere proves later that no line was cut off."""
        return self._appender.link

    @property
    def entries(self) -> int:
        """The number of the last written entry."""
        return self._appender.seq

    @property
    def open_calls(self) -> int:
        """Return the number of allowed calls without a recorded outcome."""
        return len(self._appender.open)

    def problem(self) -> str | None:
        """Return why entries are refused, if they are. Looks at the disk."""
        problem = self._appender.broken or self._problem or self._appender.changed()
        return problem.message if problem else None

    def note_lost(self) -> bool:
        """Note a lost entry, and return whether the log should tell of it: of the first in an outage, and of each lost outside.
        A full disk would fill the log otherwise. `journal.resumed` has the number of all."""
        if self._appender.broken is not None:
            told, self._is_end_told = self._is_end_told, True
        elif self._outage is not None:
            told, self._outage.is_told = self._outage.is_told, True
        else:
            told = False
        return not told

    async def append(self, kind: str, fields: JsonObject) -> None:
        """Write an entry, and return when it is as durable as configured. Raises `JournalError` for an unwritten entry.
        A cancelled caller does not take its entry back."""
        await self.begin(kind, fields).wait()

    def begin(self, kind: str, fields: JsonObject, lost: Callable[[JournalError], object] | None = None) -> QueuedEntry:
        """Queue an entry for the write at the end of this turn. `lost` hears of a failed write, for a caller that does not
        wait. Raises `JournalError` for an entry that can never be written."""
        if self._closed or self._appender.broken is not None:
            raise self._appender.broken or JournalError("the journal is closed", "start the gateway again")
        if not RESERVED.isdisjoint(fields):
            raise ValueError(f"an entry's fields may not be named {sorted(RESERVED & set(fields))}")
        try:
            encoded = self._encode(fields)
        except (ValueError, TypeError, RecursionError) as error:
            raise JournalError(f"an entry {kind!r} cannot be written as JSON: {error}") from error
        if len(encoded) > LONGEST_FIELDS - len(kind):
            raise JournalError(f"an entry {kind!r} of {len(encoded)} bytes is too long for the journal")
        # As `opened_by` and `closed_by`: each call has two entries.
        call = fields.get("id") if kind == "call" or kind in CLOSING else None
        named = call if isinstance(call, str) else None
        if kind == "call":
            queued = QueuedEntry(kind, encoded, named if fields.get("effect") == "allow" else None, None, lost)
        else:
            queued = QueuedEntry(kind, encoded, None, named, lost)
        if queued.opens is not None and len(self._appender.open) + len(self._queue) >= _MAX_OPEN:
            raise JournalError("too many calls are open in the journal", "wait for some of them to end")
        self._queue.append(queued)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)
        return queued

    async def write_through(self) -> None:
        """Wait until all written entries are on the disk, whatever the `fsync` setting says. Raises `JournalError`."""
        while self._syncing is not None:
            await asyncio.wait([self._syncing])
        if self._timer is not None:
            self._timer.cancel()
        self._sync()
        await asyncio.wait([cast("asyncio.Future[None]", self._syncing)])
        if self._appender.broken is not None:
            raise self._appender.broken

    async def change_key(self) -> None:
        """Begin a segment under the newest key of the chain. Raises `JournalError`: then the former key goes on."""
        while self._syncing is not None:
            await asyncio.wait([self._syncing])
        appender = self._appender
        try:
            appender.change_chain(Chain.of(self.keys), timestamp(self._clock()))
        except OSError as error:
            raise appender.broken or JournalError(
                f"the journal {appender.path} cannot go on under a new key: {error.strerror}",
                "mend its disk, and try again",
            ) from error

    async def close(self) -> None:
        """Write what waits and the `stop` entry, and give the journal up. Raises `JournalError` if that fails."""
        if self._closed:
            return
        self._closed = True
        while self._queue or self._syncing is not None:
            await (asyncio.wait([self._syncing]) if self._syncing is not None else asyncio.sleep(0))
        for timer in (self._timer, self._retrying):
            if timer is not None:
                timer.cancel()
        self._worker.shutdown()
        self._compressor.shutdown()
        try:
            self._stop()
        finally:
            self._appender.close()
            os.close(self._lock)

    def _stop(self) -> None:
        appender, time = self._appender, timestamp(self._clock())
        error = self._catch_up(time)
        if error is None:
            fields = msgspec.json.encode({"entries": appender.seq, "head": appender.link})
            _, error = appender.append((Pending("stop", fields),), time)
        if error is not None:
            raise error
        if self._fsync != "never":
            try:
                appender.sync()
            except OSError as failure:
                raise appender.fail(failure) from failure

    def flush(self) -> None:
        """Write all waiting entries, unless the worker is at the file: then after it."""
        self._is_scheduled = False
        if self._syncing is not None or not self._queue:
            return
        batch, self._queue = self._queue, []
        written, error = self._write(batch)
        if self._compresses and self._appender.number != self._compressed_before:
            self._compress()
        if error is not None:
            for queued in batch[written:]:
                queued.end(error)
            del batch[written:]
        if self._fsync == "always" and batch:
            self._sync(batch)
            return
        for queued in batch:
            # As `end` does: an entry of this turn has not ended, and has no error.
            queued.is_ended = True
            if queued.waiter is not None and not queued.waiter.done():
                queued.waiter.set_result(None)
        if batch and self._timer is None:
            self._sync_soon()

    def _compress(self) -> None:
        """Compress the closed segments in a thread, also those of the gateway before this one."""
        self._compressed_before = self._appender.number
        work = partial(compress_closed, self._folder, self._disk, lambda: self._closed)
        self._compressor.submit(work).add_done_callback(_note_compressed)

    def _write(self, entries: Sequence[Pending]) -> tuple[int, JournalError | None]:
        # As `timestamp`, for each turn with entries.
        milliseconds = round(self._clock() * 1000)
        time = f"{second_text(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"
        appender = self._appender
        number, written = appender.number, 0
        error = None if self._outage is None else self._catch_up(time)
        if error is None:
            written, error = appender.append(entries, time)
        self._problem = error
        if error is not None:
            self._lose(entries[written:], time)
        if appender.number != number:
            log.info("journal.segment", segment=appender.number, head=appender.link)
        return written, error

    def _catch_up(self, time: str) -> JournalError | None:
        """Record the end of an outage and its lost entries, if any. Return the error if writing still fails."""
        outage = self._outage
        if outage is None:
            return None
        lost, owed = outage.lost, outage.entries()
        written, error = self._appender.append(owed, time)
        if error is not None:
            outage.recorded(written, time)
            return error
        self._outage = None
        log.warning("journal.resumed", lost=lost)
        return None

    def _lose(self, entries: Sequence[Pending], time: str) -> None:
        if self._outage is None:
            self._outage = WriteOutage(time)
        self._outage.lose(entries)
        self._retry_soon()

    def _retry_soon(self) -> None:
        if self._retrying is None and not self._closed and self._appender.broken is None:
            self._retrying = asyncio.get_running_loop().call_later(_RETRY, self._retry)

    def _retry(self) -> None:
        """Try again, unless the worker is at the file, or another append has been the try."""
        self._retrying = None
        if self._outage is None:
            return
        if self._syncing is not None or self._queue:
            self._retry_soon()
            return
        _, error = self._write(())
        if error is None:
            self._sync_now_or_soon()

    def _sync_now_or_soon(self) -> None:
        if self._fsync == "always":
            self._sync()
        else:
            self._sync_soon()

    def _sync_soon(self) -> None:
        if self._fsync == "interval" and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._sync)

    def _sync(self, waiting: Sequence[QueuedEntry] = ()) -> None:
        """Let the worker wait for the disk. Then notify the waiting callers, and write new entries."""
        self._timer = None
        self._syncing = asyncio.get_running_loop().run_in_executor(self._worker, self._appender.sync)
        self._syncing.add_done_callback(lambda done: self._finish_sync(waiting, done))

    def _finish_sync(self, waiting: Sequence[QueuedEntry], done: asyncio.Future[None]) -> None:
        self._syncing = None
        failure = done.exception()
        if isinstance(failure, OSError):
            error = self._appender.fail(failure)
            log.error("journal.closed", problem=error.message)
            for queued in waiting:
                queued.end(error)
        for queued in waiting:
            queued.end()
        if self._queue:
            self.flush()


def _note_compressed(done: Future[None]) -> None:
    """Log the failure of a compression. The segments stay as they are until the next one closes."""
    if (error := done.exception()) is not None:
        log.warning("journal.uncompressed", problem=str(error))
