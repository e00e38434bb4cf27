"""The command line of bubblewrap: a view of files and namespaces of its own around a command. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.upstreams.stdio.isolation.view import View

_SCRATCH: Final = Path("/tmp")  # noqa: S108 - the sandbox's own
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the sandbox's own
_SCRATCH_BYTES: Final = 512 * 2**20
"""What a server may put into memory as files, in each such folder."""


@dataclass(frozen=True, slots=True)
class Room:
    """A sandbox of one process. `kept_home` is the machine's folder behind `home`. Without `kept_home`, memory is.

    `is_counted`: the launcher holds a capability until the number of processes is bounded.
    """

    view: View
    home: Path
    cwd: Path
    kept_home: Path | None = None
    has_network: bool = False
    is_counted: bool = False

    @property
    def is_home_free(self) -> bool:
        """Return whether the home is not itself a shown folder, or inside of one."""
        shown = (*self.view.read, *self.view.write)
        return self.home != Path("/") and not any(self.home.is_relative_to(path) for path in shown)


def arrange(program: str, room: Room) -> tuple[str, ...]:
    """Return the command line in front of the command that runs in a room."""
    return (
        program,
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *(() if room.has_network else ("--unshare-net",)),
        *("--die-with-parent", "--cap-drop", "ALL", "--hostname", "sandbox"),
        *(("--cap-add", "CAP_SYS_ADMIN") if room.is_counted else ("--disable-userns",)),
        # A server of root's account could write settings of the kernel there without any capability.
        *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"),
        *_memory(_SHARED_MEMORY),
        *("--remount-ro", "/dev"),
        *_memory(_SCRATCH),
        *_place_home(room),
        *_place_files(room.view),
        *("--dir", str(room.cwd)),
        *("--remount-ro", "/"),
        *("--chdir", str(room.cwd), "--"),
    )


def list_written(room: Room) -> tuple[Path, ...]:
    """Return the folders that a process in the room may write: its own, and the declared."""
    own = (Path("/dev"), _SCRATCH)
    return (*own, *((room.home,) if room.is_home_free else ()), *room.view.write)


def _place_home(room: Room) -> tuple[str, ...]:
    if not room.is_home_free or room.home == _SCRATCH:
        return ()
    home = str(room.home)
    return _memory(room.home) if room.kept_home is None else ("--bind", str(room.kept_home), home)


def _place_files(view: View) -> Iterator[str]:
    """Yield the mounts, outer ones first, and the links between them."""
    mounts = [("--ro-bind", path) for path in view.read] + [("--bind", path) for path in view.write]
    for way, path in sorted(mounts, key=lambda mount: len(mount[1].parts)):
        yield from (way, str(path), str(path))
    for link, to in view.links:
        yield from ("--symlink", to, str(link))


def _memory(path: Path) -> tuple[str, ...]:
    return ("--size", str(_SCRATCH_BYTES), "--tmpfs", str(path))
