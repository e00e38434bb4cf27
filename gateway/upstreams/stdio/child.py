"""A server process: its pipes, its process group, its end. The child leads its own process group, so its helpers end
with it. If the gateway is killed, the child's standard input closes, and MCP servers must then end (MCP 2026-07-28,
stdio, "Shutdown"). `PR_SET_PDEATHSIG` would also reach a server without regard for this. But only Linux has
`PR_SET_PDEATHSIG`, and the foreign call between fork and exec can deadlock in a process with threads. A child with a
leased credential runs below a keeper; the keeper ends the whole tree."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

import structlog

from gateway.model.errors import UpstreamBroken, UpstreamTimeout
from gateway.upstreams.stdio import keeper
from gateway.upstreams.stdio.handed import HandedProcess
from gateway.upstreams.stdio.stderr import StderrLines
from gateway.upstreams.stdio.wire import MAX_LINE, Inbound, LineSplitter, LineTooLong, read_line

TURN: Final = 100
"""Messages of one server that are taken in at once; a long one counts for more."""
REST: Final = 0.01
"""Seconds between two turns of a server that has more to say."""
_LONG: Final = 4096
"""Bytes that count for as much as a message."""


class Throttle:
    """A throttle shared by the servers of one upstream: the more servers flood, the longer each rests.

    A flooding server would take the event loop's time from all other callers."""

    def __init__(self) -> None:
        self._resting = 0

    def rest(self, then: Callable[[], None]) -> None:
        """Call `then` after a rest."""
        self._resting += 1
        asyncio.get_running_loop().call_later(REST * self._resting, self._end_rest, then)

    def _end_rest(self, then: Callable[[], None]) -> None:
        self._resting -= 1
        then()


def weight(line: bytes) -> int:
    """Return the number of messages that a line counts for."""
    return 1 + len(line) // _LONG


log = structlog.get_logger("gateway.upstream.stdio")

SHUTDOWN_STEP: Final = 2.0
"""Seconds that a child has after its standard input is closed, and again after SIGTERM."""
MAX_UNREAD: Final = 2**20
"""Bytes of messages that nobody waits for."""
KEEPER_STEP: Final = 8.0
"""Seconds that a keeper has to end its tree. It kills after one; a process in an uninterruptible wait dies later."""
_POLL: Final = 0.05
_LAST_LINES: Final = 0.5
"""Seconds to wait for output that is still in the pipe after the process and its group have ended."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_PIPE_CLOSED: Final = {_STDIN: "closed its standard input", _STDOUT: "closed its standard output"}


class ServerProcess(asyncio.SubprocessProtocol):
    """A running server. Made by `spawn`.

    `gone` is called once, after the end of the child and its group. `asked`: `stop` asked for the end. `handed` is the
    hand-over of its leased credential. `has_monitor`: the child is the monitor of a sandbox, and the server is below it.
    """

    def __init__(
        self,
        name: str,
        *,
        secrets: Sequence[str],
        clock: Callable[[], float],
        conceal: Callable[[str], str] = str,
        gone: Callable[[ServerProcess], None],
        max_line: int = MAX_LINE,
        throttle: Throttle | None = None,
        handed: HandedProcess | None = None,
    ) -> None:
        self.started = clock()
        self.asked = False
        self.handed = handed
        self.has_monitor = False
        self.begun = asyncio.Event()
        self.pid = 0
        self._gone_to = gone
        self._listener: Callable[[Inbound], None] | None = None
        self._ended: Callable[[str], None] | None = None
        self._early: list[Inbound] = []
        self._name = name
        self._clock = clock
        self._lines = LineSplitter(max_line)
        self._throttle = throttle or Throttle()
        self._said: deque[bytes] = deque()
        self._turn_began = float("-inf")
        self._turn_used = 0
        self._resting = False
        self._stderr = StderrLines(secrets, conceal)
        self._transport: asyncio.SubprocessTransport
        self._writing = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._unread = 0
        self._exited = asyncio.Event()
        self._silent = asyncio.Event()
        self._deaf = asyncio.Event()
        self._lost = asyncio.Event()
        self._closed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reason = ""
        self._terminated = False
        self._junk = 0
        self._stopping: asyncio.Task[None] | None = None
        self._log = log.bind(upstream=name)

    @property
    def usable(self) -> bool:
        """Return whether the child still accepts messages."""
        return self._stopping is None

    def attach(self, listener: Callable[[Inbound], None], ended: Callable[[str], None]) -> None:
        """Tell `listener` of every message, and `ended`, once, after the last, with the reason."""
        self._listener, self._ended = listener, ended
        for message in self._early:
            listener(message)
        self._early.clear()
        if self._closed.is_set():
            ended(self._reason)

    # --- in --------------------------------------------------------------------------------------------

    async def write(self, message: bytes, patience: float) -> None:
        """Write one message, and wait until the child has taken the message in, for at most `patience` seconds.

        Only one message at a time waits in memory. Raises `UpstreamBroken`, or `UpstreamTimeout` for a child without
        reading; such a child is ended, since half of the message may be in its pipe.
        """
        try:
            async with asyncio.timeout(patience), self._writing:
                # What a caller left behind that did not wait may still be there.
                await self._writable.wait()
                self._put(message)
                await self._writable.wait()
        except TimeoutError:
            self._end("does not read its standard input")
            raise UpstreamTimeout(
                f"upstream {self._name} did not read its input for {patience:g} s", "try again; it is started anew"
            ) from None
        if not self.usable:
            raise UpstreamBroken(
                f"upstream {self._name} {self._reason}", "try again; whether the call was carried out is not known"
            )

    def post(self, message: bytes) -> None:
        """Write a short message without waiting. Raises `UpstreamBroken` if the child has ended. A child with too many
        unread messages is ended now."""
        if self._writable.is_set():
            self._unread = 0
        elif self._unread + len(message) > MAX_UNREAD:
            self._end("does not read its standard input")
        self._unread += len(message)
        self._put(message)

    def _put(self, message: bytes) -> None:
        if self.usable and self._stdin().is_closing():
            # The event loop knows already, and tells in its next turn. uvloop raises for what is written meanwhile.
            self._end(_PIPE_CLOSED[_STDIN])
        if not self.usable:
            raise UpstreamBroken(f"upstream {self._name} {self._reason}", "try again; it is started anew")
        self._stdin().write(message + b"\n")

    # --- the end ---------------------------------------------------------------------------------------

    async def stop(self, reason: str = "was shut down", *, at_once: bool = False) -> None:
        """End the child: close its input, wait, SIGTERM to its group, wait, SIGKILL to its group.

        `at_once` leaves out the first wait. Returns when the child is gone. A cancelled caller does not stop the end.
        """
        self.asked = self.asked or self._stopping is None
        if at_once:
            self._hurry.set()
        await asyncio.shield(self._end(reason))

    def _end(self, reason: str) -> asyncio.Task[None]:
        if self._stopping is None:
            self._reason = reason
            self._stopping = asyncio.get_running_loop().create_task(self._run_down())
            self._writable.set()
        return self._stopping

    async def _run_down(self) -> None:
        if not self._deaf.is_set():
            self._stdin().close()
        await _within(SHUTDOWN_STEP, self._exited_or_hurried())
        died = self._exited.is_set() and not self.asked
        if not died and not self._is_gone():
            self._terminated = not self._exited.is_set()
            await self._terminate()
        self._signal(signal.SIGKILL)
        await self._exited.wait()
        await _within(_LAST_LINES, self._until_gone())
        if self.handed is not None and not self.handed.is_gone():
            await self._hunt(self.handed)
        await _within(_LAST_LINES, self._silent.wait())
        for line in self._stderr.end():
            self._log.info("upstream.stderr", pid=self.pid, line=line)
        if not self._deaf.is_set():
            self._stdin().abort()
        self._transport.close()
        await _within(_LAST_LINES, self._lost.wait())
        self._log.info("upstream.ended", pid=self.pid, reason=self._reason)
        if self.handed is not None:
            self.handed.finish()
        self._closed.set()
        self._gone_to(self)
        if self._ended is not None:
            self._ended(self._reason)

    async def _hunt(self, handed: HandedProcess) -> None:
        """Kill the processes of a killed keeper. The search may miss some."""
        self._log.error("upstream.keeper-killed", pid=self.pid)
        for _ in range(round(SHUTDOWN_STEP / _POLL)):
            if not handed.kill_marked():
                return
            await asyncio.sleep(_POLL)

    def _stdin(self) -> asyncio.WriteTransport:
        return cast("asyncio.WriteTransport", self._transport.get_pipe_transport(_STDIN))

    def _stdout(self) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(_STDOUT))

    async def _terminate(self) -> None:
        """Ask the group to end, or the keeper to end the tree, and wait for a while."""
        if self.handed is None:
            self._ask_end()
            await _within(SHUTDOWN_STEP, self._until_gone())
        else:
            self.handed.ask_end()
            await _within(KEEPER_STEP, self._exited.wait())

    def _ask_end(self) -> None:
        """Send SIGTERM to the server and its helpers. The end of a monitor would kill them at once."""
        if not self.has_monitor:
            self._signal(signal.SIGTERM)
            return
        for process in keeper.descendants(self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGTERM)

    async def _exited_or_hurried(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._exited, self._hurry)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _is_gone(self) -> bool:
        if not self._exited.is_set():
            return False
        self._reap_group()
        return not self._signal(0)

    def _reap_group(self) -> None:
        """Take the exits of the group's orphans, such as the first process inside a sandbox. The gateway adopts orphans,
        and dead ones would keep the group. The event loop has the exit of the child itself."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0] != 0:
                pass

    async def _until_gone(self) -> None:
        while not self._is_gone():  # noqa: ASYNC110 - the end of a process group is no event
            await asyncio.sleep(_POLL)

    def _signal(self, number: int) -> bool:
        """Signal the whole group, and return whether the group exists. The group keeps its number while a member
        lives."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    # --- what the event loop tells ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()
        self.begun.set()
        self._log.info("upstream.started", pid=self.pid)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            for line in self._stderr.feed(data, self._clock()):
                self._log.info("upstream.stderr", pid=self.pid, line=line)
            return
        try:
            self._said.extend(self._lines.feed(data))
        except LineTooLong:
            self._end("wrote a line without end")
            return
        if not self._resting:
            self._hear()

    def _hear(self) -> None:
        """Take in the child's output, as much as one turn allows; nothing is read while the child rests. After its
        exit, only the rest of the pipe is left."""
        last = self._exited.is_set() or self._silent.is_set()
        now = asyncio.get_running_loop().time()
        if now - self._turn_began >= REST:
            self._turn_began, self._turn_used = now, 0
        while self._said and (last or self._turn_used < TURN):
            line = self._said.popleft()
            self._turn_used += weight(line)
            self._take(line)
        if self._turn_used >= TURN and not last:
            self._resting = True
            self._stdout().pause_reading()
            self._throttle.rest(self._end_rest)

    def _end_rest(self) -> None:
        if self._resting:
            self._resting = False
            if not self._silent.is_set():
                self._stdout().resume_reading()
            self._hear()

    def _take(self, line: bytes) -> None:
        message = read_line(line)
        if message is None:
            self._junk += 1
            if is_power_of_two(self._junk):
                self._log.warning("upstream.junk", pid=self.pid, size=len(line), so_far=self._junk)
        elif self._listener is None:
            self._early.append(message)
        else:
            self._listener(message)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if fd in _PIPE_CLOSED:
            (self._deaf if fd == _STDIN else self._silent).set()
            self._end(_PIPE_CLOSED[fd])

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def process_exited(self) -> None:
        status = self._transport.get_returncode()
        self._exited.set()
        self._end_rest()
        if self._reason in _PIPE_CLOSED.values() and not self._terminated:
            self._reason = _describe_end(status, is_passed_on=self._passes_end_on)
        self._end(_describe_end(status, is_passed_on=self._passes_end_on))

    @property
    def _passes_end_on(self) -> bool:
        """Return whether the first process exits with the status of the server, as shells do."""
        return self.handed is not None or self.has_monitor

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._lost.set()


async def spawn(
    command: Sequence[str],
    child: ServerProcess,
    *,
    env: Mapping[str, str],
    cwd: Path | None,
    has_monitor: bool = False,
) -> None:
    """Start `child`: exactly `command`, without a shell, with nothing but `env`. Raises `OSError`.

    `has_monitor`: the command runs the server in a sandbox, below a monitor.
    """
    loop = asyncio.get_running_loop()
    handed, child.has_monitor = child.handed, has_monitor
    passed = () if handed is None else handed.passed
    await loop.subprocess_exec(
        lambda: child,
        *(command if handed is None else handed.command(command, has_monitor=has_monitor)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        close_fds=True,
        start_new_session=True,
        pass_fds=passed,
        preexec_fn=partial(_seal_descriptors, passed) if type(loop).__module__.startswith("uvloop") else None,
    )


def _seal_descriptors(passed: Sequence[int]) -> None:
    """Close all other files in the child before the exec of the command. uvloop takes `close_fds` and ignores the
    value. So every server would hold the gateway's inherited files, such as a supervisor's socket, and second
    descriptors of its own pipes. The gateway could then not see the close of a pipe. uvloop runs Python between fork
    and exec in any case."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names of descriptors, not files
        with contextlib.suppress(OSError):
            if int(name) > _STDERR and int(name) not in passed:
                os.set_inheritable(int(name), False)  # noqa: FBT003 - its only form


def _describe_end(status: int | None, *, is_passed_on: bool = False) -> str:
    if is_passed_on and status is not None and status > keeper.BY_SIGNAL:
        status = keeper.BY_SIGNAL - status
    if status is None or status >= 0:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def is_power_of_two(count: int) -> bool:
    """Return whether to log an event of endless number: the 1st, 2nd, 4th, 8th time and so on."""
    return count & (count - 1) == 0


async def _within(seconds: float, something: Coroutine[None, None, object]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await something
