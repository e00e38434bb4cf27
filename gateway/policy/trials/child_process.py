"""One question to a process of its own, for work on policies that takes much time or memory, or cannot be trusted to end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

from gateway.model.errors import PolicyUnavailable

_INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")


class ChildAnswer(NamedTuple):
    """The output of an ended process, and its exit status."""

    written: bytes
    status: int


async def ask_process(module: str, question: bytes, *, seconds: float, work: str) -> ChildAnswer:
    """Run a module in a process with the question on standard input, and return its answer. `work` names the task for people.

    Raise `PolicyUnavailable` if the process cannot be started, and `TimeoutError` after `seconds`. The process has ended then.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module),
            env=clean_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise PolicyUnavailable(
            f"the process that {work} cannot be started: {error.strerror}",
            "allow the gateway one more process, and 200 MB of memory for it",
        ) from None
    try:
        async with asyncio.timeout(seconds):
            written, _ = await process.communicate(question)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return ChildAnswer(written, process.returncode or 0)


def clean_environment() -> dict[str, str]:
    """Return the environment for a process with this code. The environment of the gateway holds secrets."""
    own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**own, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
