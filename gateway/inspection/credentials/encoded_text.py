"""Decoding of base64, hex and percent encoding in a text, so that encoded copies of data are recognised. Pure. It
decodes only words that look encoded, in the same ways as credentials (`credentials.forms`). Ordinary arguments have no
such word and cost one search. Encoded pieces shorter than `SHORTEST` letters are not found."""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.credentials.forms import Budget, forms, string
from gateway.inspection.credentials.ruleset import compiled

SHORTEST: Final = 16
"""Letters of a run that may be base64 or hex: twelve characters, or eight."""
MAX_ENCODED: Final = 65_536
"""Characters of one call's arguments that are decoded."""

_SIGN: Final = re.compile(
    rf"%[0-9A-Fa-f]{{2}}|\\[xu][0-9A-Fa-f]{{2}}|(?<![A-Za-z0-9+/_-])(?=[a-z/_+-]*[A-Z0-9])[A-Za-z0-9+/_-]{{{SHORTEST}}}",
    re.ASCII,
)
"""Of sixteen letters of base64, all are small ones or marks in one text of 500,000; words and paths often are."""
_ANY: Final = compiled(rf"%[0-9A-Fa-f]{{2}}|\\[xu][0-9A-Fa-f]{{2}}|[A-Za-z0-9+/_-]{{{SHORTEST}}}")
"""What is in every text that has a sign: one look at all words in the time of a few."""


def decode_words(text: str) -> str:
    """Return the decoded words of a text, one line for each possible decoding; empty for most texts."""
    if _ANY.search(text.encode("utf-8", "surrogatepass")) is None:
        return ""
    found = [word for word in text.split() if len(word) >= SHORTEST and _SIGN.search(word) is not None]
    if not found:
        return ""
    data = "\n".join(found)[:MAX_ENCODED].encode("utf-8", "surrogatepass")
    return "\n".join([string(form.text) for form in forms(data, Budget(len(data))).readings[1:]])
