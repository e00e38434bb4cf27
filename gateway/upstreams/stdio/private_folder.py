"""The private folder of handed-over files: in memory if the system has such a file system, else in the state folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from gateway.upstreams.stdio.keeper import UNFINISHED

log = structlog.get_logger("gateway.upstream.stdio")

_IN_MEMORY: Final = frozenset({b"tmpfs", b"ramfs"})
_MOUNTS: Final = Path("/proc/self/mounts")


def choose_folder(state: Path) -> tuple[Path, bool]:
    """Return the folder of a gateway's handed-over files, by its state folder, and whether the folder is in memory."""
    name = f"opagate-{os.geteuid()}-{sha256(bytes(state.absolute())).hexdigest()[:16]}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for base in (*([Path(runtime)] if runtime else []), Path(f"/run/user/{os.geteuid()}"), Path("/dev/shm")):  # noqa: S108 - the folder in it is private
        if os.access(base, os.W_OK | os.X_OK) and is_in_memory(base) and _may_be_used(base / name):
            return base / name, True
    return state.absolute() / "handed-over", False


def is_in_memory(path: Path) -> bool:
    """Return whether a folder is in a file system in memory."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return False
    mounts = {Path(os.fsdecode(fields[1])): fields[2] for line in lines if len(fields := line.split()) > 2}
    real = path.resolve()
    return next((mounts[each] in _IN_MEMORY for each in (real, *real.parents) if each in mounts), False)


def make_private(folder: Path) -> None:
    """Make a folder for this account alone. Raises `OSError` for a folder of another account, or open to others."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not _may_be_used(folder):
            raise PermissionError(f"{folder} is not a private folder of this account") from None


def clean(folder: Path) -> None:
    """Remove the files of an earlier gateway, such as a killed gateway."""
    try:
        if folder.exists():
            make_private(folder)
            shutil.rmtree(folder)
    except OSError as error:
        log.error("upstream.file-left", file=str(folder), problem=str(error))  # noqa: TRY400 - the message says it all


def _may_be_used(folder: Path) -> bool:
    """Return whether a folder is free, or private to this account. Others may make folders in `/dev/shm` too."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def write_private(path: Path, content: bytes) -> None:
    """Write a file for this account alone. A file of the name is replaced at once, so a reader has the old or the new
    text."""
    fresh = path.with_suffix(UNFINISHED)
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(descriptor, content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, content: bytes) -> None:
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
