"""The high-water mark of DPoP proofs: the latest accepted `iat`, kept in `<state>/proofs-ahead` over a restart.

The memory of used proofs is gone with the process, so the next process refuses every proof older than itself. A proof
by a fast clock, or of the very second of the restart, would look younger. So the time of such a proof is on disk before
the proof is accepted, and the next process refuses proofs up to this time. In seconds since the epoch.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "proofs-ahead"


class ProofWatermark:
    """The mark of one state folder. An unreadable file counts as none."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self.until = self._read()

    def note(self, issued: float) -> bool:
        """Raise the mark to the time of a proof. False after a failed write; then the proof must be refused.

        Writes once a second at most.
        """
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
        except (OSError, ValueError):
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
