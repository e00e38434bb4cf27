"""The number of the place in which a server runs. A sandbox has a PID namespace of its own, where each server has the same number."""

from __future__ import annotations

from pathlib import Path


def own_room() -> int:
    """Return the number of this process's PID namespace, the same inside and outside."""
    return Path("/proc/self/ns/pid").stat().st_ino
