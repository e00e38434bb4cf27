"""The gateway's own keys: files below the state folder, made if missing.

A key is made whole or not at all: its name appears when its content is on disk. A rotation keeps the key before the new
one: `NAME.1` is the first earlier key, and the highest number is the latest of them. A key is refused if other users
may read, change or swap the file (see `file_access`).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.base.file_access import ExposedFile, open_private

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
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

    def find_earlier(self) -> tuple[KeyFile, ...]:
        """Return the files of the earlier keys, the latest first."""
        numbered = re.compile(re.escape(self.path.name) + r"\.([1-9][0-9]{0,5})")
        try:
            names = [match for path in self.path.parent.iterdir() if (match := numbered.fullmatch(path.name))]
        except OSError:
            return ()
        names.sort(key=lambda match: -int(match[1]))
        return tuple(replace(self, path=self.path.with_name(match[0])) for match in names)

    def read_since(self) -> float:
        """Return when the file got its content, in seconds since the epoch; 0 without a file."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0

    def add_earlier(self, key: bytes, like: os.stat_result | None = None) -> KeyFile:
        """Keep a key as the latest of the earlier keys, and return its file. `like` is the file that has the key until now."""
        earlier = self.find_earlier()
        number = int(earlier[0].path.suffix[1:]) + 1 if earlier else 1
        kept = replace(self, path=self.path.with_name(f"{self.path.name}.{number}"))
        try:
            kept._make(key, like)
        except OSError as error:
            raise self._cannot_rotate(error) from error
        return kept

    def rotate(self, fresh: bytes) -> KeyFile:
        """Replace the present key by a new key. Return the file of the replaced key."""
        try:
            with self._hold():
                return self._replace(fresh)
        except BlockingIOError:
            raise self.failure(f"another process replaces {self.what} {self.path} now", "try again") from None
        except OSError as error:
            raise self._cannot_rotate(error) from error

    @contextmanager
    def _hold(self) -> Generator[None]:
        """Keep other processes from replacing the key: the first one's new key would be lost, with what it had sealed.

        Raises `OSError`, and `BlockingIOError` if another process replaces the key.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), self.path.stat()):
                raise BlockingIOError
            yield
        finally:
            os.close(descriptor)

    def _replace(self, fresh: bytes) -> KeyFile:
        present = self.path.stat()
        kept = self.add_earlier(self._read(), present)
        self._write(fresh, present).replace(self.path)
        _sync(self.path.parent)
        return kept

    def _cannot_rotate(self, error: OSError) -> GatewayError:
        return self.failure(
            f"{self.what} {self.path} cannot be replaced: {error.strerror}",
            f"put the present key beside it as {self.path.name}.1 and a new key in its place; then: opagate credentials keys reload",
        )

    def _make(self, key: bytes, like: os.stat_result | None = None) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._write(key, like, keeps_age=True)
        try:
            with suppress(FileExistsError):  # another process was first; its key is as good
                os.link(fresh, self.path)
        finally:
            fresh.unlink()
        _sync(self.path.parent)

    def _write(self, key: bytes, like: os.stat_result | None = None, *, keeps_age: bool = False) -> Path:
        """Write a key to a new file beside its place, and return that file. It gets the owner of the file `like`, and its age.

        Both are set on the open file: whoever owns the folder could put a link to another file in its place.
        """
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                if like is not None and os.geteuid() == 0:
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
                if like is not None and keeps_age:
                    # Since when verifiers know a key of signatures.
                    os.utime(file.fileno(), ns=(like.st_atime_ns, like.st_mtime_ns))
                os.fsync(file.fileno())
        except BaseException:
            fresh.unlink()
            raise
        return fresh

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
