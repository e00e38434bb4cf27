"""Checks of files against reading, change and exchange by other users of the machine, for keys and the journal.

Trusted users are root and the user of this process. Root also trusts the owner of the folder. A group is trusted if no
other account is known to be a member. So the group of a Kubernetes volume (`fsGroup`) is trusted. All further users are
others.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a pipe in the place of the file would keep the process waiting.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_LINKS: Final = 40
"""Symbolic links of a path that are followed, as Linux does."""
_ROOT: Final = 0


FileMarks: TypeAlias = tuple[tuple[int, int, int, int] | None, ...]


def mark_files(paths: tuple[Path, ...]) -> FileMarks:
    """Return marks that differ after each change of the files. Symbolic links are followed."""
    return tuple(_mark_file(path) for path in paths)


def _mark_file(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # Copies may bring the time of their contents along; nobody sets the time of the change.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class ExposedFile(Exception):
    """A file or a folder open to reading or change by others. `remedy` is for people."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def open_private(path: Path) -> int:
    """Open a file for reading if only trusted users can read, change or replace the file.

    Symbolic links are followed if others cannot change where they lead. Each step is opened in the folder just checked,
    so a swap in between changes nothing. Raises `ExposedFile`, and `OSError`.
    """
    walk = _Walk(path)
    try:
        return walk.open()
    finally:
        walk.close()


def require_own_folder(folder: Path) -> None:
    """Refuse a folder with write access for others. Raises `ExposedFile`, and `OSError`."""
    status = folder.stat()
    _require_unwritable(status, folder, {_ROOT, os.geteuid(), status.st_uid})


class _Walk:
    """The way to one file, from the root of the file system on. `_where` is the path of the open folder."""

    def __init__(self, path: Path) -> None:
        self._names = _steps(os.fspath(path.absolute()))
        self._where = Path("/")
        self._folder = os.open("/", _FOLDER)
        self._links = 0

    def close(self) -> None:
        os.close(self._folder)

    def open(self) -> int:
        while self._names:
            name = self._names.pop()
            entry = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            if stat.S_ISLNK(entry.st_mode):
                self._require_fixed(name, entry)
                self._follow(name)
            elif self._names:
                self._enter(name)
            else:
                self._require_fixed(name, entry)
                return self._open_folder(name)
        raise ExposedFile(f"{self._where} is a folder", "name the file itself")

    def _follow(self, name: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(name, dir_fd=self._folder)
        if target.startswith("/"):
            self._enter("/")
        self._names += _steps(target)

    def _enter(self, name: str) -> None:
        folder = os.open(name, _FOLDER, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = folder
        self._where = self._where.parent if name == ".." else self._where / name

    def _open_folder(self, name: str) -> int:
        descriptor = os.open(name, _FILE, dir_fd=self._folder)
        try:
            self._require_private(os.fstat(descriptor), descriptor, self._where / name)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_fixed(self, name: str, entry: os.stat_result) -> None:
        """Refuse a name in a folder where others may give the name to another file."""
        folder, trusted = os.fstat(self._folder), self._trusted_accounts()
        if folder.st_uid not in trusted:
            owner = _user(folder.st_uid)
            raise ExposedFile(
                f"{self._where} belongs to {owner}", "keep it in a folder of root or of the gateway's user"
            )
        if entry.st_uid not in trusted:
            raise ExposedFile(f"{name} in {self._where} belongs to {_user(entry.st_uid)}", "find out who put it there")
        if not folder.st_mode & stat.S_ISVTX:
            _require_unwritable(folder, self._where, trusted)

    def _require_private(self, status: os.stat_result, descriptor: int, where: Path) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise ExposedFile(f"{where} is not a file", "put it back from a copy")
        if status.st_mode & stat.S_IRWXO:
            raise ExposedFile(f"others may use {where}", f"run: chmod o= {where}")
        if status.st_mode & stat.S_IRWXG:
            _require_closed_group(
                status.st_gid, descriptor, f"may use {where}", f"chmod g= {where}", self._trusted_accounts()
            )

    def _trusted_accounts(self) -> set[int]:
        """Return the trusted accounts: root may look at the files of the gateway's user."""
        user = os.geteuid()
        return {_ROOT, user, os.fstat(self._folder).st_uid} if user == _ROOT else {_ROOT, user}


def _require_unwritable(status: os.stat_result, where: Path, trusted: set[int]) -> None:
    if status.st_mode & stat.S_IWOTH:
        raise ExposedFile(f"others may write to {where}", f"run: chmod o-w {where}, or use a folder inside it")
    if status.st_mode & stat.S_IWGRP:
        _require_closed_group(status.st_gid, where, f"may write to {where}", f"chmod g-w {where}", trusted)


def _require_closed_group(group: int, place: Path | int, may: str, remedy: str, trusted: set[int]) -> None:
    """Refuse a group with other members, and an access list: the mode shows the rights of its entries as the group's."""
    if _has_access_list(place):
        raise ExposedFile(f"whoever its access list names {may}", f"remove the list (setfacl -b), or run: {remedy}")
    if group != _ROOT and (others := _members(group) - trusted):
        named = ", ".join(sorted(map(_user, others))[:3])
        raise ExposedFile(f"the group {_group(group)} {may}, and {named} is in it", f"run: {remedy}")


def _has_access_list(place: Path | int) -> bool:
    try:
        return bool(os.getxattr(place, "system.posix_acl_access"))
    except (OSError, AttributeError):  # only Linux has these lists, and not on each file system
        return False


def _members(group: int) -> set[int]:
    """Return the known members of a group."""
    found = {account.pw_uid for account in pwd.getpwall() if account.pw_gid == group}
    with suppress(KeyError):
        for name in grp.getgrgid(group).gr_mem:
            with suppress(KeyError):
                found.add(pwd.getpwnam(name).pw_uid)
    return found


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"the user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _steps(path: str) -> list[str]:
    """Return the names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]
