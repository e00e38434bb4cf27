"""Compiled Python of plans, in files.

A file below the state folder is used if its digest, under a key of the gateway, fits. The digest covers its content, the plan, the
generator and the Python that runs. The code of the shipped plan stands where Python keeps its compiled modules: who may write there may change
the gateway itself. Any other file is as good as none: the code is made again.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import os
import secrets
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from gateway.policy.plan import store

_DIGEST: Final = 32
_MOST: Final = 64 * 2**20
_GATEWAY: Final = Path(__file__).parents[2]
_SHIPPED_CODE: Final = (
    Path(__file__).with_name("__pycache__") / f"{store.SHIPPED.stem}.{sys.implementation.cache_tag}.code"
)


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


def is_shipped(mark_: str) -> bool:
    """Return whether a mark is that of the shipped plan."""
    return mark_ == _shipped_mark()


def load_shipped(mark_: str) -> bytes | None:
    """Return the code of the shipped plan, `None` for another mark, or if there is none yet."""
    try:
        content = _SHIPPED_CODE.read_bytes()
    except OSError:
        return None
    head = mark_.encode() + b"\n"
    return content[len(head) :] if content.startswith(head) else None


def write_shipped(mark_: str, code: bytes) -> None:
    """Keep the code of the shipped plan for the next start, where Python may write its compiled modules."""
    if sys.dont_write_bytecode:
        return
    fresh = _SHIPPED_CODE.with_name(f".{secrets.token_hex(8)}")
    with suppress(OSError):
        _SHIPPED_CODE.parent.mkdir(exist_ok=True)
        fresh.write_bytes(mark_.encode() + b"\n" + code)
        fresh.replace(_SHIPPED_CODE)


@cache
def _shipped_mark() -> str:
    return mark(bytes(store.read_shipped().plan))


@cache
def digest_gateway() -> bytes:
    """Return a digest of the gateway's own code. The code stays the same while the gateway runs."""
    found = hashlib.sha256()
    for path in sorted(_GATEWAY.rglob("*.py")):
        found.update(path.read_bytes())
    return found.digest()


def mark(plan: bytes) -> str:
    """Return a digest of a plan, of this package, which turns plans into Python, and of the running Python."""
    found = hashlib.sha256(plan)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    found.update(importlib.util.MAGIC_NUMBER + sys.version.encode())
    return found.hexdigest()
