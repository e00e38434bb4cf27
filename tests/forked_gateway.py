"""Gateways and commands forked from a process that has imported the code: a start takes a tenth of the processor time.

Each is a process of its own that runs `gateway.surfaces.cli.main`, as `opagate` does. Two things differ: the interpreter
has imported the code and compiled the shipped policy before, and a policy that was judged, compiled and tried for one gateway
of a worker is not judged, compiled and tried again for the next.
`tests/e2e/test_stopping.py`, `tests/interaction/cli/test_commands.py` and `tests/interaction/demo` run the command itself.

This module is also the program of the process that forks. It reads requests from a Unix socket, each with three files.
"""

from __future__ import annotations

import atexit
import faulthandler
import functools
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CAN_FORK: Final = sys.platform == "linux"
"""Whether an end can be awaited: pidfd_open(2) is of Linux."""
_ROOT: Final = Path(__file__).resolve().parents[1]
_REQUEST: Final = 2**20
_TRIALS: Final = "OPAGATE_TESTS_PASSED_TRIALS"


class Process(Protocol):
    """A started program, as `subprocess.Popen` is."""

    pid: int
    returncode: int | Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ForkedProcess:
    """A process that is a child of the process that forks. Its number stays taken until its end has been asked for."""

    def __init__(self, source: _Source, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._source = source

    def poll(self) -> int | None:
        """Return the exit status as `subprocess` does, `None` while the process runs."""
        if self.returncode is None:
            self.returncode = self._source.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raise `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                ready, _, _ = select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)
            if not ready:
                raise subprocess.TimeoutExpired("opagate up", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], folder: Path, output: BinaryIO, environment: Mapping[str, str]) -> ForkedProcess:
    """Run `opagate` with arguments in a folder. It reads nothing, and prints to `output`."""
    with Path(os.devnull).open("rb") as nothing:
        return _forked(arguments, folder, environment, (nothing, output, output))


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, given: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run `opagate` with arguments in a folder to its end. It reads `given`. Without a fork, run the command."""
    if not CAN_FORK:
        command = [sys.executable, "-m", "gateway", *arguments]
        options: dict[str, Any] = {"cwd": folder, "env": environment, "timeout": timeout, "text": True}
        return subprocess.run(command, input=given, capture_output=True, check=False, **options)
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        read.write(given.encode())
        read.seek(0)
        process = _forked(arguments, folder, environment, (read, out, err))
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        printed = [file.read().decode() for file in (out, err) if file.seek(0) == 0]
    return subprocess.CompletedProcess(["opagate", *arguments], status, *printed)


def _forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], files: Sequence[IO[bytes]]
) -> ForkedProcess:
    source = _source()
    request = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
    return ForkedProcess(source, source.ask(request, [file.fileno() for file in files]))


class _Source:
    """The process that forks, of this worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owed = 0
        self._passed = tempfile.mkdtemp(prefix="opagate-trials-")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked_gateway", str(theirs.fileno())],
                cwd=_ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", _TRIALS: self._passed},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def ask(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> Any:
        """Return the answer to a request. A test that ran out of time may have left answers behind: these are dropped."""
        with self._lock:
            while self._owed:
                self._receive()
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            self._owed += 1
            return self._receive()

    def _receive(self) -> Any:
        answer = json.loads(self._socket.recv(_REQUEST))
        self._owed -= 1
        return answer

    def close(self) -> None:
        self._socket.close()
        self._process.wait()
        shutil.rmtree(self._passed, ignore_errors=True)


@functools.cache
def _source() -> _Source:
    return _Source()


# --- the process that forks ------------------------------------------------------------------------


def main() -> None:
    """Fork a gateway for each request until the socket is closed. In the child this returns when the gateway has ended."""
    from gateway.surfaces import cli  # noqa: PLC0415
    from gateway.surfaces.cli import start  # noqa: PLC0415

    start.load_lean()
    for name in ("uvloop", "gateway.surfaces.app", "gateway.surfaces.cli.running", "gateway.record.telemetry.logs"):
        importlib.import_module(name)
    from gateway.policy import authoring, policy  # noqa: PLC0415
    from gateway.policy.plan import compile_process, loading, store  # noqa: PLC0415
    from gateway.policy.trials import passed_trials, trial  # noqa: PLC0415
    from tests.policy_trials import Made, PassedInFolder, RememberedPlans, RememberedTrials  # noqa: PLC0415

    folder = Path(os.environ.pop(_TRIALS))
    plans = RememberedPlans(Made(folder), authoring.judge, loading._compile_in_process)
    authoring.judge, loading._compile_in_process = plans.judge, plans.compile
    remembered = RememberedTrials(PassedInFolder(folder), trial.require)
    policy.trial = passed_trials.trial = remembered  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    plan = bytes(store.unpack(store.SHIPPED.read_bytes(), store.SHIPPED.name).plan)
    loading.remember(plan, compile_process.compile_plan(plan))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        request = _requested(asked)
    if request is not None:
        sys.argv = ["opagate", *request["arguments"]]
        cli.main()


def _requested(asked: socket.socket) -> dict[str, Any] | None:
    """Answer requests. Return the request of a gateway in its own process, and nothing once the socket is closed."""
    while True:
        message, files, _, _ = socket.recv_fds(asked, _REQUEST, 3)
        if not message:
            return None
        request: dict[str, Any] = json.loads(message)
        if "ended" in request:
            asked.send(json.dumps(_status(request["ended"])).encode())
            continue
        pid = os.fork()
        if pid == 0:
            _become(request, files)
            return request
        for file in files:
            os.close(file)
        asked.send(json.dumps(pid).encode())


def _status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Give this process the files, the folder and the environment of the gateway."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()


if __name__ == "__main__":
    main()
