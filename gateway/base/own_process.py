"""The gateway's own process: its rights over its memory, and memory given back to the system."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36


def hide_memory() -> None:
    """Keep the memory, the environment and the open files of this process from other programs of its account (Linux).

    They need CAP_SYS_PTRACE then. No crash leaves the memory in a file. Children lose the protection by `exec`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_control(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Make orphans below this process its children (Linux), so that they stay recognizable as its programs."""
    _set_control(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """Have this process told to stop (SIGTERM) once its parent has ended (Linux)."""
    _set_control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGTERM)


def _set_control(name: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(name, value, 0, 0, 0)


def forget_variables(names: Iterable[str]) -> None:
    """Remove variables from the environment, and overwrite their values in memory. No child inherits them."""
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    for name in names:
        address = library.getenv(os.fsencode(name))
        if address is not None:
            # `/proc/PID/environ` shows the memory in which the environment came, also after the removal of a variable.
            ctypes.memset(address, 0, len(ctypes.string_at(address)))
        os.environ.pop(name, None)


def give_back() -> None:
    """Give free memory back. Does nothing where the C library has no `malloc_trim`."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
