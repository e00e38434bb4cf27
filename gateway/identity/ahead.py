"""How far ahead of this machine's clock proofs were accepted: `<state>/proofs-ahead`, seconds since the epoch.

A proof that is older than the process is refused, for nobody knows any more whether it was used. One from a clock that goes
ahead, or of the very second, can have been used and still look younger than the next process. So how far such proofs went
is on disk before one of them is accepted.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "proofs-ahead"


class Ahead:
    """Of one state folder. What cannot be read counts as nothing."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self.until = self._read()

    def note(self, issued: float) -> bool:
        """Remember that a proof of this time is accepted; whether that is possible. Writes once a second at most."""
        if issued <= self.until:
            return True
        until = math.ceil(issued)
        try:
            self._write(f"{until}\n".encode())
        except OSError:
            return False
        self.until = float(until)
        return True

    def _read(self) -> float:
        try:
            return float(int(self._path.read_bytes()[:32]))
        except (OSError, ValueError, OverflowError):
            return 0.0

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{FILE}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        fresh.replace(self._path)
