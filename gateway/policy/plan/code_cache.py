"""Compiled Python of plans, in files below the state folder.

A file is used if its digest, under a key of the gateway, fits its content, the plan, the generator and the Python that runs.
Any other file is as good as none: the code is made again.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_DIGEST: Final = 32
_MOST: Final = 64 * 2**20


class CodeCache:
    """The cache in one folder. Its methods read and write files, and raise nothing."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    def load_code(self, mark: str) -> bytes | None:
        """Return the code of a mark, `None` if there is none that can be trusted."""
        try:
            with self._path(mark).open("rb") as file:
                content = file.read(_MOST)
        except OSError:
            return None
        code = content[_DIGEST:]
        if not hmac.compare_digest(content[:_DIGEST], self._digest(mark, code)):
            return None
        return code

    def write(self, mark: str, code: bytes) -> None:
        """Keep the code of a mark, and nothing else."""
        path = self._path(mark)
        fresh = path.with_name(f".{secrets.token_hex(8)}")
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self._digest(mark, code) + code)
            fresh.replace(path)
            for other in self._folder.iterdir():
                if other != path:
                    other.unlink()

    def _path(self, mark: str) -> Path:
        return self._folder / f"{mark[:32]}.code"

    def _digest(self, mark: str, code: bytes) -> bytes:
        return hmac.digest(self._key, mark.encode() + b"\0" + code, "sha256")


def mark(plan: bytes) -> str:
    """Return a digest of a plan, of this package, which turns plans into Python, and of the running Python."""
    found = hashlib.sha256(plan)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    found.update(importlib.util.MAGIC_NUMBER + sys.version.encode())
    return found.hexdigest()
