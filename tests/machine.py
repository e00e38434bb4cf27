"""Parts of the machine that tests need and that some machines lack: a small file system, /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.rooms import is_in_room

if TYPE_CHECKING:
    from collections.abc import Generator

MISSING = "MISSING TOOL"
"""The mark of a skipped test in the summary at the end of a run."""

needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason=f"{MISSING}: /proc, which Linux has")


def skip_or_fail(message: str) -> None:
    """Skip the test, named in the summary. Under CI=true fail it: CI has all that tests need."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{MISSING}: {message}", pytrace=False)
    pytest.skip(f"{MISSING}: {message}")


@contextmanager
def small_disk(place: Path, size: str) -> Generator[Path]:
    """Mount a file system of `size` (as `128k`) at `place`, for as long as the block lasts. Root on Linux can."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "opagate-test", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        skip_or_fail("a small file system; run the tests as root on Linux, which may mount one")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def find_outside(process: int, room: str) -> int:
    """Return the number of a process by its number in a PID namespace, whose link in /proc is `room`."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if str((status.parent / "ns/pid").readlink()) != room:
                continue
            numbers = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("NSpid:"))
        except OSError:
            continue
        if int(numbers.split()[-1]) == process:
            return int(status.parent.name)
    raise AssertionError(f"no process {process} in {room}")


def is_inhabited(room: int) -> bool:
    """Return whether a process runs in a PID namespace, by its number (`tests/servers/rooms.py`)."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if is_in_room(process, room) and is_alive(int(process.name)):
                return True
        except OSError:
            continue
    return False


def find_children(parent: int) -> set[int]:
    """Return the child processes of a process. Each says who its parent is: the list of children in `/proc` may miss one while
    another ends (proc(5))."""
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int((process / "stat").read_text("utf-8").rpartition(")")[2].split()[1]) == parent:
                found.add(int(process.name))
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs. One that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
        shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state = shown.stdout.strip() or "Z"
    return not state.startswith("Z")
