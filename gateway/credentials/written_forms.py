"""The forms in which a known value may stand in a text: as it is, in base64, in hex, and percent-encoded. Pure.

Base64 of a longer text has the value at one of three alignments. The letters at both ends also depend on the neighbours, so a
form leaves these out.
"""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote

SHORTEST: Final = 8
"""Bytes of a value whose encodings are looked for. Shorter ones stand in ordinary text by chance."""
_BITS: Final = 6


def written_forms(value: str) -> tuple[str, ...]:
    """Return a value and its encodings, without repetitions."""
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) < SHORTEST:
        return (value,)
    found = [value]
    for before in range(3):
        standard = _inner_base64(raw, before)
        found += (standard, standard.translate(_URL_SAFE))
    hexed, percent = raw.hex(), "".join(f"%{byte:02x}" for byte in raw)
    found += (hexed, hexed.upper(), quote(raw, safe=""), percent, percent.upper())
    return tuple(dict.fromkeys(found))


def _inner_base64(raw: bytes, before: int) -> str:
    """Return the letters of base64 that depend on these bytes alone. `before` bytes stand between them and a multiple of three."""
    letters = base64.b64encode(bytes(before) + raw).decode()
    first, end = -(-before * 8 // _BITS), (before + len(raw)) * 8 // _BITS
    return letters[first:end]


_URL_SAFE: Final = str.maketrans("+/", "-_")
