"""The chain of a journal's lines. Pure: no I/O, no clock, no randomness. A line is one compact JSON object, in this
order:

    {"seq":7,"time":"2026-11-25T10:00:00.000Z","kind":"call", …fields… ,"prev":"<64 hex>","check":"<32 hex>"}

`prev` is the link of the whole line before, without its newline; `check` is the first half of the link of everything in
the line before `,"check"`. `prev` finds lines that were changed, removed, inserted or moved; `check` finds a change to the
last line, which no line follows.

Two kinds of link:

- `sha256`, without a key. Finds accidents, and edits by somebody who does not compute the hashes again. Somebody who
  can write the files can compute all of them again.
- `hmac-sha256`, with a key (FIPS 198-1). Somebody who can write the files but cannot read the key cannot make a line
  that passes. Somebody who reads the key can.

Neither can show that lines were cut off the end, or that the whole journal was put back to an earlier copy: for this,
keep a head (the link of the last line) elsewhere and give it to `reader.verify`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from gateway.subkeys import key_id, subkey

GENESIS: Final = "0" * 64
"""The `prev` of the first line of a journal."""
MAX_LINE: Final = 2**20
"""Bytes of the longest line that is written or read, so that readers need bounded memory."""
RESERVED: Final = frozenset({"seq", "time", "kind", "prev", "check"})
"""Names that belong to the line, not to its fields."""

_CHECK: Final = b',"check":"'
_CHECK_LENGTH: Final = 32
_TAIL_LENGTH: Final = len(_CHECK) + _CHECK_LENGTH + len(b'"}')


class _Hash(Protocol):
    """The common part of `hashlib` and `hmac`."""

    def copy(self) -> _Hash: ...
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """The links of one journal. `key` is the chain's own key, or `None` for plain SHA-256; see `of`."""

    key: bytes | None
    _start: _Hash = field(init=False, compare=False)
    """The state in which each link begins, with the key taken in: copying it costs less than beginning anew."""

    def __post_init__(self) -> None:
        start = hashlib.sha256() if self.key is None else hmac.new(self.key, digestmod="sha256")
        object.__setattr__(self, "_start", start)

    @classmethod
    def of(cls, key: bytes | None) -> Chain:
        """The chain for a deployment's journal key."""
        return cls(None if key is None else subkey(key, "chain"))

    @property
    def name(self) -> str:
        return "sha256" if self.key is None else "hmac-sha256"

    @property
    def key_id(self) -> str | None:
        """The name of the key in a heading."""
        return None if self.key is None else key_id(self.key)

    def link(self, line: bytes) -> str:
        """64 hex digits over a whole line without its newline."""
        return self._over(line).hexdigest()

    def line(self, seq: int, time: str, kind: str, fields: bytes, prev: str) -> bytes:
        """The bytes of a line, without a newline. `fields` is a JSON object, encoded."""
        return self.linked(seq, time, kind, fields, prev)[0]

    def linked(self, seq: int, time: str, kind: str, fields: bytes, prev: str) -> tuple[bytes, str]:
        """The same, and the link of that line. Both hashes begin with the same bytes, which are hashed once."""
        inner = b"," + fields[1:-1] if len(fields) > len(b"{}") else b""
        covered = b'{"seq":%d,"time":"%b","kind":"%b"%b,"prev":"%b"' % (
            seq,
            time.encode(),
            kind.encode(),
            inner,
            prev.encode(),
        )
        state = self._over(covered)
        tail = b'%b%b"}' % (_CHECK, state.hexdigest()[:_CHECK_LENGTH].encode())
        state.update(tail)
        return covered + tail, state.hexdigest()

    def intact(self, line: bytes) -> bool:
        """Return whether a line's `check` matches its bytes."""
        return self.checked(line) is not None

    def checked(self, line: bytes) -> str | None:
        """The link of a line that is intact. Its bytes are hashed once."""
        state, tail = self._over(line[:-_TAIL_LENGTH]), line[-_TAIL_LENGTH:]
        expected = b'%b%b"}' % (_CHECK, state.hexdigest()[:_CHECK_LENGTH].encode())
        if not hmac.compare_digest(tail, expected):
            return None
        state.update(tail)
        return state.hexdigest()

    def follows(self, line: bytes, link: str) -> bool:
        """Return whether an intact line names a link as that of the line before."""
        return line.endswith(b'"prev":"%b"' % link.encode(), 0, len(line) - _TAIL_LENGTH)

    def _over(self, data: bytes) -> _Hash:
        state = self._start.copy()
        state.update(data)
        return state


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, from seconds since the epoch."""
    milliseconds = int(seconds * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
