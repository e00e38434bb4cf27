"""Signs of a hidden value of twelve bytes or more: of an encoding, or of fillers between letters. Pure.

One pass over a text finds them, so that nearly no text is decoded.
"""

from __future__ import annotations

from typing import Final

from gateway.credentials.base64_text import groups
from gateway.credentials.between import SPELLED
from gateway.credentials.decoders import RARE_SIGNS
from gateway.credentials.forms import HEX
from gateway.credentials.ruleset import compiled

_ACROSS_SPACE: Final = r"]\s*"
"""Ends a class of letters in the place of `]`: base64 is read across white space."""
_HIDDEN: Final = (
    groups(4).replace("]", _ACROSS_SPACE)
    + rf"|{HEX}|[\x{{e0020}}-\x{{e007e}}]{{8}}|[\x{{fe00}}-\x{{fe0f}}\x{{e0100}}-\x{{e01ef}}]{{8}}"
)
"""Matches in base64, hex and rows of characters without a look."""
_SIGNS: Final = compiled(f"{RARE_SIGNS}|{SPELLED}|{_HIDDEN}", groups=False)
_PERCENT: Final = ord("%")
_BACKSLASH: Final = ord("\\")


def may_hide(text: bytes) -> bool:
    """Return whether a text may have another reading than its letters as they stand."""
    return _SIGNS.search(text) is not None or _PERCENT in text or _BACKSLASH in text or not text.isascii()
