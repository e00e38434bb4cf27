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

A rotation begins a segment under a new key. Its heading covers the line before it, so whoever reads an earlier key can
change nothing from before the rotation; and no segment under an earlier key may follow.

Neither can show that lines were cut off the end, or that the whole journal was put back to an earlier copy: for this,
keep a head (the link of the last line) elsewhere and give it to `reader.verify`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from gateway.base.keys.key_ring import KeyRing, key_id, subkey

FORMAT: Final = 1
"""The form of segments and their entries, which each heading names. A heading without one has the first form."""
GENESIS: Final = "0" * 64
"""The `prev` of the first line of a journal."""
MAX_LINE: Final = 2**20
"""Bytes of the longest line that is written or read, so that readers need bounded memory."""
RESERVED: Final = frozenset({"seq", "time", "kind", "prev", "check"})
"""Names that belong to the line, not to its fields."""

_CHECK: Final = b',"check":"'
_CHECK_LENGTH: Final = 32
_TAIL_LENGTH: Final = len(_CHECK) + _CHECK_LENGTH + len(b'"}')


ChainKeys: TypeAlias = bytes | tuple[bytes, ...] | KeyRing[bytes] | None
"""A deployment's journal key, or all of them, the newest first; `None` for plain SHA-256."""


class Hash(Protocol):
    """The needed part of a hash of `hashlib`."""

    def copy(self) -> Hash: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """The links of one journal. `key` is the chain's own key, or `None` for plain SHA-256; see `of`. `earlier` are the chains
    of the keys before it, the latest first."""

    key: bytes | None
    earlier: tuple[Chain, ...] = ()
    _inner: Hash = field(init=False, compare=False)
    """The state in which each hash begins. With a key it is that of HMAC's inner hash, the key taken in."""
    _outer: Hash | None = field(init=False, compare=False)
    """The state of HMAC's outer hash, the key taken in; `None` without a key. The `hmac` module enters ten functions of
    Python for a digest, and copies of two states none."""

    def __post_init__(self) -> None:
        inner, outer = (hashlib.sha256(), None) if self.key is None else hmac_states(self.key)
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_outer", outer)

    @classmethod
    def of(cls, key: ChainKeys) -> Chain:
        """Return the chain for a deployment's journal keys."""
        if key is None:
            return cls(None)
        keys = (key,) if isinstance(key, bytes) else key.keys if isinstance(key, KeyRing) else key
        newest, *earlier = [cls(subkey(each, "chain")) for each in keys]
        return replace(newest, earlier=tuple(earlier))

    @property
    def all(self) -> tuple[Chain, ...]:
        """Return this chain, and those of the earlier keys."""
        return (self, *self.earlier)

    @property
    def name(self) -> str:
        return "sha256" if self.key is None else "hmac-sha256"

    @property
    def key_id(self) -> str | None:
        """The name of the key in a heading."""
        return None if self.key is None else key_id(self.key)

    def link(self, line: bytes) -> str:
        """Return 64 hex digits over a whole line without its newline."""
        state = self._inner.copy()
        state.update(line)
        return self._digest(state)

    def line(self, seq: int, time: str, kind: str, fields: bytes, prev: str) -> bytes:
        """Return the bytes of a line, without a newline. `fields` is a JSON object, encoded."""
        return self.linked(seq, time, kind, fields, prev)[0]

    def linked(self, seq: int, time: str, kind: str, fields: bytes, prev: str) -> tuple[bytes, str]:
        """Return the same, and the link of that line. Both hashes begin with the same bytes, which are hashed once."""
        inner = b"," + fields[1:-1] if len(fields) > len(b"{}") else b""
        covered = b'{"seq":%d,"time":"%b","kind":"%b"%b,"prev":"%b"' % (
            seq,
            time.encode(),
            kind.encode(),
            inner,
            prev.encode(),
        )
        # The digests are taken in place: this runs for each entry, and a method would be entered twice.
        state, outer = self._inner.copy(), self._outer
        state.update(covered)
        if outer is None:
            tail = b'%b%b"}' % (_CHECK, state.hexdigest()[:_CHECK_LENGTH].encode())
            state.update(tail)
            return covered + tail, state.hexdigest()
        check = outer.copy()
        check.update(state.digest())
        tail = b'%b%b"}' % (_CHECK, check.hexdigest()[:_CHECK_LENGTH].encode())
        state.update(tail)
        link = outer.copy()
        link.update(state.digest())
        return covered + tail, link.hexdigest()

    def intact(self, line: bytes) -> bool:
        """Return whether a line's `check` matches its bytes."""
        return self.checked(line) is not None

    def checked(self, line: bytes) -> str | None:
        """Return the link of a line that is intact. Its bytes are hashed once."""
        state, tail = self._inner.copy(), line[-_TAIL_LENGTH:]
        state.update(line[:-_TAIL_LENGTH])
        expected = b'%b%b"}' % (_CHECK, self._digest(state)[:_CHECK_LENGTH].encode())
        if not hmac.compare_digest(tail, expected):
            return None
        state.update(tail)
        return self._digest(state)

    def find_link(self, line: bytes) -> str | None:
        """Return the link of a line that is intact under the newest or an earlier key. Only `verify` tells whether the key is
        that of the line's time."""
        return next((link for chain in self.all if (link := chain.checked(line)) is not None), None)

    def follows(self, line: bytes, link: str) -> bool:
        """Return whether an intact line names a link as that of the line before."""
        return line.endswith(b'"prev":"%b"' % link.encode(), 0, len(line) - _TAIL_LENGTH)

    def _digest(self, inner: Hash) -> str:
        """Return the link for the bytes that an inner hash has taken in. The hash can take in more."""
        if self._outer is None:
            return inner.hexdigest()
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


def hmac_states(key: bytes) -> tuple[Hash, Hash]:
    """Return the inner and the outer hash of HMAC-SHA256 (FIPS 198-1) with the key taken in, to be copied."""
    block = hashlib.sha256().block_size
    padded = (hashlib.sha256(key).digest() if len(key) > block else key).ljust(block, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    return inner, outer


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds."""
    milliseconds = round(seconds * 1000)
    return f"{second_text(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=8)
def second_text(seconds: int) -> str:
    """Return the part of a `timestamp` before its milliseconds. A hit enters no function."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
