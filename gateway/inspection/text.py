"""The text of JSON as it streams: bytes in, text out, with only incomplete pieces held. Pure. Escapes are read
everywhere (RFC 8259 section 7), since JSON has none outside of strings. Quotes and line breaks of a text inside a text
look like those of the document around it. The readers of this text look for words, not for structure."""

from __future__ import annotations

import codecs
import re
from typing import Final

_SIMPLE: Final = (("\\t", "\t"), ("\\r", "\r"), ("\\/", "/"), ("\\b", "\b"), ("\\f", "\f"))
_CODE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST: Final = 11
"""Characters of the longest part of a pair of surrogates that is not whole."""


class Unescaper:
    """Decodes UTF-8 and JSON escapes chunk by chunk. What is not UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, chunk: bytes) -> str:
        return self._whole(self._held + self._decoder.decode(chunk))

    def finish(self) -> str:
        """Return the held bytes, as they stand."""
        rest, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return unescaped(rest)

    def _whole(self, text: str) -> str:
        at = _begun(text)
        self._held = text[at:]
        return unescaped(text[:at])


def text_of(document: bytes) -> str:
    """Return the text of a whole document, as an `Unescaper` gives it."""
    text = document.decode("utf-8", "replace")
    if "\\" not in text:
        return text
    unescaper = Unescaper()
    return unescaper.feed(document) + unescaper.finish()


def _begun(text: str) -> int:
    """Return the start of an escape cut off by the end of `text`, or the length of `text`."""
    if "\\" not in text[-_LONGEST:]:
        return len(text)
    for pattern in (_HIGH, _BEGUN):
        found = pattern.search(text, max(0, len(text) - _LONGEST))
        if found is not None and _escapes(text, found.start()):
            return found.start()
    return len(text)


def _escapes(text: str, at: int) -> bool:
    """Return whether the backslash at `at` begins an escape: an even number of backslashes stands before it."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


def unescaped(text: str) -> str:
    """A text with its JSON escapes read. A backslash before anything else stays what it is."""
    if "\\" not in text:
        return text
    text = text.replace("\\\\", "\0").replace("\\n", "\n").replace('\\"', '"')
    return (_rarely(text) if "\\" in text else text).replace("\0", "\\")


def _rarely(text: str) -> str:
    """The escapes that are few in most texts."""
    for written, meant in _SIMPLE:
        text = text.replace(written, meant)
    if "\\u" in text:
        text = _CODE.sub(lambda found: chr(int(found[1], 16) or 0xFFFD), text)
        if _SURROGATE.search(text) is not None:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
