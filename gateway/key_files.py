"""The gateway's own keys: files below the state folder, made when they are missing, and for its user alone.

A key is made whole or not at all: its name appears when its content is on disk, and a key that is there is never
replaced. One that is a link, that others may use, or that was put there by another user, is refused.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.errors import GatewayError

MAX_BYTES: Final = 16_384
"""Far above each key that there is."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A place for a key. `what` it is goes into messages, such as `the journal's key`; `failure` is what is raised."""

    path: Path
    what: str
    failure: type[GatewayError]

    def load(self, make: Callable[[], bytes]) -> bytes:
        """The key; one that is made if there is none."""
        try:
            if not self.path.exists():
                self._make(make())
            return self._read()
        except OSError as error:
            raise self.failure(
                f"{self.what} {self.path} cannot be read or made: {error.strerror}", "make the state folder writable"
            ) from error

    def read(self) -> bytes | None:
        """The key, `None` if there is none."""
        try:
            return self._read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failure(
                f"{self.what} {self.path} cannot be read: {error.strerror}", "run this as the gateway's user"
            ) from error

    def _make(self, key: bytes) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first; its key is as good
                os.link(fresh, self.path)
        finally:
            fresh.unlink()
        _sync(folder)

    def _read(self) -> bytes:
        # Without O_NONBLOCK a pipe in the place of the key would keep the gateway waiting.
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            if self.path.is_symlink():
                self._refuse(f"{self.what} {self.path} is a symbolic link", "put the file itself there")
            raise
        with os.fdopen(descriptor, "rb") as file:
            self._require_own(os.fstat(descriptor))
            key = file.read(MAX_BYTES + 1)
        if len(key) > MAX_BYTES:
            self._refuse(f"{self.what} {self.path} is too large for a key", "put it back from a copy")
        return key

    def _require_own(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._refuse(f"{self.what} {self.path} is not a file", "put it back from a copy")
        if status.st_mode & 0o077:
            self._refuse(f"others may use {self.what} {self.path}", f"run: chmod 600 {self.path}")
        # Root may look at the keys of the gateway's user; what somebody else put into a folder is nobody's key.
        if status.st_uid not in {os.geteuid(), self.path.parent.stat().st_uid}:
            self._refuse(f"{self.what} {self.path} belongs to another user", "find out who put it there")

    def _refuse(self, problem: str, remedy: str) -> NoReturn:
        raise self.failure(problem, remedy)


def _sync(folder: Path) -> None:
    """Makes a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
