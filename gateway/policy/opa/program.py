"""The OPA program on this machine, which checks, tests and compiles the rules of an author. No call waits for it."""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from gateway.base.concurrency.background import in_thread
from gateway.model.errors import PolicyBroken
from gateway.policy.opa import program_process
from gateway.policy.trials.child_process import clean_environment

Result = TypeVar("Result")

HOW_TO_GET: Final = "install OPA 1.22 or newer and have `opa` on PATH: docs/operations/policy.md says how"
_PATIENCE: Final = 120.0
"""Seconds for one command."""
_PROCESSOR_SECONDS: Final = 120
_MEMORY: Final = 4 * 2**30
"""Bytes of one command. The shipped rules take 0.2 GB."""
_LAUNCHER: Final = (sys.executable, "-I", "-S", program_process.__file__)
_RUNNING: Final[ContextVar[set[subprocess.Popen[str]] | None]] = ContextVar("_RUNNING", default=None)
"""The programs that run for the present caller of `in_killable_thread`."""
_TOOLS: Final = Path(__file__).resolve().parents[3] / ".tools"


class ProgramOutput(NamedTuple):
    """The output of an ended program, and its exit status."""

    written: str
    complaints: str
    status: int

    @property
    def lines(self) -> list[str]:
        """Return the lines of both outputs that are not empty."""
        return [line for line in (self.written + "\n" + self.complaints).splitlines() if line.strip()]


def find_program(name: str = "opa") -> Path | None:
    """Return `opa` or `regal`: from the repository's `.tools/` (`make tools`), else from the PATH."""
    if (_TOOLS / name).is_file():
        return _TOOLS / name
    found = shutil.which(name)
    return None if found is None else Path(found)


def require_opa(work: str) -> Path:
    """Return the OPA program. Raise `PolicyBroken` if there is none; `work` says what needs it."""
    found = find_program()
    if found is None:
        raise PolicyBroken(f"{work} needs the OPA program, and there is no `opa` on PATH", HOW_TO_GET)
    return found


async def in_killable_thread(work: Callable[[], Result]) -> Result:
    """Do work that runs programs in a thread. For a cancelled caller the programs end at once, and so does the work."""
    running: set[subprocess.Popen[str]] = set()
    _RUNNING.set(running)
    thread = asyncio.ensure_future(in_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        while not thread.done():
            for process in tuple(running):
                process.kill()
            await asyncio.wait([thread], timeout=0.05)
        raise


def run_program(program: Path, *arguments: str, folder: Path | None = None) -> ProgramOutput:
    """Run a program to its end, with bounds on time and memory. Raise `PolicyBroken` if it does not start or end."""
    try:
        process = subprocess.Popen(  # noqa: S603 - `opa` or `regal` of the operator, without a shell
            [*_LAUNCHER, str(program.absolute()), *arguments],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise PolicyBroken(f"{program} cannot be run: {error.strerror}", HOW_TO_GET) from None
    _bound(process.pid)
    running = _RUNNING.get()
    running = set[subprocess.Popen[str]]() if running is None else running
    running.add(process)
    try:
        written, complaints = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise PolicyBroken(
            f"{program.name} took longer than {_PATIENCE:.0f} s", "run it by hand on the folder to see why"
        ) from None
    finally:
        running.discard(process)
    if process.returncode == program_process.CANNOT_RUN:
        raise PolicyBroken(f"{program} cannot be run: {complaints}", HOW_TO_GET)
    return ProgramOutput(written, complaints, process.returncode)


def read_version(opa: Path) -> str:
    """Return the version of an OPA. Raise `PolicyBroken`."""
    found = re.search(r"^Version: (\S+)$", run_program(opa, "version").written, re.MULTILINE)
    return found[1] if found else "unknown"


def _bound(process: int) -> None:
    """Bound a child's processor time and memory, where the system can from outside."""
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):
            resource.prlimit(process, resource.RLIMIT_CPU, (_PROCESSOR_SECONDS, _PROCESSOR_SECONDS))
            resource.prlimit(process, resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
