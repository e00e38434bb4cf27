"""A child's standard error, made fit for the log. Pure: the time comes in as an argument.

A server's words are not to be trusted. The words can be endless, hold terminal sequences or forge log lines. They can
tell secrets of the server's environment and of its callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.base.letters import spell_out

LONGEST_LINE: Final = 2048
"""Bytes of a line that are logged."""
LINES_PER_SECOND: Final = 50
LONGEST_SECRET: Final = 512
"""Bytes of a secret that is found whole where a line is cut."""
SHORTEST_SECRET: Final = 4
"""A shorter value is too common in ordinary text to be blotted out."""


_KEY_BEGINS: Final = (b"-----BEGIN", b"PRIVATE KEY")
_KEY_ENDS: Final = b"-----END"
_KEY_LINES: Final = 256
"""Lines of a private key, after which its end is no longer waited for."""


class StderrLines:
    """Splitter of chunks into lines for the log. `conceal` takes credentials out of a line; it is called before the cut
    of a line, and before the escape of terminal sequences."""

    def __init__(self, secrets: Sequence[str], conceal: Callable[[str], str] = str) -> None:
        pieces = {piece for secret in secrets for piece in secret.splitlines() if len(piece) >= SHORTEST_SECRET}
        self._secrets = sorted((piece.encode() for piece in pieces), key=len, reverse=True)
        self._margin = max(LONGEST_SECRET, len(self._secrets[0]) if self._secrets else 0)
        self._conceal = conceal
        self._of_key = 0
        self._line = bytearray()
        self._cut = False
        self._second = float("-inf")
        self._in_second = 0
        self._withheld = 0

    def feed(self, chunk: bytes, now: float) -> list[str]:
        """Return the lines ended by `chunk` and fit for the log, with a notice of the number withheld before."""
        lines: list[str] = []
        while b"\n" in chunk and self._may_log(now):
            part, _, chunk = chunk.partition(b"\n")
            self._keep(part)
            lines += [*self._notice(), self._take()]
            self._begin()
        if withheld := chunk.count(b"\n"):
            self._withheld += withheld
            chunk = chunk[chunk.rindex(b"\n") + 1 :]
            self._begin()
        self._keep(chunk)
        return lines

    def end(self) -> list[str]:
        """Return the rest when the stream ends."""
        left = [*self._notice(), *([self._take()] if self._line else [])]
        self._line.clear()
        return left

    def _begin(self) -> None:
        self._line.clear()
        self._cut = False

    def _keep(self, part: bytes) -> None:
        room = LONGEST_LINE + self._margin - len(self._line)
        self._cut = self._cut or len(part) > room
        self._line += part[:room]

    def _take(self) -> str:
        """Return the line with secrets blotted out. A cut line loses its end, where half a secret could stand."""
        line = bytes(self._line)
        if self._is_key(line):
            return "[private key]"
        for secret in self._secrets:
            line = line.replace(secret, b"[secret]")
        text = self._conceal(line.decode("utf-8", "replace"))
        if self._cut:
            text = text[: max(0, len(text) - self._margin)]
        return spell_out(text.rstrip()) + (" [cut]" if self._cut else "")

    def _is_key(self, line: bytes) -> bool:
        """Return whether a line belongs to a private key: no single line can tell."""
        if all(mark in line for mark in _KEY_BEGINS):
            self._of_key = _KEY_LINES
        if not self._of_key:
            return False
        self._of_key = 0 if _KEY_ENDS in line else self._of_key - 1
        return True

    def _may_log(self, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second, self._in_second = now, 0
        self._in_second += 1
        return self._in_second <= LINES_PER_SECOND

    def _notice(self) -> list[str]:
        withheld, self._withheld = self._withheld, 0
        return [f"[{withheld} lines withheld: more than {LINES_PER_SECOND} in a second]"] if withheld else []
