"""The number of the place in which a server runs. A sandbox has a PID namespace of its own, where each server has the same number."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_BITS: Final = 40


def own_room() -> int:
    """Return a number of this process's PID namespace and of its start, the same inside and outside.

    The system gives the number of a namespace that has ended to another one.
    """
    return started(Path("/proc/self")) << _BITS | Path("/proc/self/ns/pid").stat().st_ino


def is_in_room(process: Path, room: int) -> bool:
    """Return whether a process, as a folder of /proc, is in the namespace of a number.

    The first process of a namespace starts before its server. In a later namespace with the same number, all start after it.
    """
    is_same = (process / "ns/pid").stat().st_ino == room & ((1 << _BITS) - 1)
    return is_same and started(process) <= room >> _BITS


def started(process: Path) -> int:
    """Return when a process started, in ticks since the boot."""
    return int((process / "stat").read_text("ascii", "replace").rsplit(")", 1)[1].split()[19])
