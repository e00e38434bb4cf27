"""The gateway's own keys: files below the state folder, made if missing.

A key is made whole or not at all: its name appears when its content is on disk. An existing key is never replaced. A
key is refused if other users may read, change or swap the file (see `file_access`).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.base.file_access import ExposedFile, open_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.model.errors import GatewayError

MAX_BYTES: Final = 16_384
"""Far above each key that there is."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A place for a key. `what` names the key in messages, such as `the journal's key`; `failure` is the class of error
    to raise."""

    path: Path
    what: str
    failure: type[GatewayError]

    def load(self, make: Callable[[], bytes]) -> bytes:
        """Return the key, and make a key first if the file is missing."""
        try:
            if not self.path.exists():
                self._make(make())
            return self._read()
        except OSError as error:
            raise self.failure(
                f"{self.what} {self.path} cannot be read or made: {error.strerror}", "make the state folder writable"
            ) from error

    def load_key(self) -> bytes | None:
        """Return the key, `None` without one."""
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
        try:
            descriptor = open_private(self.path)
        except ExposedFile as exposed:
            self._refuse(f"{self.what} {self.path} is not safe: {exposed}", exposed.remedy)
        with os.fdopen(descriptor, "rb") as file:
            key = file.read(MAX_BYTES + 1)
        if len(key) > MAX_BYTES:
            self._refuse(f"{self.what} {self.path} is too large for a key", "put it back from a copy")
        return key

    def _refuse(self, problem: str, remedy: str) -> NoReturn:
        raise self.failure(problem, remedy)


def _sync(folder: Path) -> None:
    """Makes a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
