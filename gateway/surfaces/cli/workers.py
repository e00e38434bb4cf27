"""`opagate up --workers N`: several gateways under one parent, on one port, over one database.

A worker is a whole gateway, with a journal and a state folder. The parent serves nothing. The parent starts workers again, passes
signals on, and ends last. The parent has no thread and no event loop, so a fork is safe.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gateway.base import own_process
from gateway.base.service_manager import ServiceManager
from gateway.config import keys
from gateway.identity import development
from gateway.model.errors import ConfigurationError
from gateway.record.journal import storage
from gateway.surfaces.cli import running, start
from gateway.surfaces.stored.local_postgresql import LocalPostgres, open_local
from gateway.surfaces.stored.opening import require_moved
from gateway.surfaces.stored.workers import configure_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config import Configuration
    from gateway.config.history import StoreSettings

log = structlog.get_logger("gateway")

_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LOOK: Final = 0.1
"""Seconds between two looks at workers that start."""
_REST: Final = 3600.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds until a worker starts again. Each pause is twice as long as the one before."""
_STEADY: Final = 60.0
"""Seconds of service after which the next pause is the first one again."""


def serve(path: Path, count: int) -> int:
    """Serve with so many workers until SIGTERM or Ctrl-C. Return the exit status. Raises `GatewayError`."""
    start.load_lean()
    from gateway.record.telemetry import logs
    from gateway.surfaces.cli import client_values

    start.protect_process()
    settings = client_values.load(path)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    _require_shareable(settings)
    manager = ServiceManager.of_environment()
    with ExitStack() as stack:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.callback(os.close, storage.lock(settings.state, "gateway.lock", "uses the state folder"))
        local = open_local(stack, settings)
        store = settings.store if local is None else local.settings
        if _run_apart(lambda: _prepare(settings, count, store)) != 0:
            return 2

        def serve_worker(number: int, tell_ready: Callable[[], None]) -> None:
            configure = partial(configure_worker, number=number, store=store, count=count)
            _serve_worker(path, configure, tell_ready)

        return Workers(count, serve_worker, local=local, on_ready=lambda: manager.tell_ready(settings.base_url)).run()


def _require_shareable(settings: Configuration) -> None:
    """Refuse a configuration with a key that workers cannot share."""
    if settings.keys.chain is not None:
        raise ConfigurationError(
            "keys.chain names one key, and each worker has a journal of its own", "remove keys.chain"
        )


def _prepare(settings: Configuration, count: int, store: StoreSettings | None) -> None:
    """Make the keys of all workers, and move the records of a gateway alone into a database of its own."""
    if settings.is_development:
        development.load_key(settings.state)
        for number in range(1, count + 1):
            state = configure_worker(settings, number, store).state
            state.mkdir(mode=0o700, exist_ok=True)
            shutil.copy2(settings.state / development.KEY_FILE, state)
    whole = settings.with_changes(store=store)
    keys.load(whole, begun=storage.has_begun(settings.journal.path))
    if settings.store is not None:
        require_moved(settings)
    elif (settings.state / keys.RECORDS).exists():
        import uvloop

        from gateway.surfaces.cli.state import move_all

        count, aside = uvloop.run(move_all(whole))
        log.info("store.moved", records=count, aside=str(aside))


def _serve_worker(
    path: Path, configure: Callable[[Configuration], Configuration], tell_ready: Callable[[], None]
) -> None:
    import uvloop

    from gateway.config.loading import forget_secrets
    from gateway.record.telemetry import logs
    from gateway.surfaces import app
    from gateway.surfaces.cli import client_values

    def read(source: Path) -> Configuration:
        return configure(client_values.load(source))

    settings = read(path)
    forget_secrets(settings)
    logs.configure(settings.telemetry.log, settings.telemetry.level)
    uvloop.run(app.run(settings, read=read, on_ready=tell_ready, shares_port=True))


def _run_apart(work: Callable[[], None]) -> int:
    """Do work in a process of its own, which keeps its memory to itself. Return its exit status."""
    child = os.fork()
    if child == 0:
        os._exit(running.run(work))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass(slots=True)
class _Worker:
    """A worker. `due` is the time of its start, and `since` the time at which it was ready; both by the monotonic clock."""

    number: int
    due: float | None = 0.0
    process: int | None = None
    ready: int | None = None
    since: float | None = None
    pause: float = _FIRST_PAUSE
    was_ready: bool = False


class Workers:
    """The workers of one parent. `serve` runs a worker: given are its number, and a function to call once the worker serves."""

    def __init__(
        self,
        count: int,
        serve: Callable[[int, Callable[[], None]], None],
        *,
        local: LocalPostgres | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._serve = serve
        self._local = local
        self._on_ready = on_ready
        self._is_stopping = False
        self._status = 0
        self._told_ready = False

    def run(self) -> int:
        """Run until all workers have ended. Return the exit status."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        try:
            while not self._is_stopping or any(worker.process is not None for worker in self._workers):
                self._begin_due()
                self._look_for_ready()
                heard = signal.sigtimedwait(_HEARD, self._find_rest())
                if heard is not None:
                    self._hear(signal.Signals(heard.si_signo))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._status

    def _hear(self, heard: signal.Signals) -> None:
        if heard is signal.SIGCHLD:
            self._collect()
            return
        if heard is not signal.SIGHUP:
            self._is_stopping = True
            log.info("workers.stopping", workers=len(self._workers))
        self._send(heard)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process, number)

    def _find_rest(self) -> float:
        """Return the seconds until the parent has something to do without a signal."""
        if any(worker.process is not None and worker.since is None for worker in self._workers):
            return _LOOK
        due = [worker.due for worker in self._workers if worker.due is not None and not self._is_stopping]
        return min(_REST, max(0.0, min(due) - time.monotonic())) if due else _REST

    def _begin_due(self) -> None:
        for worker in self._workers:
            if not self._is_stopping and worker.due is not None and worker.due <= time.monotonic():
                self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        ready, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            own_process.end_with_parent(parent)
            os._exit(running.run(lambda: self._serve(worker.number, lambda: _tell(told))))
        os.close(told)
        worker.process, worker.ready, worker.due, worker.since = child, ready, None, None
        log.info("workers.started", worker=worker.number, process=child)

    def _look_for_ready(self) -> None:
        for worker in self._workers:
            if worker.ready is None or worker.since is not None:
                continue
            with suppress(BlockingIOError):
                if os.read(worker.ready, 1):
                    worker.since, worker.was_ready = time.monotonic(), True
        if not self._told_ready and all(worker.was_ready for worker in self._workers):
            self._told_ready = True
            log.info("workers.ready", workers=len(self._workers))
            self._on_ready()

    def _collect(self) -> None:
        """Take note of all processes that have ended."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            ended = next((worker for worker in self._workers if worker.process == process), None)
            if ended is not None:
                self._note_end(ended, os.waitstatus_to_exitcode(status))
            elif self._local is not None and self._local.process == process:
                self._local.note_end(os.waitstatus_to_exitcode(status))

    def _note_end(self, worker: _Worker, status: int) -> None:
        """Start a worker again that served before. A worker that never served ends all: a person has to look."""
        self._look_for_ready()
        if worker.ready is not None:
            os.close(worker.ready)
        served = 0.0 if worker.since is None else time.monotonic() - worker.since
        worker.process = worker.ready = worker.since = None
        if self._is_stopping:
            self._status = self._status or abs(status)
            return
        log.error("workers.ended", worker=worker.number, status=status)
        if not worker.was_ready:
            self._is_stopping, self._status = True, abs(status) or 1
            self._send(signal.SIGTERM)
            return
        if served >= _STEADY:
            worker.pause = _FIRST_PAUSE
        worker.due = time.monotonic() + worker.pause
        worker.pause = min(2 * worker.pause, _LONGEST_PAUSE)


def _tell(told: int) -> None:
    """Tell the parent that a worker serves."""
    with suppress(OSError):
        os.write(told, b".")
    os.close(told)
    sys.stdout.flush()
