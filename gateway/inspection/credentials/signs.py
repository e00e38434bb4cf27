"""Signs of a hidden value of twelve bytes or more: of an encoding, or of fillers between letters. Pure.

One pass over a text finds whether it has any, so that nearly no text is decoded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.inspection.credentials.base64_text import groups
from gateway.inspection.credentials.between import SPELLED
from gateway.inspection.credentials.decoders import RARE_SIGNS
from gateway.inspection.credentials.forms import HEX
from gateway.inspection.credentials.ruleset import compiled

_ACROSS_SPACE: Final = r"]\s*"
"""Ends a class of letters in the place of `]`: base64 is read across white space."""
WIDE: Final = r"(?:[0-9A-Za-z+/_-]{1,4}A){6}"
"""Matches in base64 of UTF-16, where every second byte of English is zero."""
_HIDDEN_SIGNS: Final = (
    groups(4).replace("]", _ACROSS_SPACE)
    + rf"|{WIDE}|{HEX}|[\x{{e0020}}-\x{{e007e}}]{{8}}|[\x{{fe00}}-\x{{fe0f}}\x{{e0100}}-\x{{e01ef}}]{{8}}"
)
"""Matches in base64, hex and rows of characters without a look."""
_ANY: Final = compiled(f"{RARE_SIGNS}|{SPELLED}|{_HIDDEN_SIGNS}", groups=False)
_RARE: Final = compiled(RARE_SIGNS, groups=False)
_SPELLED: Final = compiled(SPELLED, groups=False)
_SPLIT: Final = compiled(r"(?:[^A-Za-z0-9]+[A-Za-z0-9]{1,3}){7}", groups=False)
_HIDDEN: Final = compiled(_HIDDEN_SIGNS, groups=False)
_PERCENT: Final = ord("%")
_BACKSLASH: Final = ord("\\")


class Signs(NamedTuple):
    """The signs of a text: of encodings, rare encodings, fillers between letters, and a word that is split into short ones."""

    encoded: bool
    rare: bool
    spelled: bool
    split: bool


def signs_of(text: bytes) -> Signs | None:
    """Return the signs of a text, `None` for none, as is usual."""
    escaped = _PERCENT in text or _BACKSLASH in text or not text.isascii()
    if _ANY.search(text) is None:
        return Signs(encoded=True, rare=False, spelled=False, split=False) if escaped else None
    rare = _RARE.search(text) is not None
    encoded = escaped or rare or _HIDDEN.search(text) is not None
    spelled = _SPELLED.search(text) is not None
    return Signs(encoded, rare, spelled, spelled and _SPLIT.search(text) is not None)
